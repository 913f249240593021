"""Which devices this fleet's pods hold: counted anew only for pods that changed, not for all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

from yolofleet.observe import reading
from yolofleet.observe.cache import Cache, Key
from yolofleet.observe.resources import trimmed

Object = dict[str, Any]
Held = tuple[tuple[tuple[str, str], int], ...]
"""Counts by node and resource."""


class Devices:
    """The running count of devices that pods hold, by node and resource."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._held: dict[Key, Held] = {}
        self._used: Counter[tuple[str, str]] = Counter()

    def used(self) -> Mapping[tuple[str, str], int]:
        """Return the counts as they are now; those of zero are left out."""
        changed, self._cache.changed_pods = self._cache.changed_pods, set()
        for key in changed:
            before, pod = self._held.pop(key, ()), self._cache.get(key)
            now = held(pod) if pod is not None else ()
            if now:
                self._held[key] = now
            self._used.subtract(dict(before))
            self._used.update(dict(now))
        return {place: count for place, count in self._used.items() if count}


def held_by(pod: Object) -> Held:
    """Return what a pod holds, as the API server tells of it."""
    return held(trimmed(pod | {"kind": "Pod"}))


def held(pod: Object) -> Held:
    """Return what one pod of the cache holds: nothing before it has a node, nor after it has ended."""
    node = pod["spec"].get("nodeName")
    if not node or pod.get("status", {}).get("phase") in reading.ENDED:
        return ()
    found: Counter[str] = Counter()
    for limits in pod["spec"]["limits"]:
        found.update(reading.devices(limits))
    for limits in pod["spec"].get("initLimits", ()):  # one after the other, so the most of any of them counts
        found |= Counter(reading.devices(limits))
    return tuple(((node, resource), count) for resource, count in found.items())

"""Which devices other people's pods hold: asked node by node, now and then, for their pods are not watched."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp

from yolofleet.errors import ApiServerError
from yolofleet.kube import Kube
from yolofleet.observe import reading
from yolofleet.observe.cache import Cache
from yolofleet.observe.devices import held_by
from yolofleet.observe.resources import POD
from yolofleet.render.meta import MANAGED_BY, MANAGER

Object = dict[str, Any]
log = logging.getLogger(__name__)

PERIOD_S = 15.0
"""Between two rounds while placements depend on them."""
SELDOM = 8
"""Else every so many periods: two minutes, enough for the count of free slices."""
EACH_S = 0.1
"""A node's turn: a thousand nodes are asked within two minutes, and nobody feels it."""
FORBIDDEN = 403
MOST = "1000"
"""Pods of one node; kubelets run a few hundred at most."""
RUNNING = "status.phase!=Succeeded,status.phase!=Failed"


class Neighbours:
    """The devices of other people's pods, by node and resource; what was never seen counts for nothing."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._held: dict[str, Counter[tuple[str, str]]] = {}
        self._used: Counter[tuple[str, str]] | None = None
        self._forbidden = False

    def used(self) -> Mapping[tuple[str, str], int]:
        """Return the counts as they were last seen; every pass asks, and they seldom change."""
        if self._used is None:
            self._used = Counter()
            for counts in self._held.values():
                self._used.update(counts)
        return self._used

    async def run(self, kube: Kube, *, needed: Callable[[], bool], pause_s: float = PERIOD_S) -> None:
        """Ask for ever while it is allowed: in every period where somebody decides by it, else seldom."""
        for period in itertools.count():
            if needed() or period % SELDOM == 0:
                await self.look(kube)
            if self._forbidden:
                return
            await asyncio.sleep(pause_s)

    async def look(self, kube: Kube, *, each_s: float = EACH_S) -> None:
        """Ask for the pods of every node that offers devices."""
        names = sorted(key.name for key, obj in self._cache.all("Node").items() if reading.node(obj).devices)
        for name in self._held.keys() - set(names):
            del self._held[name]
            self._used = None
        for name in names:
            try:
                counts = await ask(kube, name)
                if counts != self._held.get(name):
                    self._held[name], self._used = counts, None
            except (ApiServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
                if getattr(error, "status", 0) == FORBIDDEN:
                    self._forbidden = True
                    told = "may not list all pods: slices that other people's pods hold count as free"
                    log.warning(told, extra={"error": str(error)})
                    return
                log.info("pods of a node not seen", extra={"node": name, "error": str(error)})
            await asyncio.sleep(each_s)


async def ask(kube: Kube, node: str) -> Counter[tuple[str, str]]:
    """Return the devices that pods on one node hold, without this fleet's own."""
    params = {
        "fieldSelector": f"spec.nodeName={node},{RUNNING}",
        "labelSelector": f"{MANAGED_BY}!={MANAGER}",
        "limit": MOST,
        "resourceVersion": "0",  # from the API server's memory
    }
    told = await kube.request("GET", POD.path(), params=params)
    counts: Counter[tuple[str, str]] = Counter()
    for pod in told.get("items") or []:
        counts.update(dict(held_by(pod)))
    return counts

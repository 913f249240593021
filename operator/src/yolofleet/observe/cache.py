"""What the cluster last said, by kind and name, and whose turn it is because something changed.

The cache takes events from watches, pages from lists and answers to our own writes; the newest
resourceVersion wins, so that a late event cannot undo a write that was already seen.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterator
from itertools import islice
from typing import Any, TypeVar

from yolofleet.observe.packed import Key, Packed
from yolofleet.observe.resources import AUTOSCALER, trimmed
from yolofleet.render.meta import DEPLOYMENT_LABEL, ENGINE_LABEL

Object = dict[str, Any]
At = TypeVar("At")
TARGET = "scaleTargetRef"
"""Autoscalers are found by what they scale, as children by their labels."""

__all__ = ["TARGET", "Cache", "DirtySet", "Key", "key_of"]


def key_of(kind: str, obj: Object) -> Key:
    """Return the key of an object."""
    meta = obj["metadata"]
    return Key(kind, meta.get("namespace", ""), meta["name"])


class DirtySet:
    """Keys whose turn it is, first come first served; a pass takes a bounded bite, so that none waits for all."""

    def __init__(self) -> None:
        self._keys: dict[Key, None] = {}
        self._some = asyncio.Event()

    def add(self, *keys: Key) -> None:
        """Mark keys."""
        if keys:
            self._keys.update(dict.fromkeys(keys))
            self._some.set()

    def take(self, limit: int) -> frozenset[Key]:
        """Return at most `limit` marked keys, the longest waiting first."""
        taken = frozenset(islice(self._keys, limit))
        for key in taken:
            del self._keys[key]
        if not self._keys:
            self._some.clear()
        return taken

    async def wait(self) -> None:
        """Wait until a key is marked."""
        await self._some.wait()

    def __len__(self) -> int:
        return len(self._keys)


class Cache:
    """Objects by key, children by the deployment or engine they are labelled with.

    `generation` counts changes of nodes and pools; `stale_engines` holds the engines of which something changed since
    an observer last looked, and `changed_pods` the pods: what was made of the others is kept.
    """

    def __init__(self) -> None:
        self.dirty = DirtySet()
        self.generation = 0
        self.stale_engines: set[Key] = set()
        self.changed_pods: set[Key] = set()
        self._objects: dict[str, Packed] = defaultdict(Packed)
        self._by_mark: dict[tuple[str, str, str], tuple[Key, ...]] = {}
        self._by_owner: dict[str, tuple[Key, ...]] = {}

    def get(self, key: Key) -> Object | None:
        """Return one object."""
        return self._objects[key.kind].get(key)

    def all(self, kind: str) -> Packed:
        """Return all objects of a kind; do not change it."""
        return self._objects[kind]

    def labelled(self, kind: str, namespace: str, label: str, value: str) -> Iterator[Object]:
        """Yield the children of one deployment or engine, in order of name."""
        for key in sorted(self._by_mark.get((namespace, label, value), ())):
            if key.kind == kind and (found := self._objects[kind].get(key)) is not None:
                yield found

    def owned(self, uid: str) -> tuple[Key, ...]:
        """Return the keys of engines that bear this owner."""
        return tuple(sorted(self._by_owner.get(uid, ())))

    def put(self, kind: str, obj: Object) -> bool:
        """Take an object; False when it is no news. Marks whose turn it is."""
        key = key_of(kind, obj)
        objects = self._objects[kind]
        # Versions grow over all incarnations of a name.
        if int(obj["metadata"]["resourceVersion"]) <= objects.version(key):
            return False
        known = objects.get(key)
        kept = trimmed(obj | {"kind": kind})
        if known is not None:
            self._unindex(key, known)
        self._objects[kind][key] = kept
        self._index(key, kept)
        if known is None or _differs(kind, known, kept):
            self._touch(key, kept)
            if known is not None and _belongs(known) != _belongs(kept):
                self._touch(key, known)  # who lost it must know, too
        return True

    def remove(self, kind: str, obj: Object) -> None:
        """Forget an object that is gone."""
        key = key_of(kind, obj)
        known = self._objects[kind].get(key)
        if known is None or known["metadata"].get("uid") != obj["metadata"].get("uid"):
            return
        del self._objects[kind][key]
        self._unindex(key, known)
        self._touch(key, known)

    def _index(self, key: Key, obj: Object) -> None:
        for mark, value in _marks(obj):
            at = (key.namespace, mark, value)
            self._by_mark[at] = (*self._by_mark.get(at, ()), key)
        for uid in _owners(key, obj):
            self._by_owner[uid] = (*self._by_owner.get(uid, ()), key)

    def _unindex(self, key: Key, obj: Object) -> None:
        for mark, value in _marks(obj):
            _drop(self._by_mark, (key.namespace, mark, value), key)
        for uid in _owners(key, obj):
            _drop(self._by_owner, uid, key)

    def _touch(self, key: Key, obj: Object) -> None:
        if key.kind == "Pod":
            self.changed_pods.add(key)
        if key.kind in ("Node", "MigPool"):
            self.generation += 1
            self.dirty.add(*self._objects["YoloDeployment"], *self._objects["MigPool"])
            return
        if key.kind == AUTOSCALER:
            self.dirty.add(*(Key("YoloDeployment", key.namespace, name) for _, name in _marks(obj)))
            return
        labels = obj["metadata"].get("labels", {})
        touched = {key} if key.kind in ("YoloDeployment", "YoloEngine") else set()
        if name := labels.get(DEPLOYMENT_LABEL):
            touched.add(Key("YoloDeployment", key.namespace, name))
        elif name := labels.get(ENGINE_LABEL):
            touched.add(Key("YoloEngine", key.namespace, name))
        self.stale_engines |= {k for k in touched if k.kind == "YoloEngine"}
        if key.kind == "YoloEngine":
            owners = obj["metadata"].get("ownerReferences", [])
            touched |= {Key("YoloDeployment", key.namespace, owner["name"]) for owner in owners}
        self.dirty.add(*touched)


def _marks(obj: Object) -> list[tuple[str, str]]:
    """Return by what an object is found: an autoscaler by its target, a child by its deployment or else its engine."""
    if obj.get("kind") == AUTOSCALER:
        target = obj["spec"]["scaleTargetRef"].get("name")
        return [(TARGET, target)] if target else []
    labels = obj["metadata"].get("labels", {})
    # What serves bears both labels: an engine that thousands share is not asked for all of them.
    return [(label, labels[label]) for label in (DEPLOYMENT_LABEL, ENGINE_LABEL) if labels.get(label)][:1]


def _owners(key: Key, obj: Object) -> set[str]:
    if key.kind != "YoloEngine":
        return set()
    return {owner["uid"] for owner in obj["metadata"].get("ownerReferences", [])}


def _drop(index: dict[At, tuple[Key, ...]], at: At, key: Key) -> None:
    """Take a key out of an index, and what is empty with it."""
    left = tuple(other for other in index.get(at, ()) if other != key)
    if left:
        index[at] = left
    else:
        index.pop(at, None)


def _belongs(obj: Object) -> tuple[Any, ...]:
    meta = obj["metadata"]
    labels = meta.get("labels", {})
    owners = frozenset(owner["uid"] for owner in meta.get("ownerReferences", []))
    return labels.get(DEPLOYMENT_LABEL), labels.get(ENGINE_LABEL), owners, _marks(obj)


def _differs(kind: str, old: Object, new: Object) -> bool:
    """Tell whether a change matters; nodes change all the time in ways that do not."""
    if kind == AUTOSCALER:
        return bool(old["spec"] != new["spec"])
    if kind != "Node":
        return True
    return any(old.get(part) != new.get(part) for part in ("spec", "status")) or (
        old["metadata"].get("labels") != new["metadata"].get("labels")
    )

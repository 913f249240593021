"""A cheap LIST of metadata now and then tells whether the watch still speaks, and mends what was missed."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from yolofleet.kube import Kube, Resource
from yolofleet.observe.cache import Cache, Key
from yolofleet.observe.reflector import relist
from yolofleet.observe.resources import selector_of


@dataclass(frozen=True)
class Finding:
    """How many changes of a kind the watch had not told after the grace; `namespace` None means all."""

    kind: str
    missed: int
    namespace: str | None = None


async def audit(kube: Kube, cache: Cache, resource: Resource, *, namespace: str | None, grace_s: float) -> Finding:
    """Compare a LIST with the cache; what is still unknown after `grace_s` was missed, and is mended."""
    listed = await _listed(kube, resource, namespace)
    behind = _behind(cache, resource.kind, namespace, listed)
    if behind:
        await asyncio.sleep(grace_s)
        behind &= _behind(cache, resource.kind, namespace, listed)
    if behind:
        await relist(kube, cache, resource, namespace)
    return Finding(resource.kind, len(behind), namespace)


@dataclass(frozen=True)
class _Listed:
    version: int
    objects: dict[Key, int]


async def _listed(kube: Kube, resource: Resource, namespace: str | None) -> _Listed:
    version, found = await kube.versions(resource, namespace=namespace, selector=selector_of(resource))
    return _Listed(version, {Key(resource.kind, *name): known for name, known in found.items()})


def _behind(cache: Cache, kind: str, namespace: str | None, listed: _Listed) -> set[Key]:
    """Return keys that the server knows newer than we do, and keys that only we still have."""
    known = {key: version for key, version in cache.all(kind).versions() if not namespace or key.namespace == namespace}
    stale = {key for key, version in listed.objects.items() if known.get(key, -1) < version}
    gone = {key for key, version in known.items() if key not in listed.objects and version <= listed.version}
    return stale | gone

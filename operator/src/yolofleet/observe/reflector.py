"""List, then watch, then list again when the server forgot: the feed for labelled children and autoscalers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

import aiohttp

from yolofleet.errors import ApiServerError
from yolofleet.kube import Kube, Resource
from yolofleet.observe.cache import Cache, key_of
from yolofleet.observe.resources import ONLY_METADATA, selector_of

Object = dict[str, Any]
log = logging.getLogger(__name__)

GONE = 410
FIRST_PAUSE_S = 0.5
LONGEST_PAUSE_S = 5.0
"""A fleet stands still for so long after its API server is back."""


async def relist(kube: Kube, cache: Cache, resource: Resource, namespace: str | None) -> str:
    """Bring the cache in line with a full LIST, also for what is gone; return its resourceVersion."""
    only_metadata = resource.kind in ONLY_METADATA
    version, seen = "", set()
    async for page in kube.pages(
        resource, namespace=namespace, selector=selector_of(resource), metadata_only=only_metadata
    ):
        version = page["metadata"]["resourceVersion"]
        for item in page["items"]:
            seen.add(key_of(resource.kind, item))
            cache.put(resource.kind, item)
    for key, known in list(cache.all(resource.kind).versions()):
        absent = key not in seen and (not namespace or key.namespace == namespace)
        if (
            absent and known <= int(version) and (obj := cache.get(key)) is not None
        ):  # what is newer came after the list
            cache.remove(resource.kind, obj)
    return version


async def reflect(
    kube: Kube, cache: Cache, resource: Resource, namespace: str | None, since: str, *, back: Callable[[], None]
) -> None:
    """Follow our labelled objects of one kind for ever; every failure backs off and says so once.

    `back` is called when the API server has answered again after that.
    """
    pause = FIRST_PAUSE_S
    while True:
        try:
            if not since:
                since = await relist(kube, cache, resource, namespace)
                back()
            since = await _follow(kube, cache, resource, namespace, since)
            pause = FIRST_PAUSE_S
        except (ApiServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("watch interrupted", extra={"kind": resource.kind, "error": str(error), "pause_s": pause})
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
            since = ""


async def _follow(kube: Kube, cache: Cache, resource: Resource, namespace: str | None, since: str) -> str:
    only_metadata = resource.kind in ONLY_METADATA
    selector = selector_of(resource)
    stream = kube.watch(resource, since=since, namespace=namespace, selector=selector, metadata_only=only_metadata)
    async for event in stream:
        obj = event["object"]
        if event["type"] == "ERROR":
            if obj.get("code") == GONE:
                return ""
            raise ApiServerError(
                status=obj.get("code", 0), reason=obj.get("reason", ""), message=obj.get("message", "")
            )
        since = obj["metadata"]["resourceVersion"]
        if event["type"] == "DELETED":
            cache.remove(resource.kind, obj)
        elif event["type"] != "BOOKMARK":
            cache.put(resource.kind, obj)
    return since

"""The switchboard: what the operator reacts to.

kopf watches YoloDeployments, YoloEngines, MigPools and Nodes, and tells the cache; labelled children are
watched by `yolofleet.observe.reflector`, because kopf would watch every Pod of the cluster. Nothing is decided
here: each event only marks whose turn it is, and one pass (`yolofleet.handlers.fleet`) does the rest.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import os
from dataclasses import dataclass
from functools import partial
from typing import Any

import aiohttp
import kopf
from aiohttp import web

from yolofleet.api import GROUP, VERSION
from yolofleet.errors import ApiServerError
from yolofleet.handlers import top
from yolofleet.handlers.fleet import Fleet
from yolofleet.handlers.health import Health, app
from yolofleet.handlers.metrics import Metrics
from yolofleet.kube import PAGE, Kube
from yolofleet.observe.access import Access
from yolofleet.observe.cache import Cache
from yolofleet.settings import Settings

SERVER_TIMEOUT_S = 270
CLIENT_TIMEOUT_S = 300
LONGEST_PAUSE_S = 5.0
API_BACKOFFS_S = (1, 1, 2, 3, *(5,) * 720)
"""kopf's watches come back within 5 s of the API server, for an hour; its own list pauses for up to 21 s, and lets an
error of the server end the operator after a minute."""
log = logging.getLogger(__name__)


@dataclass
class Running:
    """What start-up made and clean-up ends."""

    kube: Kube
    fleet: Fleet
    task: asyncio.Task[None]
    runners: tuple[web.AppRunner, ...]


def switchboard(settings: Settings, stop: asyncio.Event | None = None) -> kopf.OperatorRegistry:
    """Return the registry of everything that the operator reacts to."""
    registry = kopf.OperatorRegistry()
    state: dict[str, Running] = {}

    @kopf.on.login(registry=registry)
    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        return _by_address(kopf.login_with_service_account(**kwargs)) or kopf.login_with_kubeconfig(**kwargs)

    @kopf.on.startup(registry=registry, errors=kopf.ErrorsMode.PERMANENT)
    async def start(settings: kopf.OperatorSettings, **_: Any) -> None:
        _tune(settings)
        state["running"] = await _start(own, stop)

    own = settings

    @kopf.on.cleanup(registry=registry)
    async def end(**_: Any) -> None:
        if "running" in state:
            await _end(state["running"])

    async def told(event: kopf.RawEvent, resource: kopf.Resource, **_: Any) -> None:
        take(state["running"].fleet.cache, str(resource.kind), event)

    for plural in ("yolodeployments", "yoloengines", "migpools"):
        kopf.on.event(GROUP, VERSION, plural, registry=registry)(told)
    kopf.on.event("", "v1", "nodes", registry=registry)(told)
    return registry


def take(cache: Cache, kind: str, event: kopf.RawEvent) -> None:
    """Tell the cache what a watch told us."""
    obj = dict(event["object"])
    if event["type"] == "DELETED":
        cache.remove(kind, obj)
    else:
        cache.put(kind, obj)


def _by_address(found: kopf.ConnectionInfo | None) -> kopf.ConnectionInfo | None:
    """Reach the API server by its address as pods are told it: kopf's own way hangs when the cluster's DNS is away."""
    host, port = os.environ.get("KUBERNETES_SERVICE_HOST"), os.environ.get("KUBERNETES_SERVICE_PORT", "443")
    if found is None or not host:
        return found
    bracketed = f"[{host}]" if ":" in host else host
    return dataclasses.replace(found, server=f"https://{bracketed}:{port}")


def _tune(settings: kopf.OperatorSettings) -> None:
    """Bound every watch, and keep kopf from writing anything of its own."""
    settings.posting.enabled = False
    settings.watching.server_timeout = SERVER_TIMEOUT_S
    settings.watching.client_timeout = CLIENT_TIMEOUT_S
    settings.networking.error_backoffs = API_BACKOFFS_S
    settings.watching.chunk_size = PAGE
    settings.scanning.disabled = True
    settings.queueing.idle_timeout = 1
    settings.persistence.progress_storage = _NoProgress()
    settings.persistence.diffbase_storage = _NoDifferences()


class _NoDifferences(kopf.DiffBaseStorage):
    """Nobody asks kopf what changed; its own way copies every object at every event to find out."""

    def build(self, **_: Any) -> kopf.BodyEssence:
        return kopf.BodyEssence()

    def fetch(self, **_: Any) -> kopf.BodyEssence | None:
        return None

    def store(self, **_: Any) -> None:
        pass


class _NoProgress(kopf.ProgressStorage):
    """Handlers of raw events make no progress that an object should remember."""

    def fetch(self, **_: Any) -> None:
        return None

    def store(self, **_: Any) -> None:
        pass

    def purge(self, **_: Any) -> None:
        pass

    def touch(self, **_: Any) -> None:
        pass

    def clear(self, *, essence: kopf.BodyEssence) -> kopf.BodyEssence:
        return essence


async def _start(settings: Settings, stop: asyncio.Event | None) -> Running:
    metrics, health = Metrics(), Health()
    runner = web.AppRunner(app(health, metrics), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", settings.http_port).start()
    kube = await Kube.from_environment()
    fleet = Fleet(settings, kube, metrics=metrics, health=health)
    await _loaded(fleet)
    tops = await _tops(settings, fleet.cache, metrics, kube)
    task = asyncio.create_task(fleet.run())
    if stop is not None:
        task.add_done_callback(partial(_ended, stop=stop))
    return Running(kube, fleet, task, (runner, tops))


async def _tops(settings: Settings, cache: Cache, metrics: Metrics, kube: Kube) -> web.AppRunner:
    """Serve `/top` once everything is listed: half a picture would be a wrong one."""
    runner = web.AppRunner(top.app(top.Page(cache, Access(kube), metrics.figures)), access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "0.0.0.0", settings.top_port).start()
    return runner


def _ended(task: asyncio.Task[None], *, stop: asyncio.Event) -> None:
    """Stop the process with the passes; an end that nobody asked for is a bug, and loud."""
    if task.cancelled():
        return
    log.critical("the passes ended", exc_info=task.exception())
    stop.set()


async def _loaded(fleet: Fleet) -> None:
    """Load once the API server answers; a refusal (RBAC, missing CRDs) is told and tried again, with a backoff."""
    pause = 1.0
    while True:
        try:
            await fleet.load()
        except (ApiServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("cannot list yet", extra={"error": str(error), "pause_s": pause})
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_S)
        else:
            return


async def _end(running: Running) -> None:
    running.task.cancel()
    await asyncio.gather(running.task, return_exceptions=True)
    for runner in running.runners:
        await runner.cleanup()
    await running.kube.close()

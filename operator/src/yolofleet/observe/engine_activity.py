"""Finds the pods of NVIDIA's DCGM exporter and asks them; the decision on replicas goes on without it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

import aiohttp

from yolofleet.errors import ApiServerError
from yolofleet.kube import Kube, Resource
from yolofleet.observe import asking
from yolofleet.observe.dcgm import Page, extract

log = logging.getLogger(__name__)

SLICES = Resource("discovery.k8s.io/v1", "EndpointSlice", "endpointslices")
FIND_S = 30.0
FROZEN_S = 90.0
"""The exporter looks every 30 s at most; energy that does not grow for longer is an old page."""
CONCURRENCY = 32


@dataclass(frozen=True)
class Where:
    """The exporter's Service."""

    namespace: str
    service: str
    port: int


@dataclass
class _Endpoint:
    page: Page
    moved: float
    heard: float


class EngineActivity:
    """What the exporters last said; `where` None: nobody asks them."""

    def __init__(self, where: Where | None, *, stale_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._where = where
        self._stale_s = stale_s
        self._clock = clock
        self._known: dict[str, _Endpoint] = {}
        self._addresses: tuple[str, ...] = ()
        self._found: float | None = None
        self._trouble = "DCGM was not asked yet"

    def of(self, namespace: str, pod: str) -> tuple[float | None, str]:
        """Return a pod's engine activity; None with the reason, "" where nobody asked for it."""
        if self._where is None:
            return None, ""
        now = self._clock()
        fresh = [e for e in self._known.values() if now - e.heard < self._stale_s and now - e.moved < FROZEN_S]
        for endpoint in fresh:
            told = endpoint.page.pods.get((namespace, pod))
            if told is not None and told.engine is not None:
                return told.engine, ""
        if fresh:
            return None, fresh[0].page.why_not(namespace, pod)
        frozen = any(now - e.heard < self._stale_s for e in self._known.values())
        return None, f"DCGM's pages do not change for {FROZEN_S:.0f} s" if frozen else self._trouble

    async def look(self, kube: Kube, session: aiohttp.ClientSession) -> None:
        """Find the exporters now and then, and ask each."""
        if self._where is None:
            return
        if self._found is None or self._clock() - self._found >= FIND_S:
            await self._find(kube, self._where)
        slots = asyncio.Semaphore(CONCURRENCY)
        await asyncio.gather(*(self._ask(session, ip, self._where.port, slots) for ip in self._addresses))

    async def _find(self, kube: Kube, where: Where) -> None:
        self._found = self._clock()
        try:
            found: set[str] = set()
            selector = f"kubernetes.io/service-name={where.service}"
            async for page in kube.pages(SLICES, namespace=where.namespace, selector=selector):
                found |= {ip for s in page["items"] for e in s.get("endpoints") or [] for ip in e["addresses"]}
        except (ApiServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            self._say(f"DCGM cannot be found: {error}")
            return
        if not found:
            self._say(f"Service {where.namespace}/{where.service} has no endpoints")
        self._addresses = tuple(sorted(found))
        self._known = {ip: known for ip, known in self._known.items() if ip in found}

    async def _ask(self, session: aiohttp.ClientSession, ip: str, port: int, slots: asyncio.Semaphore) -> None:
        async with slots:
            told = await asking.page(session, ip, port)
        now = self._clock()
        if isinstance(told, str):
            self._say(f"DCGM exporter at {ip}: {told}")
            return
        page, before = extract(told), self._known.get(ip)
        moved = before is None or not page.energy or page.energy != before.page.energy
        self._known[ip] = _Endpoint(page, now if moved or before is None else before.moved, now)

    def _say(self, trouble: str) -> None:
        if trouble != self._trouble:
            log.warning("no engine activity", extra={"error": trouble})
        self._trouble = trouble

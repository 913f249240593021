"""Is the operator well: does a pass end, and does every watch still speak?"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from yolofleet.handlers.exposition import pieces
from yolofleet.handlers.metrics import Metrics
from yolofleet.observe.audit import Finding

STUCK_S = 300.0
"""A pass that takes longer than this hangs."""
SILENT_AUDITS = 2
"""So many audits in a row with missed changes: the watch is silent."""


@dataclass
class Health:
    """What the probes ask for."""

    synced: bool = False
    pass_began: float | None = None
    silent: dict[tuple[str, str], int] = field(default_factory=dict)

    def heard(self, finding: Finding) -> None:
        """Take an audit's finding."""
        watch = (finding.kind, finding.namespace or "")
        self.silent[watch] = self.silent.get(watch, 0) + 1 if finding.missed else 0

    def ailments(self, now: float) -> list[str]:
        """Return what is wrong; empty when all is well."""
        stuck = self.pass_began is not None and now - self.pass_began > STUCK_S
        told = [f"a pass has been running for more than {STUCK_S:.0f} s"] if stuck else []
        silent = sorted({kind for (kind, _), count in self.silent.items() if count >= SILENT_AUDITS})
        return told + [f"the watch of {kind} is silent: audits found changes that it never told" for kind in silent]


def app(health: Health, metrics: Metrics) -> web.Application:
    """Return the HTTP application: /healthz, /readyz, /metrics."""

    async def healthz(_request: web.Request) -> web.Response:
        ailments = health.ailments(time.monotonic())
        return web.Response(text="\n".join(ailments) or "ok", status=503 if ailments else 200)

    async def readyz(_request: web.Request) -> web.Response:
        ready = health.synced and not health.ailments(time.monotonic())
        return web.Response(text="ok" if ready else "not synced yet", status=200 if ready else 503)

    async def serve_metrics(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": CONTENT_TYPE_LATEST})
        await response.prepare(request)
        for piece in pieces(metrics.registry):
            await response.write(piece)
            await asyncio.sleep(0)  # a large page must not keep the passes waiting
        await response.write_eof()
        return response

    made = web.Application()
    made.add_routes([web.get("/healthz", healthz), web.get("/readyz", readyz), web.get("/metrics", serve_metrics)])
    return made

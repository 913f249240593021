"""`GET /top`: the fleet now, for those who may list it; on a port of its own, which the API server's proxy reaches.

Rights on a Service's proxy know ports, but no paths: everybody may reach this port, and only this.
"""

from __future__ import annotations

import logging
import re
import time
from datetime import UTC, datetime

import aiohttp
from aiohttp import web

from yolofleet.api.top import AUDIENCE, AUDIENCE_HEADER, PATH, TOKEN_HEADER, Top, TopDeployment, TopSlice
from yolofleet.errors import ApiServerError, NotYet
from yolofleet.handlers.figures import Figure, Figures
from yolofleet.observe.access import Access, Asker
from yolofleet.observe.cache import Cache, Key
from yolofleet.observe.resources import MIGPOOL, YOLODEPLOYMENT
from yolofleet.planning.slices.profiles import size_of
from yolofleet.render.meta import stamp
from yolofleet.render.top import Live, top_row

FRESH_S = 1.0
"""An answer is made anew after so long; many who look at once cost as much as one."""
MOST_ROWS = 5000
KEPT_NAMESPACES = 200
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
log = logging.getLogger(__name__)


class Page:
    """Guards and serves `/top`."""

    def __init__(
        self,
        cache: Cache,
        access: Access,
        figures: Figures,
    ) -> None:
        self._cache = cache
        self._access = access
        self._figures = figures
        self._made: dict[str, tuple[float, Top]] = {}

    async def answer(self, request: web.Request) -> web.Response:
        """Answer one request; every refusal says what to do."""
        namespace = request.query.get("namespace", "")
        if namespace and not _NAMESPACE.fullmatch(namespace):
            return refusal(400, "BadRequest", f"namespace {namespace[:70]!r} is no name of a namespace; mend it")
        try:
            return await self._guarded(request, namespace)
        except NotYet as wait:
            return refusal(429, "TooManyRequests", str(wait))
        except (ApiServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("nobody could say who asks for top", extra={"error": str(error)})
            told = "the operator cannot ask the API server who you are; `kubectl yolofleet doctor` checks its rights"
            return refusal(503, "ServiceUnavailable", told)

    async def _guarded(self, request: web.Request, namespace: str) -> web.Response:
        token = request.headers.get(TOKEN_HEADER, "").strip()
        if not token:
            told = f"no token in header {TOKEN_HEADER}; `kubectl yolofleet top` sends one"
            return refusal(401, "NoToken", told)
        audience = AUDIENCE if request.headers.get(AUDIENCE_HEADER) == AUDIENCE else None
        asker = await self._access.who(token, audience=audience)
        if asker is None:
            return refusal(401, "UnknownToken", "the API server does not know this token; log in again")
        if not await self._access.may(asker, "list", YOLODEPLOYMENT, namespace or None):
            return refusal(403, "NotAllowed", _not_allowed(asker, namespace))
        top = self._fresh(namespace)
        if await self._access.may(asker, "list", MIGPOOL, None):
            top = top.model_copy(update={"slices": self._slices()})
        return web.json_response(top.wire_with_nulls())

    def _fresh(self, namespace: str) -> Top:
        now = time.monotonic()
        if (made := self._made.get(namespace)) is not None and now - made[0] < FRESH_S:
            return made[1]
        if len(self._made) >= KEPT_NAMESPACES:
            self._made.clear()
        top = self._look(namespace)
        self._made[namespace] = (now, top)
        return top

    def _look(self, namespace: str) -> Top:
        keys = sorted(k for k in self._cache.all(YOLODEPLOYMENT.kind) if not namespace or k.namespace == namespace)
        rows = [row for key in keys[:MOST_ROWS] if (row := self._row(key)) is not None]
        taken_at = stamp(datetime.now(UTC))
        return Top(taken_at=taken_at, deployments=rows, omitted=max(0, len(keys) - MOST_ROWS))

    def _row(self, key: Key) -> TopDeployment | None:
        obj, figure = self._cache.get(key), self._figures.known().get(key)
        if obj is None:
            return None
        if figure is None:
            return top_row(obj)
        # The figures of the last decision, as /metrics has them: status follows a moment later.
        decided = {"desired": figure.desired, "ready": figure.ready, "reason": figure.reason}
        return top_row(obj, live_of(figure)).model_copy(update=decided)

    def _slices(self) -> list[TopSlice]:
        uses = sorted(self._figures.slices(), key=lambda use: (use.product, size_of(use.profile)))
        return [TopSlice(**vars(use)) for use in uses]


def live_of(figure: Figure) -> Live:
    """Return what the last look at a deployment saw."""
    seen = figure.signals
    return Live(
        demand_fps=figure.demand.planned,
        served_fps=seen.served_fps if seen else None,
        failed_fps=seen.failed_fps if seen else None,
        p99_ms=_ms(seen.p99_us) if seen else None,
        queue_ms=_ms(seen.queue_us) if seen else None,
        mean_batch=seen.mean_batch if seen else None,
        busy=seen.busy if seen else None,
        engine_active=seen.engine_active if seen else None,
        capacity_fps=figure.capacity_fps,
        signals_age_seconds=seen.age_s if seen else None,
    )


def _ms(microseconds: float | None) -> float | None:
    return None if microseconds is None else microseconds / 1000


def _not_allowed(asker: Asker, namespace: str) -> str:
    where = f"in namespace {namespace}" if namespace else "in all namespaces; name one of yours with -n"
    return f"{asker.name} may not list yolodeployments {where}; ask for Kubernetes' `view` role there"


def refusal(status: int, reason: str, message: str) -> web.Response:
    """Return a refusal in the form that the API server's own have."""
    told = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status}
    return web.json_response(told | {"reason": reason, "message": message}, status=status)


def app(page: Page) -> web.Application:
    """Return the HTTP application of the port `top`."""
    made = web.Application(client_max_size=1024)
    made.add_routes([web.get(PATH, page.answer)])
    return made

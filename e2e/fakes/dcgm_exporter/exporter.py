"""The exporter itself: it collects on its own clock, and a scrape gets what was collected last."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from e2e.fakes.dcgm_exporter.activity import ActivityMeter
from e2e.fakes.dcgm_exporter.defects import Defects
from e2e.fakes.dcgm_exporter.hardware import Entity, entities
from e2e.fakes.dcgm_exporter.page import Holder, Row, page, watts
from e2e.fakes.gpus import Device

_KEPT_S = 600


@dataclass(frozen=True)
class Sources:
    """Where the exporter learns about its node; each is asked anew at every collection."""

    devices: Callable[[], Mapping[str, Sequence[Device]]]
    holders: Callable[[], Mapping[str, Holder]]
    addresses: Callable[[set[tuple[str, str]]], Mapping[tuple[str, str], str]]
    defects: Callable[[], Defects]


class Exporter:
    """The double of one node's dcgm-exporter."""

    def __init__(
        self, sources: Sources, fetch: Callable[[str], str], *, node: str, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._sources = sources
        self._meter = ActivityMeter(fetch, now=now)
        self._node = node
        self._now = now
        self._collected: deque[tuple[float, list[Row]]] = deque()
        self._energy_j: dict[int, float] = {}
        self._known: set[str] | None = None
        self._frozen: list[Row] | None = None

    def collect(self) -> None:
        """Look at devices, holders and their servers once."""
        holders = self._sources.holders()
        addresses = self._sources.addresses({(holder.namespace, holder.pod) for holder in holders.values()})
        active = self._meter.measure({f"{ns}/{pod}": address for (ns, pod), address in addresses.items()})
        present = self._visible(entities(self._sources.devices(), node=self._node))
        loads = {entity.device_id: _load(holders.get(entity.device_id), active) for entity in present}
        at = self._now()
        self._freeze()
        whole = self._whole(present, loads, at)
        rows = [
            Row(e, holders.get(e.device_id), loads[e.device_id], whole[e.gpu], self._energy_j[e.gpu]) for e in present
        ]
        self._collected.append((at, rows))
        while self._collected[0][0] < at - _KEPT_S:
            self._collected.popleft()

    def page(self) -> str | None:
        """Return what a scrape gets now; None while the exporter is down or has not collected yet."""
        defects = self._sources.defects()
        seen_until = self._now() - defects.late_s
        rows = next((rows for at, rows in reversed(self._collected) if at <= seen_until), None)
        if rows is None and self._collected:
            rows = self._collected[0][1]
        if defects.frozen and self._frozen is not None:
            rows = self._frozen
        return None if defects.down or rows is None else page(rows, defects, hostname=self._node)

    def _freeze(self) -> None:
        """Keep the last rows for as long as the defect is on."""
        if not self._sources.defects().frozen:
            self._frozen = None
        elif self._frozen is None and self._collected:
            self._frozen = self._collected[-1][1]

    def _visible(self, present: list[Entity]) -> list[Entity]:
        """Return what the exporter knows of: with the defect, only the instances that it had found before."""
        if not self._sources.defects().new_slices_missing:
            self._known = None
            return present
        if self._known is None:
            last = self._collected[-1][1] if self._collected else []
            self._known = {row.entity.device_id for row in last}
        return [entity for entity in present if entity.device_id in self._known]

    def _whole(self, present: list[Entity], loads: Mapping[str, float], at: float) -> dict[int, float]:
        """Return each GPU's own activity, its instances weighted by their share, and count its energy."""
        whole: dict[int, float] = {}
        for entity in present:
            whole[entity.gpu] = whole.get(entity.gpu, 0.0) + entity.share * loads[entity.device_id]
        seconds = at - self._collected[-1][0] if self._collected else 0.0
        self._energy_j = {gpu: self._energy_j.get(gpu, 0.0) + watts(load) * seconds for gpu, load in whole.items()}
        return whole


def _load(holder: Holder | None, active: Mapping[str, float]) -> float:
    return 0.0 if holder is None else active.get(f"{holder.namespace}/{holder.pod}", 0.0)


def server(exporter: Exporter, address: tuple[str, int]) -> ThreadingHTTPServer:
    """Return the HTTP server: /metrics and /health, as the real one has them."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = exporter.page()
            status = 503 if text is None else 200
            body = (text or "not available").encode() if self.path == "/metrics" else b"KO" if text is None else b"OK"
            self.send_response(status if self.path in ("/metrics", "/health") else 404)
            self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing: scrapes come every second."""

    return ThreadingHTTPServer(address, Handler)

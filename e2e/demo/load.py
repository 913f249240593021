"""The demo's second half: load rises and replicas follow, load falls and they come back, shown while it happens."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from e2e.fleet import ROOT, SYSTEM, Fleet
from e2e.waiting import wait_for

NAME = "cameras"
QUIET, BUSY = 2, 36
SIZE = 192
PLAN = ((QUIET, 3), (BUSY, 24), (QUIET, 30))
SPEC = {
    "engine": {"backend": "ONNXRuntime", "imageSize": {"height": SIZE, "width": SIZE}},
    # Two cores carry three replicas and their clients: each is planned for a tenth of what it could do.
    "scaling": {
        "maxReplicas": 3,
        "targetUtilizationPercent": 10,
        "scaleDown": {"stabilizationWindowSeconds": 8},
    },
}
METRICS = f"/api/v1/namespaces/{SYSTEM}/services/yolofleet-metrics:http/proxy/metrics"
BAR = 30


@dataclass(frozen=True)
class Moment:
    """What stood at one moment of the load."""

    at: float
    sent: float
    served: float
    desired: int
    ready: int
    slices_used: int
    slices_total: int
    message: str

    def line(self) -> str:
        """Return it as one line."""
        slices = f"{self.slices_used} of {self.slices_total} slices"
        return (
            f"{self.at:5.0f} s  {self.served:5.1f} of {self.sent:3.0f} frames/s  "
            f"{self.ready}/{self.desired} replicas  {slices}  {self.message}"
        )


@dataclass
class View:
    """A table that is drawn anew on a terminal; elsewhere a line for each change of the replicas."""

    console: Console = field(default_factory=lambda: Console(stderr=True))
    moments: list[Moment] = field(default_factory=list)
    live: Live | None = None

    @contextmanager
    def shown(self) -> Iterator[None]:
        """Draw while the block runs."""
        if not self.console.is_terminal:
            yield
            return
        with Live(console=self.console, refresh_per_second=4, transient=True) as self.live:
            yield

    def add(self, moment: Moment) -> None:
        """Take a moment, and show it."""
        before = self.moments[-1] if self.moments else None
        self.moments.append(moment)
        if self.live is not None:
            self.live.update(table(moment))
        if before is None or (before.desired, before.ready) != (moment.desired, moment.ready):
            self.console.print(f"    {moment.line()}", highlight=False, soft_wrap=True)


def table(moment: Moment) -> Table:
    """Return the moment as a table with bars."""
    made = Table.grid(padding=(0, 2))
    top = max(moment.sent, moment.served, BUSY)
    for name, value, most, told in (
        ("frames/s sent", moment.sent, top, f"{moment.sent:.0f}"),
        ("frames/s served", moment.served, top, f"{moment.served:.1f}"),
        ("replicas ready", moment.ready, 3, f"{moment.ready} of {moment.desired}"),
        ("slices used", moment.slices_used, moment.slices_total, f"{moment.slices_used} of {moment.slices_total}"),
    ):
        filled = round(BAR * min(1.0, value / most)) if most else 0
        made.add_row(f"    {name}", "█" * filled + "·" * (BAR - filled), told)
    made.add_row("    why", moment.message, "")
    return made


def look(fleet: Fleet, at: float) -> Moment:
    """Look at the deployment, at the operator's figures and at the slices."""
    page = fleet.kubectl("get", "--raw", METRICS)
    served = _figure(
        page, rf'yolofleet_served_frames_per_second{{namespace="{fleet.namespace}",yolodeployment="{NAME}"}}'
    )
    status = fleet.get("ydep", NAME)["status"]
    profile = status["groups"][0]["profile"]
    slices = {
        state: sum(_figures(page, rf'yolofleet_slices{{[^}}]*profile="{re.escape(profile)}",state="{state}"}}'))
        for state in ("used", "total")
    }
    return Moment(
        at=round(at, 1),
        sent=sent(at),
        served=round(served, 1),
        desired=status["scaling"]["desiredReplicas"],
        ready=status["readyReplicas"],
        slices_used=int(slices["used"]),
        slices_total=int(slices["total"]),
        message=status["scaling"]["message"],
    )


def sent(at: float) -> float:
    """Return the rate of the plan at a moment."""
    for rate, seconds in PLAN:
        if at < seconds:
            return rate
        at -= seconds
    return 0.0


def _figures(page: str, pattern: str) -> list[float]:
    return [float(value) for value in re.findall(rf"^{pattern} (\S+)$", page, re.MULTILINE)]


def _figure(page: str, pattern: str) -> float:
    return sum(_figures(page, pattern))


def follow(fleet: Fleet) -> dict[str, Any]:
    """Send the load by its plan, show what follows, and return it; fails when the replicas did not follow."""
    plan = ",".join(f"{rate}:{seconds}" for rate, seconds in PLAN)
    arguments = [
        "--address",
        f"{NAME}.{fleet.namespace}.svc:8001",
        "--model",
        NAME,
        "--size",
        str(SIZE),
        "--plan",
        plan,
    ]
    client = fleet.client("load", ROOT / "e2e/clients/load.py", arguments)
    client.started()
    began, view = time.monotonic() - 1, View()

    def back() -> bool:
        at = time.monotonic() - began
        view.add(look(fleet, at))
        return at > sum(seconds for _, seconds in PLAN[:2]) and view.moments[-1].ready == view.moments[-1].desired == 1

    with view.shown():
        wait_for("the replicas to come and go", back, timeout_s=120, interval_s=1.0, seen=lambda: view.moments[-1])
    last = client.lines()[-1]
    client.stop()
    if max(moment.ready for moment in view.moments) < 2:
        raise AssertionError(f"no replica came under load: {view.moments[-1]}")
    return {"moments": [asdict(m) for m in view.moments], "answered": last["ok"], "failed": last["failed"]}

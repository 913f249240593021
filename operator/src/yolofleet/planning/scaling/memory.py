"""What one decision on replicas leaves to the next, and which of its figures are worth writing down again.

Status figures move by 10 % or more and at most once a minute; another count, reason or spec is told at once.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from yolofleet.api.conditions import Reason
from yolofleet.api.yolodeployment import YoloDeploymentStatus
from yolofleet.planning.scaling.correcting import Correction
from yolofleet.planning.scaling.window import Claims

if TYPE_CHECKING:
    from yolofleet.planning.scaling.forecast import Forecast

CHANGE = 0.1
EVERY = timedelta(seconds=60)
WAS = " (was "


@dataclass(frozen=True)
class Figures:
    """Frames per second: declared, seen to arrive, the one that is planned for, and served."""

    declared: float | None = None
    observed: float | None = None
    planned: float | None = None
    served: float | None = None


@dataclass(frozen=True)
class Shown:
    """What the status says of a decision since `at`; `figures` None: written by an operator before this one."""

    at: datetime | None
    generation: int
    reason: Reason
    replicas: int
    message: str
    fps: str
    figures: Figures | None


@dataclass(frozen=True)
class Slices:
    """What was seen of slices: by profile, since when pods find none though some seem free, and until when it is full.

    `roomy_since`: since when the own kind has room for who is elsewhere.
    """

    doubted: tuple[tuple[str, datetime], ...] = ()
    full: tuple[tuple[str, datetime], ...] = ()
    roomy_since: datetime | None = None


@dataclass(frozen=True)
class Memory:
    """The need that stands, unbounded by the spec, and the claims of lower ones."""

    base: int
    claims: Claims = ()
    capacity_since: datetime | None = None
    shown: Shown | None = None
    forecast: Forecast | None = None
    correction: Correction = field(default_factory=Correction)
    slices: Slices = field(default_factory=Slices)


def recalled(status: YoloDeploymentStatus) -> Shown | None:
    """Read back what a status says; None where nothing is said, or in the words of another version."""
    told = status.scaling
    if told is None or told.reason not in {reason.value for reason in Reason}:
        return None
    fps = status.summary.fps if status.summary else ""
    reason = Reason(told.reason)
    return Shown(None, status.observed_generation, reason, told.desired_replicas, told.message, fps, None)


def stands(memory: Memory, status: YoloDeploymentStatus) -> bool:
    """Tell whether a status says what was decided: from then on it is memory enough."""
    told, wanted = recalled(status), memory.shown
    if told is None or wanted is None:
        return told is wanted
    same = (told.generation, told.replicas, told.reason) == (wanted.generation, wanted.replicas, wanted.reason)
    return same and wanted.message.startswith(told.message)  # a long one is cut


def shown(fresh: Shown, before: Shown | None, *, waits: bool) -> Shown:
    """Return what the status should say; `waits`: the figures are not whole, and there was no time for it yet."""
    if before is None or (before.generation, before.replicas) != (fresh.generation, fresh.replicas):
        return fresh
    if waits:
        return before
    if before.reason != fresh.reason:
        return fresh
    if before.at is None or fresh.at is None:
        return replace(before, at=fresh.at)
    return before if fresh.at - before.at < EVERY else _refreshed(fresh, before)


def _refreshed(fresh: Shown, before: Shown) -> Shown:
    if before.figures is not None and fresh.figures is not None:
        return fresh if _moved(before.figures, fresh.figures) else before
    same = (before.message.partition(WAS)[0], before.fps) == (fresh.message.partition(WAS)[0], fresh.fps)
    return replace(before, figures=fresh.figures) if same else fresh


def fps_of(figures: Figures) -> str:
    """Write frames per second served/demanded to two significant digits; '-' is what nobody saw."""
    if figures.planned is None and figures.served is None:
        return ""
    return f"{_two_digits(figures.served)}/{_two_digits(figures.planned)}"


def _two_digits(value: float | None) -> str:
    return "-" if value is None else f"{float(f'{value:.2g}'):g}"


def _moved(before: Figures, now: Figures) -> bool:
    return any(_differs(a, b) for a, b in ((before.planned, now.planned), (before.served, now.served)))


def _differs(a: float | None, b: float | None) -> bool:
    if a is None or b is None:
        return a is not b
    return abs(a - b) >= CHANGE * max(a, b) and fps_of(Figures(served=a)) != fps_of(Figures(served=b))

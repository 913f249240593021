"""A measured capacity against what replicas show: where they are late below it, it is less than was measured.

What was measured elsewhere may not hold here: another driver, a busy host, larger pictures. An observed capacity needs
no correction, as it moves by itself; and replicas that carry more than their capacity are late for that reason.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from yolofleet.planning.scaling.capacity import LEAST_FRAMES, Capacity
from yolofleet.planning.scaling.signals import ReplicaSignals, Signals

LEAST_LOAD = 0.5
"""Of the capacity that is planned with: below it, being late says nothing about the capacity."""
QUEUE_SHARE = 0.5
EASY_SHARE = 0.5
"""A 99th percentile below so much of the objective gives some of a correction back."""
FULL = 0.95
"""Replicas that are this busy carry no more."""
FULL_LOAD = 0.85
STEP = 0.9
LEAST_SHARE = 0.5
LASTS = timedelta(seconds=120)
"""Triton's 99th percentile is that of its last minute: a flash that is over must not be taken for a wrong curve."""


@dataclass(frozen=True)
class Correction:
    """What share of the measured capacity is planned with, and why; since when the replicas say that it is too much."""

    share: float = 1.0
    why: str = ""
    late_since: datetime | None = None
    easy_since: datetime | None = None


def applied(capacity: Capacity | None, known: Correction) -> Capacity | None:
    """Return the capacity to plan with."""
    if capacity is None or capacity.origin == "Observed" or known.share == 1.0:
        return capacity
    return replace(capacity, fps=capacity.fps * known.share, corrected=f"{capacity.fps:.0f} because {known.why}")


def after(
    known: Correction, capacity: Capacity | None, signals: Signals | None, *, bound_ms: int, now: datetime
) -> Correction:
    """Return the correction after a look: a tenth less for each two minutes of lateness, and back in quiet ones."""
    planned = applied(capacity, known)
    if planned is None or planned.origin == "Observed" or signals is None or signals.missing:
        return replace(known, late_since=None, easy_since=None)
    telling = [r for r in signals.replicas if not r.missing and r.frames >= LEAST_FRAMES]
    load = sum(r.served_fps or 0.0 for r in telling) / (planned.fps * len(telling)) if telling else 0.0
    if not LEAST_LOAD <= load <= 1.0:
        return replace(known, late_since=None, easy_since=None)
    if why := _late(signals, telling, load, bound_ms):
        since = known.late_since or now
        if now - since < LASTS:
            return replace(known, late_since=since, easy_since=None)
        return Correction(max(LEAST_SHARE, known.share * STEP), why, late_since=now)
    since = known.easy_since or now
    if known.share < 1.0 and now - since >= LASTS and _easy(signals, bound_ms):
        share = known.share / STEP
        return Correction(share, known.why, easy_since=now) if share < 1.0 - 1e-9 else Correction()
    return replace(known, late_since=None, easy_since=since)


def _late(signals: Signals, telling: list[ReplicaSignals], load: float, bound_ms: int) -> str:
    """Return by which signal the replicas are at their end, '' where they are not."""
    if signals.p99_us is not None and signals.p99_us > 1000 * bound_ms:
        return f"p99 {signals.p99_us / 1000:.0f} ms is above {bound_ms} at {load:.0%} of it"
    if signals.queue_us is not None and signals.queue_us > 1000 * bound_ms * QUEUE_SHARE:
        return f"frames queue for {signals.queue_us / 1000:.0f} ms of {bound_ms} at {load:.0%} of it"
    uses = [use for r in telling if (use := r.utilization) is not None]
    if uses and load <= FULL_LOAD and sum(uses) / len(uses) >= FULL:
        return f"replicas are {sum(uses) / len(uses):.0%} active at {load:.0%} of it"
    return ""


def _easy(signals: Signals, bound_ms: int) -> bool:
    return signals.p99_us is not None and signals.p99_us < 1000 * bound_ms * EASY_SHARE

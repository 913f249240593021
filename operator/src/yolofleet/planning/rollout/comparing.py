"""Whether a new revision does as well as the old one: both counted over the same time, judged with the arithmetic."""

from __future__ import annotations

import math
from dataclasses import dataclass

from yolofleet.api.rollout import RolloutReason

LEAST_REQUESTS = 100
"""Requests of each revision below which nothing is said of latency or frames per second."""
LEAST_FAILURES = 5
DEVIATIONS = 3.0
"""Shares of failed requests differ when they lie so many standard deviations apart: by chance one time in 700."""
SLOWER = 1.25
LESS_SERVED = 0.05
P99_WINDOW_S = 60.0
"""Over so long Triton's 99th percentile reaches back: sooner it is that of a model's first frames."""
MOST_PATIENCE = 3
"""Where too few requests come, the comparison ends after so many times its length."""


@dataclass(frozen=True)
class Tally:
    """What the pods of one revision did since the comparison began.

    `waiting` is by how many requests their queues have grown since; `p99_us` is that of the slowest pod over the
    server's own window, None where nobody can tell.
    """

    pods: int = 0
    served: float = 0.0
    failed: float = 0.0
    waiting: float = 0.0
    frames: float = 0.0
    p99_us: float | None = None

    @property
    def requests(self) -> float:
        """Return how many requests have an end."""
        return self.served + self.failed

    @property
    def failed_share(self) -> float:
        """Return the share of failed requests; 0 where there was none."""
        return self.failed / self.requests if self.requests else 0.0

    @property
    def served_share(self) -> float:
        """Return the share of what came that was served."""
        came = self.requests + max(0.0, self.waiting)
        return self.served / came if came else 1.0


@dataclass(frozen=True)
class Comparison:
    """Both revisions over the same `seconds`."""

    seconds: float
    old: Tally
    new: Tally


@dataclass(frozen=True)
class Outcome:
    """What a comparison says: whether the new revision is as good, why, and the numbers."""

    good: bool
    reason: RolloutReason
    message: str


def outcome(seen: Comparison, *, bound_ms: int, seconds: float) -> Outcome | None:
    """Judge; errors as soon as they are beyond chance, all else after `seconds`; None: not yet."""
    if (bad := _errors(seen)) is not None:
        return bad
    if seen.seconds < seconds:
        return None
    few = min(seen.old.requests, seen.new.requests)
    if few < LEAST_REQUESTS:
        if seen.seconds < seconds * MOST_PATIENCE:
            return None
        told = f"{few:.0f} requests of the {LEAST_REQUESTS} that a comparison needs in {seen.seconds:.0f} s"
        return Outcome(good=True, reason=RolloutReason.NOT_COMPARED, message=f"{told}; {_numbers(seen)}")
    return (
        _latency(seen, bound_ms)
        or _frames(seen)
        or Outcome(good=True, reason=RolloutReason.AS_GOOD, message=_numbers(seen))
    )


def _errors(seen: Comparison) -> Outcome | None:
    """Compare the shares of failed requests as two samples of one kind: are they too far apart to be one?"""
    old, new = seen.old, seen.new
    if new.failed < LEAST_FAILURES or not new.requests:
        return None
    requests = old.requests + new.requests
    pooled = (old.failed + new.failed) / requests
    # An old revision that got no request says nothing for its successor's failures: it counts as one without any.
    spread = math.sqrt(pooled * (1 - pooled) * (1 / new.requests + 1 / max(old.requests, 1.0)))
    gap = new.failed_share - old.failed_share
    if gap <= DEVIATIONS * spread and (pooled < 1 or old.requests):
        return None
    told = (
        f"{new.failed:.0f} of {new.requests:.0f} requests failed ({new.failed_share:.1%}) against {old.failed:.0f} of "
        f"{old.requests:.0f} ({old.failed_share:.1%}): {gap:.1%} apart, by chance at most {DEVIATIONS * spread:.1%}"
    )
    return Outcome(good=False, reason=RolloutReason.ERRORS, message=f"{told}; {_numbers(seen)}")


def _latency(seen: Comparison, bound_ms: int) -> Outcome | None:
    """A longer p99 counts when it breaks the objective: a larger model may be slower on purpose."""
    if seen.old.p99_us is None or seen.new.p99_us is None or seen.seconds < P99_WINDOW_S:
        return None
    old_ms, new_ms = seen.old.p99_us / 1000, seen.new.p99_us / 1000
    if new_ms <= bound_ms or new_ms <= SLOWER * old_ms:
        return None
    told = (
        f"p99 {new_ms:.3g} ms, above objective.p99LatencyMilliseconds {bound_ms} and above {SLOWER:g} × {old_ms:.3g} ms"
    )
    return Outcome(good=False, reason=RolloutReason.LATENCY, message=f"{told}; {_numbers(seen)}")


def _frames(seen: Comparison) -> Outcome | None:
    """Fewer frames a second than came, by more than the old revision: it falls behind."""
    lack = seen.old.served_share - seen.new.served_share
    if lack <= LESS_SERVED:
        return None
    share = f"it served {seen.new.served_share:.1%} of what came"
    told = f"{share}, {lack:.1%} less than the old one, allowed {LESS_SERVED:.0%}"
    return Outcome(good=False, reason=RolloutReason.FRAMES_PER_SECOND, message=f"{told}; {_numbers(seen)}")


def _numbers(seen: Comparison) -> str:
    """Say what both did."""
    return f"over {seen.seconds:.0f} s new: {_side(seen.new, seen.seconds)}; old: {_side(seen.old, seen.seconds)}"


def _side(told: Tally, seconds: float) -> str:
    p99 = "unknown" if told.p99_us is None else f"{told.p99_us / 1000:.3g} ms"
    fps = told.frames / seconds if seconds else 0.0
    return f"{told.pods} pods, {fps:.3g} fps, p99 {p99}, {told.failed:.0f} of {told.requests:.0f} requests failed"

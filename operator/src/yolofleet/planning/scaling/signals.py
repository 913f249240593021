"""What the replicas of a deployment were last seen to do; what nobody could see is None, and `missing` says why."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True)
class ReplicaSignals:
    """One pod over the last few seconds: rates in frames per second, shares from 0 to 1.

    `age_s` is how long ago it last answered, or since when it has been asked in vain; `frames` is how many it answered
    in the time that the rates were taken over, `recent_fps` what arrived since the look before. `engine_active` may be
    None alone: `engine_missing` says why.
    """

    pod: str
    profile: str
    arrival_fps: float | None = None
    served_fps: float | None = None
    failed_fps: float | None = None
    queue_us: float | None = None
    p99_us: float | None = None
    mean_batch: float | None = None
    busy: float | None = None
    engine_active: float | None = None
    pending: float | None = None
    age_s: float = 0.0
    missing: str = ""
    frames: float = 0.0
    engine_missing: str = ""
    recent_fps: float | None = None

    @property
    def utilization(self) -> float | None:
        """Return the larger of the two shares that were seen: how busy Triton was, how active the engine."""
        seen = [share for share in (self.busy, self.engine_active) if share is not None]
        return max(seen, default=None)


@dataclass(frozen=True)
class Signals:
    """All pods of a deployment together; `unbroken_s` is for how long no ready pod has been missing.

    `looked_at` is when all were last asked, in seconds of the looks' own clock.
    """

    arrival_fps: float | None
    served_fps: float | None
    failed_fps: float | None
    queue_us: float | None
    p99_us: float | None
    mean_batch: float | None
    busy: float | None
    engine_active: float | None
    age_s: float
    replicas: tuple[ReplicaSignals, ...] = ()
    missing: tuple[str, ...] = ()
    unbroken_s: float = 0.0
    engine_missing: str = ""
    recent_fps: float | None = None
    looked_at: float = 0.0


def together(
    replicas: Iterable[ReplicaSignals], *, missing: Iterable[str], unbroken_s: float, looked_at: float = 0.0
) -> Signals:
    """Sum rates, weigh queue and batch by frames, take the worst p99 and the mean of shares, of those that were seen.

    `missing` are the words for pods that ought to be seen; a pod that is on its way out may be silent.
    """
    all_of = tuple(sorted(replicas, key=lambda r: r.pod))
    seen = [replica for replica in all_of if not replica.missing]
    return Signals(
        arrival_fps=_sum(seen, lambda r: r.arrival_fps),
        served_fps=_sum(seen, lambda r: r.served_fps),
        failed_fps=_sum(seen, lambda r: r.failed_fps),
        queue_us=_weighted(seen, lambda r: r.queue_us),
        p99_us=max((r.p99_us for r in seen if r.p99_us is not None), default=None),
        mean_batch=_weighted(seen, lambda r: r.mean_batch),
        busy=_mean(seen, lambda r: r.busy),
        engine_active=_mean(seen, lambda r: r.engine_active),
        age_s=max((r.age_s for r in all_of), default=0.0),
        replicas=all_of,
        missing=tuple(missing),
        unbroken_s=unbroken_s,
        engine_missing=next((r.engine_missing for r in seen if r.engine_missing), ""),
        recent_fps=_sum(seen, lambda r: r.recent_fps),
        looked_at=looked_at,
    )


Figure = Callable[[ReplicaSignals], float | None]


def _values(replicas: Iterable[ReplicaSignals], figure: Figure) -> list[float]:
    return [value for replica in replicas if (value := figure(replica)) is not None]


def _sum(replicas: Iterable[ReplicaSignals], figure: Figure) -> float | None:
    values = _values(replicas, figure)
    return sum(values) if values else None


def _mean(replicas: Iterable[ReplicaSignals], figure: Figure) -> float | None:
    values = _values(replicas, figure)
    return sum(values) / len(values) if values else None


def _weighted(replicas: Iterable[ReplicaSignals], figure: Figure) -> float | None:
    pairs = [(value, r.frames) for r in replicas if (value := figure(r)) is not None and r.frames > 0]
    weight = sum(frames for _, frames in pairs)
    return sum(value * frames for value, frames in pairs) / weight if weight else None

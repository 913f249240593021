"""A row of `top` from a YoloDeployment as it stands and what was last seen of it; forgiving of odd objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from yolofleet.api.top import TopDeployment

Object = dict[str, Any]


@dataclass(frozen=True)
class Live:
    """What status does not hold, because it moves all the time; None: nobody could see it."""

    demand_fps: float | None = None
    served_fps: float | None = None
    failed_fps: float | None = None
    p99_ms: float | None = None
    queue_ms: float | None = None
    mean_batch: float | None = None
    busy: float | None = None
    engine_active: float | None = None
    capacity_fps: float | None = None
    signals_age_seconds: float | None = None


NOTHING_SEEN = Live()


def top_row(obj: Object, live: Live = NOTHING_SEEN) -> TopDeployment:
    """Return the row of one YoloDeployment."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    scaling, told = spec.get("scaling") or {}, status.get("scaling") or {}
    objective = (spec.get("objective") or {}).get("p99LatencyMilliseconds")
    return TopDeployment(
        namespace=meta["namespace"],
        name=meta["name"],
        ready=_count(status.get("readyReplicas")),
        desired=_count(told.get("desiredReplicas", status.get("replicas"))),
        min_replicas=_count(scaling.get("minReplicas")),
        max_replicas=_count(scaling.get("maxReplicas")),
        objective_ms=float(objective) if isinstance(objective, int) else None,
        reason=str(told.get("reason") or ""),
        message=str(told.get("message") or ""),
        slices=str((status.get("summary") or {}).get("slices") or ""),
        **vars(live),
    )


def _count(told: Any) -> int:
    return told if isinstance(told, int) else 0

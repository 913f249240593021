"""What one replica is worth: what its curve says at the objective, or what it was last seen to carry."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from yolofleet.api.yolodeployment import YoloDeploymentStatus
from yolofleet.planning.scaling.signals import ReplicaSignals, Signals

Origin = Literal["Measured", "Estimated", "Observed"]
LEAST_UTILIZATION = 0.25
"""Below it, frames ÷ utilisation says more about noise and fixed costs than about the replica."""
LEAST_FRAMES = 20
"""In the time that the rates were taken over."""
CHANGE = 0.1
EVERY = timedelta(seconds=60)


@dataclass(frozen=True)
class Capacity:
    """Frames per second of one replica at full use, and where the figure comes from.

    `corrected`: from what, and why.
    """

    fps: float
    origin: Origin
    corrected: str = ""

    @property
    def words(self) -> str:
        """Say where the figure comes from."""
        return self.origin.lower() + (f", corrected from {self.corrected}" if self.corrected else "")


def observed(signals: Signals | None) -> float | None:
    """Return served ÷ utilisation over the replicas that were busy enough to tell."""
    trusted = [r for r in signals.replicas if _tells(r)] if signals else []
    use = sum(r.utilization or 0.0 for r in trusted)
    return sum(r.served_fps or 0.0 for r in trusted) / use if use else None


def _tells(replica: ReplicaSignals) -> bool:
    use = replica.utilization
    return not replica.missing and use is not None and use >= LEAST_UTILIZATION and replica.frames >= LEAST_FRAMES


def kept(status: YoloDeploymentStatus, profile: str) -> Capacity | None:
    """Return what the status remembers for a profile."""
    found = next((group for group in status.groups if group.profile == profile), None)
    if found is None or not found.frames_per_second_per_replica:
        return None
    return Capacity(float(found.frames_per_second_per_replica), found.curve or "Observed")


def settled(
    measured: Capacity | None, before: Capacity | None, seen: float | None, *, since: datetime | None, now: datetime
) -> Capacity | None:
    """Return the capacity to plan with: measured, or seen, or estimated; a seen one moves by 10 %, once a minute."""
    if measured is not None and measured.origin == "Measured":
        return measured
    if seen is None or seen < 1:
        return before if measured is None or (before is not None and before.origin == "Observed") else measured
    fresh = Capacity(float(round(seen)), "Observed")
    if before is None or before.origin != "Observed":
        return fresh
    moved = abs(seen - before.fps) >= CHANGE * before.fps
    return fresh if moved and (since is None or now - since >= EVERY) else before

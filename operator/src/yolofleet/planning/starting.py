"""What a slice takes from wish to service, as those took that serve now."""

from __future__ import annotations

from statistics import median

from yolofleet.planning.snapshot import DeploymentView

LONGEST_START_S = 3600.0
UNLEARNT_START_S = 30.0


def start_s_of(view: DeploymentView) -> float:
    """Return what a replica takes from wish to service, as those took that serve now."""
    took = [pod.start_s for pod in view.pods if pod.start_s is not None and 0 < pod.start_s <= LONGEST_START_S]
    return median(took) if took else UNLEARNT_START_S

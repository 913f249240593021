"""What a slice takes from wish to service, as those took that serve now."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

from yolofleet.planning.slices.profiles import slug
from yolofleet.planning.snapshot import DeploymentView

LONGEST_START_S = 3600.0
UNLEARNT_START_S = 30.0


@dataclass(frozen=True)
class Start:
    """What a start takes, and what that was learnt from; no starts: nothing was learnt yet."""

    seconds: float
    starts: int = 0
    profile: str = ""

    @property
    def words(self) -> str:
        """Return it as a decision's reason says it, '' where nothing was learnt."""
        if not self.starts:
            return ""
        count = "1 start" if self.starts == 1 else f"{self.starts} starts"
        return f"start time learnt {self.seconds:.1f} s from {count} of {self.profile}"


def start_of(view: DeploymentView) -> Start:
    """Return what a replica takes from wish to service, as those took that serve on the profile that most serve on."""
    took: dict[str, list[float]] = defaultdict(list)
    for pod in view.pods:
        if pod.start_s is not None and 0 < pod.start_s <= LONGEST_START_S:
            took[pod.profile].append(pod.start_s)
    if not took:
        return Start(UNLEARNT_START_S)
    most = min(took, key=lambda profile: (-len(took[profile]), profile))
    named = {slug(group.profile): group.profile for group in view.groups}  # a pod's label can't hold every name
    return Start(median(took[most]), len(took[most]), named.get(most, most))


def start_s_of(view: DeploymentView) -> float:
    """Return the seconds of `start_of`."""
    return start_of(view).seconds

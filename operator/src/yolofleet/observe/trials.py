"""Counts what a canary and the old revision do, both from the same look on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from yolofleet.observe.triton import LEAST_SUMMARISED, Counters, began_anew
from yolofleet.planning.rollout.comparing import Comparison, Tally
from yolofleet.planning.scaling.levelled import helping
from yolofleet.planning.snapshot import DeploymentView, PodView

Name = tuple[str, str]
Look = tuple[float, Counters]
Last = Callable[[str, str], Look | None]
"""Gives the last look at a pod, by namespace and uid."""


@dataclass
class _Trial:
    """A comparison since `began`; where each pod stood then, or when it first answered, and what left pods had done."""

    began: float
    revision: str
    starts: dict[str, Counters] = field(default_factory=dict)
    ends: dict[str, tuple[bool, Counters]] = field(default_factory=dict)


class Trials:
    """Holds the comparisons that are under way."""

    def __init__(self) -> None:
        self._trials: dict[Name, _Trial] = {}

    def look(self, views: Mapping[Name, DeploymentView], last: Last) -> None:
        """Take the last looks; a comparison begins when a pod of the canary and one of the others have answered."""
        canaries = {name: view for name, view in views.items() if view.canary is not None}
        self._trials = {name: trial for name, trial in self._trials.items() if name in canaries}
        for name, view in canaries.items():
            seen = {pod.uid: (pod, told) for pod in _serving(view) if (told := last(view.namespace, pod.uid))}
            sides = {pod.canary for pod, _ in seen.values()}
            revision = view.canary.engine + view.canary.image if view.canary is not None else ""
            trial = self._trials.get(name)
            if trial is None or trial.revision != revision:
                self._trials.pop(name, None)
                if len(sides) < 2:  # noqa: PLR2004 - both
                    continue
                trial = self._trials[name] = _Trial(max(at for _, (at, _) in seen.values()), revision)
            for uid, (pod, (_, counters)) in seen.items():
                if uid not in trial.starts or began_anew(trial.starts[uid], counters):
                    trial.starts[uid] = counters
                trial.ends[uid] = (pod.canary, counters)

    def comparison(self, view: DeploymentView, last: Last) -> Comparison | None:
        """Return what both did so far; None where nothing is compared."""
        trial = self._trials.get((view.namespace, view.name))
        looks = [told for pod in _serving(view) if (told := last(view.namespace, pod.uid)) is not None]
        if trial is None or not looks:
            return None
        seconds = max(at for at, _ in looks) - trial.began
        here = {pod.uid for pod in _serving(view)}
        return Comparison(seconds, _tally(trial, here, canary=False), _tally(trial, here, canary=True))


def _serving(view: DeploymentView) -> Iterable[PodView]:
    """Return the pods that are compared: those of the canary that serve what it is for by now, and all others.

    Those on slices of another kind are faster or slower for that alone.
    """
    new = view.canary.engine if view.canary is not None else ""
    elsewhere = helping(view)
    ready = (pod for pod in view.pods if pod.ip and pod.ready and not pod.terminating and pod.profile not in elsewhere)
    return (pod for pod in ready if not pod.canary or pod.engine == new)


def _tally(trial: _Trial, here: set[str], *, canary: bool) -> Tally:
    """Sum over the pods of one side, those too that have gone meanwhile."""
    sides = [(uid, trial.starts[uid], after) for uid, (side, after) in trial.ends.items() if side == canary]
    grown = [(before, after) for _, before, after in sides]
    slow = [after.p99_us for uid, before, after in sides if uid in here and _telling(before, after)]
    return Tally(
        pods=sum(1 for uid, _, _ in sides if uid in here),
        served=sum(after.success - before.success for before, after in grown),
        failed=sum(after.failure - before.failure for before, after in grown),
        waiting=sum(after.pending - before.pending for before, after in grown),
        frames=sum(after.frames - before.frames for before, after in grown),
        p99_us=max((p99 for p99 in slow if p99 is not None), default=None),
    )


def _telling(before: Counters, after: Counters) -> bool:
    return after.summarised - before.summarised >= LEAST_SUMMARISED

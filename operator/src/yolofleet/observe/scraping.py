"""Asks every serving pod what it did, keeps the last seconds, and makes signals of them; a silent pod is missing."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import aiohttp

from yolofleet.observe import asking
from yolofleet.observe.engine_activity import EngineActivity
from yolofleet.observe.trials import Trials
from yolofleet.observe.triton import LEAST_SUMMARISED, Counters, Rates, began_anew, extract, rates
from yolofleet.planning.rollout.comparing import Comparison
from yolofleet.planning.scaling.signals import ReplicaSignals, Signals, together
from yolofleet.planning.snapshot import DeploymentView, PodView
from yolofleet.render.serving import METRICS_PORT

CONCURRENCY = 64
LOOKS = 3
"""Rates are taken over so many intervals: shorter is noise, longer is late."""
SUMMARY_S = 60.0
"""The window of Triton's summaries."""
MARK_S = 10.0
LONGEST_PAUSE_S = 10.0
Clock = Callable[[], float]
Name = tuple[str, str]


@dataclass
class _Pod:
    """What one pod told; `asked` since when, `due` when again, `words` why its last answer was none."""

    asked: float
    looks: deque[tuple[float, Counters]] = field(default_factory=deque)
    marks: deque[tuple[float, float]] = field(default_factory=deque)
    words: str = "not asked yet"
    failures: int = 0
    due: float = 0.0

    def heard(self, now: float, told: Counters, keep_s: float) -> None:
        """Take an answer; where a counter fell, all that was before is of another life."""
        self.failures, self.due = 0, 0.0
        self.words = "seen once so far"
        if self.looks and began_anew(self.looks[-1][1], told):
            self.looks.clear()
            self.marks.clear()
            self.words = "its counters began anew"
        self.looks.append((now, told))
        while len(self.looks) > 2 and now - self.looks[0][0] > keep_s:  # noqa: PLR2004 - two looks make a rate
            self.looks.popleft()
        if not self.marks or now - self.marks[-1][0] >= MARK_S:
            self.marks.append((now, told.summarised))
        while len(self.marks) > 1 and now - self.marks[1][0] >= SUMMARY_S:
            self.marks.popleft()

    def silent(self, now: float, words: str, period_s: float) -> None:
        """Take it that there was no answer; what does not answer is asked less often."""
        self.words = words
        self.failures += 1
        self.due = now + min(LONGEST_PAUSE_S, period_s * 2 ** min(self.failures - 1, 5)) - period_s / 2


class Scraper:
    """Holds the last looks at all serving pods."""

    def __init__(
        self, *, period_s: float, stale_s: float, activity: EngineActivity, clock: Clock = time.monotonic
    ) -> None:
        self._period_s = period_s
        self._stale_s = stale_s
        self._activity = activity
        self._clock = clock
        self._pods: dict[tuple[str, str], _Pod] = {}
        self._unborn: dict[tuple[str, str], float] = {}
        self._whole_since: dict[Name, float] = {}
        self._trials = Trials()
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._looked_at = 0.0

    async def look(self, session: aiohttp.ClientSession, views: Iterable[DeploymentView]) -> None:
        """Ask all pods of these deployments once; forget the pods of others."""
        views = list(views)
        wanted = {(view.namespace, pod.uid): (view, pod) for view in views for pod in view.pods if _asked(pod)}
        self._pods = {key: known for key, known in self._pods.items() if key in wanted}
        young = {(view.namespace, pod.uid): self._clock() for view in views for pod in view.pods if pod.unborn}
        self._unborn = {key: at for key, at in self._unborn.items() if key in wanted} | young
        await asyncio.gather(*(self._ask(session, key, *told) for key, told in wanted.items()))
        self._looked_at = self._clock()
        names = {(view.namespace, view.name): view for view, _ in wanted.values()}
        self._whole_since = {name: since for name, since in self._whole_since.items() if name in names}
        self._trials.look({(view.namespace, view.name): view for view in views}, self._last)
        for name, view in names.items():
            if self._replicas(view)[1]:
                self._whole_since.pop(name, None)
            else:
                self._whole_since.setdefault(name, self._clock())

    async def _ask(
        self, session: aiohttp.ClientSession, key: tuple[str, str], view: DeploymentView, pod: PodView
    ) -> None:
        known = self._pods.setdefault(key, _Pod(asked=self._clock()))
        if (unborn := self._unborn.pop(key, None)) is not None:
            known.looks.append((unborn, Counters()))  # whose life began since: its counters began at zero
        if known.due > self._clock():
            return
        async with self._slots:
            told = await asking.page(session, pod.ip, METRICS_PORT)
        now = self._clock()
        counters = told if isinstance(told, str) else extract(told, view.name)
        if isinstance(counters, str):
            known.silent(now, counters, self._period_s)
        else:
            known.heard(now, counters, self._period_s * LOOKS + self._period_s / 2)

    def signals(self, view: DeploymentView) -> Signals | None:
        """Return what was last seen of a deployment; None when none of its pods was asked yet."""
        replicas, missing = self._replicas(view)
        if not replicas:
            return None
        since = self._whole_since.get((view.namespace, view.name))
        unbroken = 0.0 if since is None or missing else self._clock() - since
        return together(replicas, missing=missing, unbroken_s=unbroken, looked_at=self._looked_at)

    def comparison(self, view: DeploymentView) -> Comparison | None:
        """Return what a canary and the others did over the same time; None where there is none, or not yet."""
        return self._trials.comparison(view, self._last)

    def _last(self, namespace: str, uid: str) -> tuple[float, Counters] | None:
        known = self._pods.get((namespace, uid))
        return known.looks[-1] if known is not None and known.looks else None

    def _replicas(self, view: DeploymentView) -> tuple[list[ReplicaSignals], list[str]]:
        known = [(pod, self._pods.get((view.namespace, pod.uid))) for pod in view.pods if _asked(pod)]
        replicas = [self._replica(view.namespace, pod, told) for pod, told in known if told is not None]
        serving = {pod.name for pod, _ in known if not pod.terminating}
        return replicas, [r.missing for r in replicas if r.missing and r.pod in serving]

    def _replica(self, namespace: str, pod: PodView, known: _Pod) -> ReplicaSignals:
        now = self._clock()
        age = now - (known.looks[-1][0] if known.looks else known.asked)
        facts: dict[str, float | str | None] = {"age_s": age}
        if len(known.looks) < 2 or age >= self._stale_s:  # noqa: PLR2004 - two looks make a rate
            since = f" for {age:.0f} s" if known.failures else ""
            facts["missing"] = f"pod {pod.name}: {known.words}{since}"
        else:
            (then, before), (last, after) = known.looks[0], known.looks[-1]
            facts |= _facts(rates(before, after, seconds=max(last - then, 1e-3), instances=pod.instances))
            grown = after.summarised - known.marks[0][1]
            (close, nearly) = known.looks[-2]
            facts["recent_fps"] = rates(nearly, after, seconds=max(last - close, 1e-3)).arrival_fps
            facts["p99_us"] = after.p99_us if grown >= LEAST_SUMMARISED else None
        active, why = self._activity.of(namespace, pod.name)
        return ReplicaSignals(pod.name, pod.profile, engine_active=active, engine_missing=why, **facts)  # type: ignore[arg-type]


def _facts(told: Rates) -> dict[str, float | str | None]:
    return dict(vars(told))


def _asked(pod: PodView) -> bool:
    """Tell whether a pod is asked: one that serves, or one that drains and still answers."""
    return bool(pod.ip) and (pod.ready or pod.terminating)

"""A small cluster that does what plans say, one pod at a time, so that a test can live through whole rollouts."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

from tests.planning.worlds import NOW, POLICY, PUBLISHED, deployment, engine, group, node, pod, snapshot, spec
from yolofleet.api.yolodeployment import YoloDeploymentSpec
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.groups.grouping import GroupPlan
from yolofleet.planning.plan import DeploymentPlan, plan
from yolofleet.planning.rollout.comparing import Comparison, Tally
from yolofleet.planning.snapshot import DeploymentView, EngineView, GroupView, PodView
from yolofleet.render.status import deployment_status

TICK_S = 20
GOOD = Comparison(120.0, Tally(3, 6000, 0, 0, 6000, 20_000.0), Tally(1, 2000, 0, 0, 2000, 21_000.0))
FAILING = Comparison(30.0, Tally(3, 1500, 0, 0, 1500, 20_000.0), Tally(1, 450, 50, 0, 450, 21_000.0))
SLOW = Comparison(120.0, Tally(3, 6000, 0, 0, 6000, 20_000.0), Tally(1, 2000, 0, 0, 2000, 190_000.0))
BEHIND = Comparison(120.0, Tally(3, 6000, 0, 2, 6000, 20_000.0), Tally(1, 1200, 0, 800, 1200, 21_000.0))
SILENT = Comparison(360.0, Tally(3, 7, 0, 0, 7), Tally(1, 2, 0, 0, 2))


@dataclass
class Pod:
    name: str
    engine: str
    canary: bool
    placed: bool
    ready: bool = False


@dataclass
class Cluster:
    """One deployment on a node of so many devices; `comparison` is what is seen of a ready canary."""

    asked: YoloDeploymentSpec
    devices: int
    comparison: Comparison | None = None
    broken: bool = False
    engine_status: YoloEngineStatus = PUBLISHED
    old_status: YoloEngineStatus = PUBLISHED
    now: Any = NOW
    request: str = ""
    pods: list[Pod] = field(default_factory=list)
    wanted: dict[bool, GroupPlan] = field(default_factory=dict)
    view: DeploymentView = field(default_factory=deployment)
    extra: tuple[EngineView, ...] = ()
    made: int = 0
    fewest: int = 99
    most: int = 0

    @property
    def new(self) -> str:
        return engine(self.asked).name

    def __post_init__(self) -> None:
        """Serve what was there before."""
        count = self.asked.scaling.min_replicas
        self.pods = [Pod(f"old-{i}", "e-old", canary=False, placed=True, ready=True) for i in range(count)]
        self.view = deployment(asked=self.asked, groups=(group("gpu", "e-old", ready=count, replicas=count),))

    def tick(self) -> DeploymentPlan:
        """Decide once, and let the cluster do one move."""
        engines = (
            engine(self.asked, name="e-old", status=self.old_status),
            engine(self.asked, status=self.engine_status),
            *self.extra,
        )
        used = {("n1", "nvidia.com/gpu"): sum(p.placed for p in self.pods)}
        seen = snapshot(
            self._seen(), engines=engines, nodes=(node(devices={"nvidia.com/gpu": self.devices}),), devices_used=used
        )
        (decided,) = plan(replace(seen, taken_at=self.now)).deployments
        status = deployment_status(decided, self.now)
        self.view = replace(self.view, status=status)
        self.wanted = {one.canary: one for one in decided.groups}
        self._move()
        self.now += timedelta(seconds=TICK_S)
        ready = sum(p.ready for p in self.pods)
        self.fewest, self.most = min(self.fewest, ready), max(self.most, sum(p.placed for p in self.pods))
        return decided

    def until(self, phase: str, ticks: int = 80) -> DeploymentPlan:
        for _ in range(ticks):
            decided = self.tick()
            if self.phase == phase:
                return decided
        raise AssertionError(f"never {phase}: {self.view.status.rollout}")

    @property
    def phase(self) -> str:
        return self.view.status.rollout.phase if self.view.status.rollout else ""

    @property
    def served(self) -> list[str]:
        return sorted(p.engine for p in self.pods if p.ready)

    def _seen(self) -> DeploymentView:
        groups = {canary: self._group(canary, one) for canary, one in self.wanted.items()}
        stable = groups.get(False) or self.view.groups[0]
        canary = groups.get(True)
        both = canary is not None and canary.ready_replicas > 0
        return replace(
            self.view,
            spec=self.asked,
            groups=(stable,),
            canary=canary,
            pods=tuple(self._pod(p) for p in self.pods),
            comparison=self.comparison if both else None,
            rollout_request=self.request,
        )

    def _group(self, canary: bool, one: GroupPlan) -> GroupView:
        own = [p for p in self.pods if p.canary == canary]
        return group(
            "gpu",
            one.engine.name,
            ready=sum(p.ready for p in own),
            replicas=one.replicas,
            updated_replicas=sum(p.engine == one.engine.name for p in own),
            total_replicas=len(own),
            surge=one.surge,
            image=one.image,
            name="gate-gpu-canary" if canary else "gate-gpu",
        )

    def _pod(self, one: Pod) -> PodView:
        crash = "triton: exit code 1" if self.broken and one.canary and one.placed else ""
        waits = "" if one.placed else "0/1 nodes are available"
        return pod(one.name, engine=one.engine, canary=one.canary, ready=one.ready, unschedulable=waits, crash=crash)

    def _move(self) -> None:
        for one in self.pods:
            one.placed = one.placed or sum(p.placed for p in self.pods) < self.devices
            one.ready = one.placed and not (self.broken and one.canary)
        for canary in (True, False):
            told = self.wanted.get(canary)
            own = [p for p in self.pods if p.canary == canary]
            if told is None:
                self._drop([p for p in own if canary])
                continue
            old = [p for p in own if p.engine != told.engine.name]
            self._drop(sorted(own, key=lambda p: (p not in old, p.ready))[: max(0, len(own) - told.replicas)])
            own = [p for p in self.pods if p.canary == canary]
            self._make(told, canary, told.replicas - len(own))
            old = [p for p in own if p.engine != told.engine.name]
            if old and len(own) == told.replicas and all(p.ready for p in own):
                self._drop(old[:1])
                self._make(told, canary, 1)

    def _make(self, told: GroupPlan, canary: bool, count: int) -> None:
        for _ in range(count):
            self.made += 1
            placed = sum(p.placed for p in self.pods) < self.devices
            self.pods.append(Pod(f"p-{self.made}", told.engine.name, canary, placed))

    def _drop(self, gone: list[Pod]) -> None:
        self.pods = [p for p in self.pods if p not in gone]


def cluster(replicas: int, devices: int, comparison: Comparison | None = GOOD, **given: Any) -> Cluster:
    """Return a cluster whose deployment has so many replicas of an old engine."""
    told = {"rollout": given.pop("rollout", {})} | given.pop("more", {})
    asked = spec(scaling={"minReplicas": replicas, "maxReplicas": max(replicas, 8)}, **told)
    return Cluster(asked, devices, comparison, **given)


def policy(image: str) -> Any:
    return replace(POLICY, image=image)

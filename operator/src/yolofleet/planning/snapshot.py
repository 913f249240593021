"""All that planning sees: frozen views of nodes, pools, deployments and engines at one moment.

What nobody could see is None, never zero. Views hold facts, no judgement.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any

from yolofleet.api.build import Artifact, BuildResult, BuildSlice, Failure, Progress
from yolofleet.api.conditions import Condition
from yolofleet.api.migpool import MigPoolSpec
from yolofleet.api.recipe import Builder, engine_key
from yolofleet.api.yolodeployment import YoloDeploymentSpec, YoloDeploymentStatus
from yolofleet.api.yoloengine import YoloEngineSpec, YoloEngineStatus
from yolofleet.planning.rollout.comparing import Comparison
from yolofleet.planning.scaling.memory import Memory
from yolofleet.planning.scaling.signals import Signals
from yolofleet.planning.sizing.curves import Curves

SNAPSHOT_VERSION = 1


@dataclass(frozen=True)
class NodeView:
    """A node that offers GPU devices; `devices` maps resource names to allocatable counts."""

    name: str
    ready: bool
    schedulable: bool
    labels: Mapping[str, str]
    devices: Mapping[str, int]


@dataclass(frozen=True)
class PoolView:
    """A MigPool; the older of two that claim a node has it."""

    name: str
    generation: int
    created: str
    spec: MigPoolSpec
    conditions: list[Condition] = field(default_factory=list)


@dataclass(frozen=True)
class Owner:
    """A YoloDeployment as an owner of an engine."""

    name: str
    uid: str


@dataclass(frozen=True)
class JobView:
    """A build Job and what its pod left behind; `result` is None while there is none.

    `spoke` tells that the build's container was seen to end, `ended` when the Job did: the Job's end may be heard of
    before its pod's last words. `terminating` Jobs are on their way out, and their name is not free yet. With an
    S3 store `attempt` is the Job's folder there, `replaces` the digest of the manifest that stood there at its start.
    What a `spent` one made is not in the store, or not whole any more.
    `slice` is how it came by a slice, None of a build that takes none; `unplaced` that its pod has no node.
    """

    uid: str
    active: bool
    succeeded: bool
    failed: bool
    message: str = ""
    pod_ip: str | None = None
    waiting: str = ""
    result: BuildResult | None = None
    spoke: bool = False
    started: datetime | None = None
    ended: datetime | None = None
    terminating: bool = False
    attempt: str | None = None
    replaces: str | None = None
    slice: BuildSlice | None = None
    unplaced: bool = False
    spent: bool = False


@dataclass(frozen=True)
class DamageReport:
    """A serving pod's word that its engine is not whole in the store; `began` is the start of the run that saw it."""

    pod: str
    began: datetime
    message: str


@dataclass(frozen=True)
class EngineView:
    """A YoloEngine, its Job, the progress that its build pod last told, and what a serving pod last found damaged."""

    namespace: str
    name: str
    uid: str
    generation: int
    spec: YoloEngineSpec
    status: YoloEngineStatus
    owners: tuple[Owner, ...] = ()
    job: JobView | None = None
    progress: Progress | None = None
    refused: str = ""
    held: str = ""
    """Why the store can't be asked about its build."""
    damage: DamageReport | None = None

    @property
    def artifact(self) -> Artifact | None:
        """Return what is published, None before it is."""
        return self.status.artifact


@dataclass(frozen=True)
class Lender:
    """A deployment that could give up a replica for a while: one pool, one kind of slice, all replicas ready.

    `replicas` is what it is to have or has, whichever is less; `lent` of them are with builds already.
    """

    namespace: str
    name: str
    pool: str
    profile: str
    product: str
    replicas: int
    floor: int
    lent: int = 0

    @property
    def spare(self) -> int:
        """What it could lend and still have its floor."""
        return max(0, self.replicas - self.lent - self.floor)


@dataclass(frozen=True)
class PodView:
    """A serving pod: ready, or why not; `start_s` is what it took from its making until it served.

    `unborn`: it never served yet, so no load can be hidden in it. `canary`: it proves a new revision. `instances` of a
    model share its load: only when all of them work is it busy. `bound`: it has a node, and so a slice.
    """

    name: str
    profile: str
    engine: str
    ready: bool
    terminating: bool
    unschedulable: str = ""
    init_failure: Failure | None = None
    damage: DamageReport | None = None
    crash: str = ""
    uid: str = ""
    ip: str = ""
    start_s: float | None = None
    unborn: bool = False
    canary: bool = False
    instances: int = 1
    bound: bool = True


@dataclass(frozen=True)
class GroupView:
    """A Deployment that serves one YoloDeployment on one profile; `template_hash` tells its pods' look.

    `overflow`: it is there because slices of another profile had run out.
    """

    name: str
    uid: str
    profile: str
    engine: str
    engine_key: str
    template_hash: str
    replicas: int
    ready_replicas: int
    updated_replicas: int
    total_replicas: int
    settled: bool
    surge: bool
    refused: str = ""
    image: str = ""
    overflow: bool = False


@dataclass(frozen=True)
class Refusal:
    """What the API server last answered to a write for this object."""

    kind: str
    status: int
    message: str


@dataclass(frozen=True)
class DeploymentView:
    """A YoloDeployment with everything that belongs to it.

    `autoscalers` names HorizontalPodAutoscalers that target it; `memory` is what its last decision left behind, None
    after a restart. `canary` is the Deployment of a new revision, `comparison` what was seen of both, and
    `rollout_request` what somebody asks for by the annotation.
    """

    namespace: str
    name: str
    uid: str
    generation: int
    spec: YoloDeploymentSpec
    status: YoloDeploymentStatus
    groups: tuple[GroupView, ...] = ()
    pods: tuple[PodView, ...] = ()
    refusals: tuple[Refusal, ...] = ()
    signals: Signals | None = None
    autoscalers: tuple[str, ...] = ()
    memory: Memory | None = None
    canary: GroupView | None = None
    comparison: Comparison | None = None
    rollout_request: str = ""

    @property
    def all_groups(self) -> tuple[GroupView, ...]:
        """Return all Deployments, the canary's too."""
        return (*self.groups, self.canary) if self.canary is not None else self.groups

    def group_on(self, profile: str) -> GroupView | None:
        """Return the Deployment on a kind of slices, the canary's aside."""
        return next((group for group in self.groups if group.profile == profile), None)

    @property
    def standing(self) -> int:
        """Return how many replicas were decided on last, as the Deployments say: a canary's surge is none of them."""
        most = max((group.replicas for group in self.groups if not group.overflow), default=0)
        elsewhere = sum(group.replicas for group in self.groups if group.overflow)
        proving = self.canary.replicas - self.canary.surge if self.canary and self.canary.replicas else 0
        return most + elsewhere + proving


@dataclass(frozen=True)
class Policy:
    """The operator's settings that decisions depend on; times in seconds, `store` is how artifacts' URIs begin.

    `image` serves where a spec names none, and is given `load_s` to load a model.
    """

    builder: Builder
    backoff_s: int
    progress_step_percent: int = 10
    stale_s: float = 10.0
    store: str = ""
    image: str = ""
    load_s: float = 600.0


@dataclass(frozen=True)
class Snapshot:
    """The world at `taken_at`: the deployments and engines whose turn it is, and all nodes and pools.

    `devices_used` counts, by node and resource, the devices that this fleet's own pods hold, `devices_foreign` those
    of other people's pods, as far as they are seen; `curves` is what engines are worth, by recipe. `loans` is what
    deployments have lent to builds; `lenders` and `engine_pools` (those that its owners name) are there for engines
    that need a slice to be built on.
    """

    taken_at: datetime
    policy: Policy
    nodes: tuple[NodeView, ...] = ()
    pools: tuple[PoolView, ...] = ()
    deployments: tuple[DeploymentView, ...] = ()
    engines: Mapping[tuple[str, str], EngineView] = field(default_factory=dict)
    engines_by_owner: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)
    engines_due: tuple[tuple[str, str], ...] = ()
    pools_due: bool = False
    builds_running: int = 0
    lenders: tuple[Lender, ...] = ()
    loans: Mapping[tuple[str, str], int] = field(default_factory=dict)
    engine_pools: Mapping[tuple[str, str], frozenset[str]] = field(default_factory=dict)
    engines_behind: frozenset[tuple[str, str]] = frozenset()
    """Engines to be built whose owners' replicas are about to take slices with a portable one."""
    devices_used: Mapping[tuple[str, str], int] = field(default_factory=dict)
    devices_foreign: Mapping[tuple[str, str], int] = field(default_factory=dict)
    curves: Curves = field(default_factory=Curves)
    version: int = SNAPSHOT_VERSION

    @cached_property
    def portables(self) -> Mapping[tuple[str, str], tuple[EngineView, ...]]:
        """Return the portable engines by namespace and what their key would be without a target."""
        found: dict[tuple[str, str], list[EngineView]] = {}
        for view in self.engines.values():
            if view.spec.target is not None and view.spec.target.hardware_compatibility is not None:
                alike = engine_key(recipe=view.spec.recipe, target=None, builder=view.spec.builder)
                found.setdefault((view.namespace, alike), []).append(view)
        return {key: tuple(views) for key, views in found.items()}


@dataclass(frozen=True)
class UnreadableView:
    """An object that the API server let in and this operator cannot read; its words say which field.

    `status` is what stands there, as it stands, and `conditions` those of it that can be read.
    """

    kind: str
    namespace: str
    name: str
    generation: int
    message: str
    status: Mapping[str, Any] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)

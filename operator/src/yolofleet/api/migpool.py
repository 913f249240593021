"""MigPool: which nodes may serve, how they may be partitioned, and what they cost."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from yolofleet.api.base import (
    ApiModel,
    Cron,
    LabelKey,
    LabelValue,
    Name,
    ObjectName,
    PositiveDecimal,
    Product,
    Profile,
    TimeZone,
    as_atomic,
    as_map,
    cel,
    unique_by,
    with_cel,
)
from yolofleet.api.conditions import Condition

DEFAULT_POOL = "default"
"""The pool of those who name none; where no MigPool has this name, it is every node."""
MIG_MANAGER = "partitioning.migManager must be set with mode MigManager, and only then"
DRA = "partitioning.dra must be set with mode DRA, and only then"
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]


class LabelSelector(ApiModel):
    """Nodes or namespaces that bear all these labels; none given: all of them."""

    match_labels: Labels = Field(default_factory=dict)
    """Labels that must all be there; none: everything matches."""


class ConfigMapRef(ApiModel):
    """A ConfigMap that mig-manager was told to read."""

    namespace: Name
    """Namespace of the ConfigMap."""
    name: ObjectName
    """Name of the ConfigMap."""


class MigManager(ApiModel):
    """NVIDIA's mig-manager, driven by node labels."""

    config_map_ref: ConfigMapRef
    """The ConfigMap that mig-manager reads its layouts from."""


class Dra(ApiModel):
    """Dynamic resource allocation."""

    device_class_name: ObjectName = "mig.nvidia.com"
    """DeviceClass of MIG devices."""


class Partitioning(ApiModel):
    """Who cuts the GPUs; Static: nobody does, the slices that exist are used."""

    model_config = with_cel(
        cel("has(self.migManager) == (self.mode == 'MigManager')", MIG_MANAGER),
        cel("has(self.dra) == (self.mode == 'DRA')", DRA),
    )

    mode: Literal["Static", "MigManager", "DRA"] = "Static"
    """Who cuts the GPUs; Static: nobody does."""
    mig_manager: MigManager | None = None
    """Where mig-manager reads layouts; with mode MigManager only."""
    dra: Dra | None = None
    """How slices are claimed; with mode DRA only."""

    @model_validator(mode="after")
    def _cross_field(self) -> Self:
        if (self.mig_manager is not None) != (self.mode == "MigManager"):
            raise ValueError(MIG_MANAGER)
        if (self.dra is not None) != (self.mode == "DRA"):
            raise ValueError(DRA)
        return self


class Window(ApiModel):
    """When nodes may be disturbed."""

    time_zone: TimeZone = "Etc/UTC"
    """Time zone that `cron` is read in."""
    cron: Cron
    """When the window opens: minute, hour, day of month, month, day of week."""
    duration_minutes: Annotated[int, Field(ge=1, le=10_080)]
    """How long the window stays open, in minutes."""


class Disruption(ApiModel):
    """How much may be disturbed at once; no windows given: at any time."""

    max_unavailable_nodes: Annotated[int, Field(ge=1, le=1000)] = 1
    """Nodes that may be repartitioned at once."""
    windows: Annotated[list[Window], as_atomic(max_items=16)] = Field(default_factory=list)
    """When nodes may be disturbed; none: at any time."""


class Reserved(ApiModel):
    """Slices held back."""

    profile: Profile
    """MIG profile (`1g.10gb`), or `gpu`: a whole GPU."""
    count: Annotated[int, Field(ge=1, le=1000)]
    """Slices held back."""
    purpose: Literal["Build", "Warm"] = "Build"
    """What they are held back for: engine builds, or warm replicas."""


class Builds(ApiModel):
    """How many builds may run at once."""

    max_concurrent: Annotated[int, Field(ge=1, le=1000)] = 4
    """Builds that run at once."""


class Cost(ApiModel):
    """The price of a product."""

    product: Product
    """GPU product as node label `nvidia.com/gpu.product` has it."""
    per_gpu_hour: PositiveDecimal = Field(alias="perGPUHour")
    """Price of one GPU for one hour, a decimal string in your currency."""


class MigPoolSpec(ApiModel):
    """The administrator's rules for a set of nodes."""

    node_selector: LabelSelector = Field(default_factory=LabelSelector)
    """Nodes of the pool; no labels: all nodes that offer GPUs."""
    namespace_selector: LabelSelector = Field(default_factory=LabelSelector)
    """Namespaces whose YoloDeployments may use the pool; no labels: all."""
    partitioning: Partitioning = Field(default_factory=Partitioning)
    """Who cuts the GPUs, and how."""
    disruption: Disruption = Field(default_factory=Disruption)
    """How much may be disturbed at once, and when."""
    reserved: Annotated[list[Reserved], as_atomic(max_items=32)] = Field(default_factory=list)
    """Slices held back for builds or warm replicas."""
    builds: Builds = Field(default_factory=Builds)
    """How many builds may run at once."""
    overflow: Literal["LeavePending", "Withhold"] = "LeavePending"
    """What becomes of replicas that find no slice: they stay Pending, or are not made."""
    costs: Annotated[list[Cost], unique_by("product"), as_map("product", max_items=32)] = Field(default_factory=list)
    """What GPUs cost, by product."""


Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class SliceCount(ApiModel):
    """How many slices of a profile the nodes offer; figures that nobody could see are absent."""

    profile: Profile
    """MIG profile, or `gpu`: a whole GPU."""
    total: Count
    """Slices that exist."""
    used: Count | None = None
    """Slices that replicas of ours hold."""
    foreign: Count | None = None
    """Slices that other people's pods hold."""
    free: Count | None = None
    """Slices that nobody holds."""


class StartSeconds(ApiModel):
    """How long a new replica takes to serve, learnt."""

    profile: Profile
    """MIG profile, or `gpu`: a whole GPU."""
    p50: Count
    """Half of the starts took no longer, in seconds."""
    p95: Count
    """95 of 100 starts took no longer, in seconds."""


class MigPoolStatus(ApiModel):
    """What the pool's nodes offer now."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that this status answers to."""
    nodes: Count = 0
    """Nodes of the pool."""
    gpus: Count | None = None
    """GPUs of these nodes."""
    slices: Annotated[list[SliceCount], as_map("profile", max_items=64)] = Field(default_factory=list)
    """What they offer, by profile."""
    fragmentation_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    """Share of free capacity that no layout can use, in percent."""
    start_seconds: Annotated[list[StartSeconds], as_map("profile", max_items=64)] = Field(default_factory=list)
    """How long a new replica takes to serve, by profile, in seconds."""
    conditions: Annotated[list[Condition], as_map("type", max_items=16)] = Field(default_factory=list)
    """Ready, Transitioning, Conflicted."""


class MigPool(ApiModel):
    """A set of GPU nodes and the rules for them."""

    kind: ClassVar[str] = "MigPool"
    plural: ClassVar[str] = "migpools"

    spec: MigPoolSpec = Field(default_factory=MigPoolSpec)
    """The administrator's rules; all have defaults."""
    status: MigPoolStatus | None = None
    """What the operator last saw."""

"""MigPool: which nodes may serve, how they may be partitioned, and what they cost."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from yolofleet.api.base import (
    ApiModel,
    LabelKey,
    LabelValue,
    Name,
    ObjectName,
    PositiveDecimal,
    Product,
    Profile,
    as_atomic,
    as_map,
    cel,
    text,
    with_cel,
)
from yolofleet.api.conditions import Condition

MIG_MANAGER = "partitioning.migManager must be set with mode MigManager, and only then"
DRA = "partitioning.dra must be set with mode DRA, and only then"
Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=32)]


class LabelSelector(ApiModel):
    """Nodes or namespaces that bear all these labels; none given: all of them."""

    match_labels: Labels = Field(default_factory=dict)


class ConfigMapRef(ApiModel):
    """A ConfigMap that mig-manager was told to read."""

    namespace: Name
    name: ObjectName


class MigManager(ApiModel):
    """NVIDIA's mig-manager, driven by node labels."""

    config_map_ref: ConfigMapRef


class Dra(ApiModel):
    """Dynamic resource allocation."""

    device_class_name: ObjectName = "mig.nvidia.com"


class Partitioning(ApiModel):
    """Who cuts the GPUs; Static: nobody does, the slices that exist are used."""

    model_config = with_cel(
        cel("has(self.migManager) == (self.mode == 'MigManager')", MIG_MANAGER),
        cel("has(self.dra) == (self.mode == 'DRA')", DRA),
    )

    mode: Literal["Static", "MigManager", "DRA"] = "Static"
    mig_manager: MigManager | None = None
    dra: Dra | None = None

    @model_validator(mode="after")
    def _cross_field(self) -> Self:
        if (self.mig_manager is not None) != (self.mode == "MigManager"):
            raise ValueError(MIG_MANAGER)
        if (self.dra is not None) != (self.mode == "DRA"):
            raise ValueError(DRA)
        return self


class Window(ApiModel):
    """When nodes may be disturbed."""

    time_zone: Annotated[str, text(64, r"^[A-Za-z]+([A-Za-z0-9_+-]*/?)*$")] = "Etc/UTC"
    cron: Annotated[str, text(64, r"^[0-9A-Za-z*/,-]+( [0-9A-Za-z*/,-]+){4}$")]
    duration_minutes: Annotated[int, Field(ge=1, le=10_080)]


class Disruption(ApiModel):
    """How much may be disturbed at once; no windows given: at any time."""

    max_unavailable_nodes: Annotated[int, Field(ge=1, le=1000)] = 1
    windows: Annotated[list[Window], as_atomic(max_items=16)] = Field(default_factory=list)


class Reserved(ApiModel):
    """Slices held back."""

    profile: Profile
    count: Annotated[int, Field(ge=1, le=1000)]
    purpose: Literal["Build", "Warm"] = "Build"


class Builds(ApiModel):
    """How many builds may run at once."""

    max_concurrent: Annotated[int, Field(ge=1, le=1000)] = 4


class Cost(ApiModel):
    """The price of a product."""

    product: Product
    per_gpu_hour: PositiveDecimal = Field(alias="perGPUHour")


class MigPoolSpec(ApiModel):
    """The administrator's rules for a set of nodes."""

    node_selector: LabelSelector = Field(default_factory=LabelSelector)
    namespace_selector: LabelSelector = Field(default_factory=LabelSelector)
    partitioning: Partitioning = Field(default_factory=Partitioning)
    disruption: Disruption = Field(default_factory=Disruption)
    reserved: Annotated[list[Reserved], as_atomic(max_items=32)] = Field(default_factory=list)
    builds: Builds = Field(default_factory=Builds)
    overflow: Literal["LeavePending", "Withhold"] = "LeavePending"
    costs: Annotated[list[Cost], as_map("product", max_items=32)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _unique_costs(self) -> Self:
        if len({cost.product for cost in self.costs}) != len(self.costs):
            raise ValueError("costs: duplicate products")
        return self


Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class SliceCount(ApiModel):
    """How many slices of a profile the nodes offer; figures that nobody could see are absent."""

    profile: Profile
    total: Count
    used: Count | None = None
    foreign: Count | None = None
    free: Count | None = None


class StartSeconds(ApiModel):
    """How long a new replica takes to serve, learnt."""

    profile: Profile
    p50: Count
    p95: Count


class MigPoolStatus(ApiModel):
    """What the pool's nodes offer now."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    nodes: Count = 0
    gpus: Count | None = None
    slices: Annotated[list[SliceCount], as_map("profile", max_items=64)] = Field(default_factory=list)
    fragmentation_percent: Annotated[int, Field(ge=0, le=100)] | None = None
    start_seconds: Annotated[list[StartSeconds], as_map("profile", max_items=64)] = Field(default_factory=list)
    conditions: Annotated[list[Condition], as_map("type", max_items=16)] = Field(default_factory=list)


class MigPool(ApiModel):
    """A set of GPU nodes and the rules for them."""

    kind: ClassVar[str] = "MigPool"
    plural: ClassVar[str] = "migpools"

    spec: MigPoolSpec = Field(default_factory=MigPoolSpec)
    status: MigPoolStatus | None = None

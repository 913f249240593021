"""A snapshot in a file: all that planning sees of a cluster, so that a plan, and a bug report, needs no cluster.

What nobody could see is null, with the reason in `unseen`: never zero.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, model_validator

from yolofleet.api.base import ApiModel, LabelKey, LabelValue, Name, ObjectName, Product, Profile, text
from yolofleet.api.curve import Curve
from yolofleet.api.estimate import Work
from yolofleet.api.migpool import MigPoolSpec
from yolofleet.api.recipe import Recipe, Target
from yolofleet.api.yolodeployment import YoloDeploymentSpec
from yolofleet.api.yolodeployment_status import Group, ScalingStatus

Count = Annotated[int, Field(ge=0, le=2**31 - 1)]
Figure = Annotated[float, Field(ge=0, le=1e12, allow_inf_nan=False)] | None
Told = Annotated[str, text(1024)]
Unseen = Annotated[dict[Annotated[str, text(63)], Told], Field(max_length=32)]
Owner = Literal["fleet", "foreign", "free"]
Deployed = Annotated[str, text(317, r"^[a-z0-9][-a-z0-9]*/[a-z0-9][-a-z0-9.]*$")]
"""A YoloDeployment, as `namespace/name`."""


class SnapshotSlice(ApiModel):
    """A slice of one GPU; `start` is its first memory slice, null where nobody could see it."""

    profile: Profile
    """MIG profile."""
    start: Annotated[int, Field(ge=0, le=31)] | None = None
    """First memory slice."""
    uuid: Annotated[str, text(128)] | None = None
    """UUID of the MIG device."""
    pod: Annotated[str, text(317)] | None = None
    """The pod that holds it, as `namespace/name`."""
    deployment: Deployed | None = None
    """The YoloDeployment whose replica that is."""
    owner: Owner = "free"
    """Whether this fleet holds it, others do, or nobody."""

    @model_validator(mode="after")
    def _held(self) -> Self:
        if (self.owner == "fleet") != (self.deployment is not None):
            raise ValueError("deployment must be named where owner is fleet, and only there")
        return self


class SnapshotGpu(ApiModel):
    """One GPU in MIG mode."""

    index: Annotated[int, Field(ge=0, le=255)]
    """Its number on the node."""
    uuid: Annotated[str, text(128)] | None = None
    """UUID of the GPU."""
    layout: Annotated[list[SnapshotSlice], Field(max_length=32)]
    """Its slices."""


class Devices(ApiModel):
    """Devices of one resource of a node; `requested` is what pods hold of them."""

    allocatable: Count
    """Devices that the node offers."""
    requested: Count | None = None
    """Devices that pods hold."""


class Holder(ApiModel):
    """A pod that holds devices."""

    name: Annotated[str, text(317)]
    """The pod, as `namespace/name`."""
    resource: Annotated[str, text(317)]
    """What it holds."""
    count: Annotated[int, Field(ge=1, le=4096)] = 1
    """How many of it."""
    deployment: Deployed | None = None
    """The YoloDeployment that it is a replica of; absent: it is somebody else's."""


class MigConfig(ApiModel):
    """What mig-manager was told, and how far it is."""

    label: Annotated[str, text(253)] | None = None
    """Value of the node's label `nvidia.com/mig.config`."""
    state: Annotated[str, text(63)] | None = None
    """Value of its label `nvidia.com/mig.config.state`."""


class SnapshotNode(ApiModel):
    """A node that offers GPU devices; without `gpus`, places are worked out from `resources` and said to be."""

    name: ObjectName
    """Name of the node."""
    product: Product | None = None
    """GPU product, without the ending that strategy *single* gives it."""
    ready: bool = True
    """Whether it is Ready."""
    schedulable: bool = True
    """Whether it takes pods."""
    pool: ObjectName | Literal[""] = "default"
    """The MigPool that has it; empty: none has."""
    zone: Annotated[str, text(253)] | None = None
    """Value of its label `topology.kubernetes.io/zone`."""
    gpu_count: Annotated[int, Field(ge=1, le=256)] | None = None
    """How many GPUs it has."""
    host_gigabytes_per_second: Figure = None
    """What frames may take of a GPU's link to the host, in 10⁹ bytes a second; null: four fifths of the product's."""
    gpus: Annotated[list[SnapshotGpu], Field(max_length=256)] | None = None
    """Its GPUs in MIG mode, and who sits where; null: nobody could see it."""
    resources: Annotated[dict[Annotated[str, text(317)], Devices], Field(max_length=64)] = Field(default_factory=dict)
    """Its GPU devices, by resource."""
    holders: Annotated[list[Holder], Field(max_length=4096)] | None = Field(default_factory=list)
    """The pods that hold them; null: nobody could see it."""
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=512)] = Field(default_factory=dict)
    """Its labels about GPUs, and those that pools select by."""
    mig_config: MigConfig | None = None
    """What mig-manager does with it."""
    unseen: Unseen = Field(default_factory=dict)
    """Why a field is null, by field."""


class SnapshotSignals(ApiModel):
    """What was last seen of a deployment's load."""

    arrival_fps: Figure = None
    """Frames per second that arrive."""
    served_fps: Figure = None
    """Frames per second that are answered."""
    p99_microseconds: Figure = None
    """99th percentile of the latency."""
    queue_microseconds: Figure = None
    """Mean time in the queue."""
    busy_fraction: Figure = None
    """Share of the time in which Triton computes."""
    engine_active: Figure = None
    """Share of the time in which the slices' engines are active."""
    age_seconds: Figure = None
    """How old the figures are."""


class SnapshotDeployment(ApiModel):
    """A YoloDeployment, and what runs of it."""

    namespace: Name
    """Its namespace."""
    name: Name
    """Its name."""
    uid: Annotated[str, text(64)] = ""
    """Its uid."""
    generation: Count = 0
    """The generation of its spec."""
    spec: YoloDeploymentSpec
    """What is asked for."""
    priority: Annotated[int, Field(ge=-(2**31), le=2**31 - 1)] = 0
    """Value of its PriorityClass."""
    groups: Annotated[list[Group], Field(max_length=16)] = Field(default_factory=list)
    """Its replicas, by profile."""
    scaling: ScalingStatus | None = None
    """The last decision on replicas, with its window."""
    signals: SnapshotSignals | None = None
    """Its load; null: nobody could see it."""
    unseen: Unseen = Field(default_factory=dict)
    """Why a field is null, by field."""


class SnapshotEngine(ApiModel):
    """A YoloEngine, and what slices are worth to it."""

    namespace: Name
    """Its namespace."""
    name: Name = ""
    """Its name."""
    key: Annotated[str, text(64)] = ""
    """Its content key."""
    recipe: Recipe
    """What it is made of: deployments of its namespace that ask for the same are served by its curves."""
    target: Target | None = None
    """The hardware that it is compiled for."""
    state: Annotated[str, text(63)] = ""
    """How far it is."""
    curves: Annotated[list[Curve], Field(max_length=64)] = Field(default_factory=list)
    """What slices are worth to it."""
    work: Work | None = None
    """What its graph asks of a GPU, by which other kinds of slices are estimated."""


class SnapshotPool(ApiModel):
    """A MigPool."""

    name: ObjectName
    """Its name."""
    created: Annotated[str, text(64)] = ""
    """When it was made: the older of two has a node."""
    spec: MigPoolSpec = Field(default_factory=MigPoolSpec)
    """Its rules."""


class SnapshotFile(ApiModel):
    """The whole file."""

    version: Literal[1]
    """Version of this schema."""
    taken_at: Annotated[str, text(64)] = ""
    """When the cluster was looked at."""
    nodes: Annotated[list[SnapshotNode], Field(max_length=10_000)]
    """Nodes with GPUs."""
    deployments: Annotated[list[SnapshotDeployment], Field(max_length=100_000)] = Field(default_factory=list)
    """What is to be served."""
    engines: Annotated[list[SnapshotEngine], Field(max_length=100_000)] = Field(default_factory=list)
    """Engines with their curves."""
    pools: Annotated[list[SnapshotPool], Field(max_length=1000)] = Field(default_factory=list)
    """Pools of nodes; none: all nodes are one, `default`."""
    unseen: Unseen = Field(default_factory=dict)
    """What nobody could see, and why."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        for what, names in (
            ("nodes", [one.name for one in self.nodes]),
            ("deployments", [f"{one.namespace}/{one.name}" for one in self.deployments]),
            ("pools", [one.name for one in self.pools]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what}: {max(names, key=names.count)!r} stands there twice; name each once")
        return self


def unknown_fields(value: Any, given: Any, at: str = "") -> list[str]:
    """Return the fields of a document that no model knows, with their places: a misspelt one must not pass unseen."""
    found: list[str] = []
    if isinstance(value, BaseModel) and isinstance(given, dict):
        known = {field.alias or name: name for name, field in type(value).model_fields.items()}
        found += [f"{at}{key}" for key in given if key not in known and key not in known.values()]
        for key, name in known.items():
            found += unknown_fields(getattr(value, name), given.get(key, given.get(name)), f"{at}{key}.")
    elif isinstance(value, list) and isinstance(given, list):
        for place, (one, told) in enumerate(zip(value, given, strict=True)):
            found += unknown_fields(one, told, f"{at[:-1]}[{place}].")
    elif isinstance(value, dict) and isinstance(given, dict):
        for key, one in value.items():
            found += unknown_fields(one, given.get(key), f"{at}{key}.")
    return found

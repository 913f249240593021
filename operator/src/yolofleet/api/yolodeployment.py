"""YoloDeployment: what a user asks for."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from yolofleet.api.base import (
    ApiModel,
    Fraction,
    ObjectName,
    PositiveDecimal,
    Product,
    Profile,
    Unique,
    as_set,
    cel,
    text,
    with_cel,
)
from yolofleet.api.build import Calibration, Metric
from yolofleet.api.endpoints import Postprocess
from yolofleet.api.migpool import DEFAULT_POOL
from yolofleet.api.recipe import Backend, BatchSize, Endpoint, Frames, ImageSize, Precision, Task
from yolofleet.api.rollout import Rollout, RolloutStatus
from yolofleet.api.scaling import ScaleDown, Scaling, Schedule
from yolofleet.api.serving import (
    LocalObjectReference,
    ResourceList,
    Resources,
    ServiceSpec,
    Serving,
    Toleration,
)
from yolofleet.api.sources import Source
from yolofleet.api.yolodeployment_status import (
    EndpointStatus,
    EngineRef,
    Group,
    LowerNeed,
    ScalingStatus,
    Summary,
    YoloDeploymentStatus,
)

NAME_PATTERN = "^[a-z]([-a-z0-9]{0,38}[a-z0-9])?$"
NAME_MESSAGE = (
    "metadata.name must be at most 40 lower-case letters, digits and '-', and start with a letter: "
    "the Service and the Triton model bear it"
)
CALIBRATION = "engine.calibration must be set with precision INT8 or FP8, and only then"
ONNX_PRECISION = "engine.precision must be FP32, INT8 or left out with backend ONNXRuntime"
PORTABLE = "engine.portable Build needs backend TensorRT: an ONNX file runs on any slice as it is"
EXTERNAL = "scaling.mode External needs exactly one entry in placement.profiles: /scale counts replicas of one kind"
FRAMES = "frames speaks of endpoint Frames and cannot stand beside JPEG: decoded pictures are RGB of the network's size"
DECLARED = "scaling.mode Declared needs demand: without it there is nothing to count from"


class ModelSpec(Source):
    """The weights, and what they are for."""

    model_config = Source.model_config

    task: Task = "Detect"
    """What the model was trained for."""


class AccuracyGate(ApiModel):
    """A labelled set, and how much of its metric an engine may lose: compiled, and against the one before."""

    dataset: Source
    """Where the labelled set comes from: a zip archive in YOLO's layout."""
    images: Annotated[int, Field(ge=1, le=10_000)] = 500
    """How many of its pictures are looked at, the first by name."""
    metric: Metric = "MAP50To95"
    """What is compared."""
    max_drop: Fraction = "0.01"
    """How much of the metric may be lost, a decimal string from 0 to 1; a change of it alone builds nothing anew."""


class EngineSpec(ApiModel):
    """What is compiled; any change makes another key, another engine, a rollout."""

    model_config = with_cel(
        cel(
            "has(self.calibration) == (has(self.precision) && self.precision in ['INT8', 'FP8'])",
            CALIBRATION,
        ),
        cel(
            "self.backend != 'ONNXRuntime' || !has(self.precision) || self.precision in ['FP32', 'INT8']",
            ONNX_PRECISION,
        ),
        cel("self.backend != 'ONNXRuntime' || !has(self.portable) || self.portable != 'Build'", PORTABLE),
    )

    backend: Backend = "TensorRT"
    """Backend of Triton that serves the model; ONNXRuntime needs no NVIDIA GPU."""
    precision: Precision | None = None
    """Number format; absent: FP16 for TensorRT, FP32 for ONNXRuntime."""
    image_size: ImageSize = Field(default_factory=ImageSize)
    """Size of the network's input, in pixels."""
    max_batch_size: BatchSize = 32
    """Largest batch, in frames."""
    calibration: Calibration | None = None
    """Pictures of the cameras that scales are taken from; with precision INT8 or FP8, and only then."""
    accuracy_gate: AccuracyGate | None = None
    """What a new engine must reach before it serves; absent: it is compared with ONNX on a few frames, and no more."""
    portable: Literal["IfPresent", "Build", "Never"] = "IfPresent"
    """Which portable engine serves until the exact one is built: one that is there, one built for it, or none."""

    @model_validator(mode="after")
    def _cross_field(self) -> Self:
        if (self.calibration is not None) != (self.precision in ("INT8", "FP8")):
            raise ValueError(CALIBRATION)
        if self.backend == "ONNXRuntime" and self.precision not in (None, "FP32", "INT8"):
            raise ValueError(ONNX_PRECISION)
        if self.backend == "ONNXRuntime" and self.portable == "Build":
            raise ValueError(PORTABLE)
        return self

    @property
    def effective_precision(self) -> Precision:
        """Return the precision asked for, or the backend's own default: FP16 for TensorRT, FP32 for ONNXRuntime."""
        return self.precision or ("FP32" if self.backend == "ONNXRuntime" else "FP16")


class Demand(ApiModel):
    """What the cameras send."""

    streams: Annotated[int, Field(ge=1, le=1_000_000)]
    """How many cameras."""
    frames_per_second: PositiveDecimal
    """Frames that one camera sends in a second, a decimal string: `"15"`, `"12.5"`."""


class Objective(ApiModel):
    """What a frame may wait, at the server."""

    p99_latency_milliseconds: Annotated[int, Field(ge=1, le=60_000)] = 100
    """99 of 100 frames are answered within this time at the server, in milliseconds."""


class PoolRef(ApiModel):
    """The MigPool whose nodes may serve."""

    name: ObjectName = DEFAULT_POOL
    """Name of the MigPool."""


class Placement(ApiModel):
    """Where replicas may run; empty lists mean: you choose."""

    pool_ref: PoolRef = Field(default_factory=PoolRef)
    """The MigPool whose nodes may serve."""
    profiles: Annotated[list[Profile], Unique, as_set(max_items=16)] = Field(default_factory=list)
    """MIG profiles (`1g.10gb`), or `gpu` for whole GPUs; the one whose curve serves best is taken; none: any."""
    products: Annotated[list[Product], Unique, as_set(max_items=16)] = Field(default_factory=list)
    """GPU products as node label `nvidia.com/gpu.product` has them; none: any."""
    priority_class_name: Annotated[str, text(253, r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")] = ""
    """PriorityClass of the replicas; empty: the cluster's default."""


def default_endpoints() -> list[Endpoint]:
    """Return the endpoints of a spec that names none."""
    return ["Ultralytics"]


class YoloDeploymentSpec(ApiModel):
    """A fleet's wish: this model, for these cameras, within this latency."""

    model_config = with_cel(
        cel("self.scaling.mode != 'External' || size(self.placement.profiles) == 1", EXTERNAL),
        cel("self.scaling.mode != 'Declared' || has(self.demand)", DECLARED),
        cel("!has(self.frames) || ('Frames' in self.endpoints && !('JPEG' in self.endpoints))", FRAMES),
    )

    model: ModelSpec
    """The weights: exactly one source, and what they are for."""
    engine: EngineSpec = Field(default_factory=EngineSpec)
    """What is compiled; any change makes another engine, and a rollout."""
    postprocess: Postprocess = Field(default_factory=Postprocess)
    """Thresholds of endpoints that answer with boxes; a change needs no new engine."""
    endpoints: Annotated[list[Endpoint], Unique, as_set(min_items=1, max_items=3)] = Field(
        default_factory=default_endpoints
    )
    """How clients speak to the model: Ultralytics' own client, raw frames, JPEG pictures."""
    frames: Frames | None = None
    """What cameras send to the endpoint Frames; absent: RGB pictures of the network's size."""
    demand: Demand | None = None
    """What the cameras send; absent: what is observed."""
    objective: Objective = Field(default_factory=Objective)
    """What a frame may wait."""
    placement: Placement = Field(default_factory=Placement)
    """Where replicas may run."""
    scaling: Scaling = Field(default_factory=Scaling)
    """How many replicas, and who decides."""
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    """Written through /scale by an HPA or a person; read with scaling.mode External only."""
    rollout: Rollout = Field(default_factory=Rollout)
    """How a new engine replaces the old one."""
    serving: Serving = Field(default_factory=Serving)
    """The few pod fields that a user may set."""
    suspend: bool = False
    """Whether to serve nothing for now; the engine stays."""

    @model_validator(mode="after")
    def _cross_field(self) -> Self:
        if self.scaling.mode == "External" and len(self.placement.profiles) != 1:
            raise ValueError(EXTERNAL)
        if self.scaling.mode == "Declared" and self.demand is None:
            raise ValueError(DECLARED)
        if self.frames is not None and ("Frames" not in self.endpoints or "JPEG" in self.endpoints):
            raise ValueError(FRAMES)
        return self


class Metadata(ApiModel):
    """The part of an object's metadata that a rule speaks of."""

    name: Annotated[str, text(253)]


class YoloDeployment(ApiModel):
    """A model, served for a fleet of cameras."""

    model_config = with_cel(cel(f"self.metadata.name.matches('{NAME_PATTERN}')", NAME_MESSAGE))
    kind: ClassVar[str] = "YoloDeployment"
    plural: ClassVar[str] = "yolodeployments"

    metadata: Metadata
    spec: YoloDeploymentSpec
    """What is wanted."""
    status: YoloDeploymentStatus | None = None
    """What the operator last saw and decided."""

    @model_validator(mode="after")
    def _name(self) -> Self:
        if not re.fullmatch(NAME_PATTERN, self.metadata.name):
            raise ValueError(NAME_MESSAGE)
        return self


def spec_from(obj: dict[str, Any]) -> YoloDeploymentSpec:
    """Parse the spec of an object as the API server hands it out."""
    return YoloDeploymentSpec.model_validate(obj["spec"])


__all__ = [
    "EndpointStatus",
    "EngineRef",
    "Group",
    "LocalObjectReference",
    "LowerNeed",
    "ResourceList",
    "Resources",
    "Rollout",
    "RolloutStatus",
    "ScaleDown",
    "Scaling",
    "ScalingStatus",
    "Schedule",
    "ServiceSpec",
    "Serving",
    "Summary",
    "Toleration",
    "YoloDeployment",
    "YoloDeploymentSpec",
    "YoloDeploymentStatus",
    "spec_from",
]

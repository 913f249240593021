"""YoloDeployment: what a user asks for."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import ConfigDict, Field, model_validator

from yolofleet.api.base import (
    ApiModel,
    Fraction,
    LabelKey,
    LabelValue,
    Name,
    ObjectName,
    PositiveDecimal,
    Product,
    Profile,
    Unique,
    as_atomic,
    as_map,
    as_set,
    cel,
    text,
    with_cel,
)
from yolofleet.api.conditions import Condition
from yolofleet.api.recipe import Backend, BatchSize, Endpoint, ImageSize, Precision, Task
from yolofleet.api.sources import Source

NAME_RULE = "self.metadata.name.matches('^[a-z]([-a-z0-9]*[a-z0-9])?$') && size(self.metadata.name) <= 40"
NAME_MESSAGE = (
    "metadata.name must be at most 40 lower-case letters, digits and '-', and start with a letter: "
    "the Service and the Triton model bear it"
)
CALIBRATION = "engine.calibration must be set with precision INT8 or FP8, and only then"
ONNX_FP32 = "engine.precision must be FP32 or left out with backend ONNXRuntime"
BOUNDS = "scaling.minReplicas must not be above scaling.maxReplicas"
EXTERNAL = "scaling.mode External needs exactly one entry in placement.profiles: /scale counts replicas of one kind"
QUANTITY_PATTERN = r"^([0-9]+|[0-9]*\.[0-9]+)(m|k|M|G|T|Ki|Mi|Gi|Ti)?$"


class ModelSpec(Source):
    """The weights, and what they are for."""

    model_config = Source.model_config
    task: Task = "Detect"


class Calibration(ApiModel):
    """Frames that an INT8 or FP8 engine is calibrated on."""

    source: Source
    images: Annotated[int, Field(ge=1, le=100_000)] = 512


class AccuracyGate(ApiModel):
    """A labelled set, and how much of its metric an engine may lose against ONNX."""

    dataset: Source
    metric: Literal["MAP50", "MAP50To95"] = "MAP50To95"
    max_drop: Fraction = "0.01"


class EngineSpec(ApiModel):
    """What is compiled; any change makes another key, another engine, a rollout."""

    model_config = with_cel(
        cel(
            "has(self.calibration) == (has(self.precision) && self.precision in ['INT8', 'FP8'])",
            CALIBRATION,
        ),
        cel("self.backend != 'ONNXRuntime' || !has(self.precision) || self.precision == 'FP32'", ONNX_FP32),
    )

    backend: Backend = "TensorRT"
    precision: Precision | None = None
    image_size: ImageSize = Field(default_factory=ImageSize)
    max_batch_size: BatchSize = 32
    calibration: Calibration | None = None
    accuracy_gate: AccuracyGate | None = None

    @model_validator(mode="after")
    def _cross_field(self) -> Self:
        if (self.calibration is not None) != (self.precision in ("INT8", "FP8")):
            raise ValueError(CALIBRATION)
        if self.backend == "ONNXRuntime" and self.precision not in (None, "FP32"):
            raise ValueError(ONNX_FP32)
        return self

    @property
    def effective_precision(self) -> Precision:
        """Return the precision asked for, or the backend's own default: FP16 for TensorRT, FP32 for ONNXRuntime."""
        return self.precision or ("FP32" if self.backend == "ONNXRuntime" else "FP16")


class Postprocess(ApiModel):
    """Thresholds; inputs of the graph, so a change needs no engine."""

    confidence: Fraction = "0.25"
    iou: Fraction = "0.7"
    max_detections: Annotated[int, Field(ge=1, le=3000)] = 300


class Demand(ApiModel):
    """What the cameras send."""

    streams: Annotated[int, Field(ge=1, le=1_000_000)]
    frames_per_second: PositiveDecimal


class Objective(ApiModel):
    """What a frame may wait, at the server."""

    p99_latency_milliseconds: Annotated[int, Field(ge=1, le=60_000)] = 100


class PoolRef(ApiModel):
    """The MigPool whose nodes may serve."""

    name: ObjectName = "default"


class Placement(ApiModel):
    """Where replicas may run; empty lists mean: you choose."""

    pool_ref: PoolRef = Field(default_factory=PoolRef)
    profiles: Annotated[list[Profile], Unique, as_set(max_items=16)] = Field(default_factory=list)
    products: Annotated[list[Product], Unique, as_set(max_items=16)] = Field(default_factory=list)
    priority_class_name: Annotated[str, text(253, r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")] = ""


class ScaleDown(ApiModel):
    """How long a lower need must hold before replicas go."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300


class Schedule(ApiModel):
    """A floor of replicas that comes and goes by the clock."""

    name: Name
    time_zone: Annotated[str, text(64, r"^[A-Za-z]+([A-Za-z0-9_+-]*/?)*$")] = "Etc/UTC"
    cron: Annotated[str, text(64, r"^[0-9A-Za-z*/,-]+( [0-9A-Za-z*/,-]+){4}$")]
    duration_minutes: Annotated[int, Field(ge=1, le=10_080)]
    min_replicas: Annotated[int, Field(ge=1, le=1000)]


class Scaling(ApiModel):
    """How many replicas, and who decides."""

    model_config = with_cel(cel("self.minReplicas <= self.maxReplicas", BOUNDS, field_path=".minReplicas"))

    mode: Literal["Auto", "Declared", "Observed", "External"] = "Auto"
    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 8
    target_utilization_percent: Annotated[int, Field(ge=10, le=100)] = 80
    warm_replicas: Annotated[int, Field(ge=0, le=1000)] = 0
    scale_down: ScaleDown = Field(default_factory=ScaleDown)
    schedules: Annotated[list[Schedule], as_map("name", max_items=16)] = Field(default_factory=list)

    @model_validator(mode="after")
    def _cross_field(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(BOUNDS)
        if len({schedule.name for schedule in self.schedules}) != len(self.schedules):
            raise ValueError("scaling.schedules: duplicate names")
        return self


class Rollout(ApiModel):
    """How a new engine replaces the old one."""

    strategy: Literal["Auto", "Surge", "InPlace"] = "Auto"
    canary_percent: Annotated[int, Field(ge=0, le=100)] = 10
    auto_rollback: Literal["Enabled", "Disabled"] = "Enabled"


Quantity = Annotated[str, text(32, QUANTITY_PATTERN)]
INT_OR_QUANTITY: dict[str, Any] = {"x-kubernetes-int-or-string": True, "pattern": QUANTITY_PATTERN, "minimum": 0}
IntOrQuantity = Annotated[
    Annotated[int, Field(ge=0)] | Quantity,
    Field(json_schema_extra=INT_OR_QUANTITY),
]


class ResourceList(ApiModel):
    """Ordinary resources of the Triton container; the GPU slice is the operator's to choose."""

    cpu: IntOrQuantity | None = None
    memory: IntOrQuantity | None = None
    ephemeral_storage: IntOrQuantity | None = Field(default=None, alias="ephemeral-storage")


class Resources(ApiModel):
    """Requests and limits."""

    requests: ResourceList | None = None
    limits: ResourceList | None = None


class Toleration(ApiModel):
    """As in a pod."""

    key: Annotated[str, text(317)] | None = None
    operator: Literal["Exists", "Equal"] | None = None
    value: Annotated[str, text(63)] | None = None
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    toleration_seconds: Annotated[int, Field(ge=0, le=2**31)] | None = None


class LocalObjectReference(ApiModel):
    """A name in the same namespace."""

    name: ObjectName


class ServiceSpec(ApiModel):
    """The Service in front of the replicas."""

    type: Literal["ClusterIP", "NodePort", "LoadBalancer"] = "ClusterIP"
    annotations: Annotated[dict[LabelKey, Annotated[str, text(1024)]], Field(max_length=32)] = Field(
        default_factory=dict
    )


class Serving(ApiModel):
    """The few pod fields that a user may set: a YoloDeployment must not mount what its author may not."""

    image: Annotated[str, text(512, r"^[!-~]+$")] | None = None
    image_pull_secrets: Annotated[list[LocalObjectReference], as_map("name", max_items=8)] = Field(default_factory=list)
    resources: Resources | None = None
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=32)] = Field(default_factory=dict)
    tolerations: Annotated[list[Toleration], as_atomic(max_items=32)] = Field(default_factory=list)
    runtime_class_name: ObjectName | None = None
    service: ServiceSpec = Field(default_factory=ServiceSpec)

    @model_validator(mode="after")
    def _unique_secrets(self) -> Self:
        if len({ref.name for ref in self.image_pull_secrets}) != len(self.image_pull_secrets):
            raise ValueError("serving.imagePullSecrets: duplicate names")
        return self


def default_endpoints() -> list[Endpoint]:
    """Return the endpoints of a spec that names none."""
    return ["Ultralytics"]


class YoloDeploymentSpec(ApiModel):
    """A fleet's wish: this model, for these cameras, within this latency."""

    model_config = with_cel(
        cel("self.scaling.mode != 'External' || size(self.placement.profiles) == 1", EXTERNAL),
    )

    model: ModelSpec
    engine: EngineSpec = Field(default_factory=EngineSpec)
    postprocess: Postprocess = Field(default_factory=Postprocess)
    endpoints: Annotated[list[Endpoint], Unique, as_set(min_items=1, max_items=3)] = Field(
        default_factory=default_endpoints
    )
    demand: Demand | None = None
    objective: Objective = Field(default_factory=Objective)
    placement: Placement = Field(default_factory=Placement)
    scaling: Scaling = Field(default_factory=Scaling)
    replicas: Annotated[int, Field(ge=0, le=1000)] = 1
    rollout: Rollout = Field(default_factory=Rollout)
    serving: Serving = Field(default_factory=Serving)
    suspend: bool = False

    @model_validator(mode="after")
    def _cross_field(self) -> Self:
        if self.scaling.mode == "External" and len(self.placement.profiles) != 1:
            raise ValueError(EXTERNAL)
        return self


class EngineRef(ApiModel):
    """A YoloEngine of the same namespace."""

    name: Name


Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Group(ApiModel):
    """The replicas on one slice profile."""

    profile: Profile
    product: Annotated[str, text(63)] = ""
    replicas: Count = 0
    ready_replicas: Count = 0
    engine_ref: EngineRef | None = None
    frames_per_second_per_replica: Count | None = None
    curve: Literal["Estimated", "Measured"] | None = None


class EndpointStatus(ApiModel):
    """Where clients reach one endpoint."""

    type: Endpoint
    model_name: Annotated[str, text(63)]
    grpc: Annotated[str, text(300)]
    http: Annotated[str, text(300)]


class ScalingStatus(ApiModel):
    """The last decision, with its arithmetic."""

    desired_replicas: Count = 0
    last_scale_time: Annotated[str, text(32)] | None = None
    reason: Annotated[str, text(64)] = ""
    message: Annotated[str, text(1024)] = ""


class Summary(ApiModel):
    """What `kubectl get` prints."""

    fps: Annotated[str, text(64)] = ""
    slices: Annotated[str, text(128)] = ""
    engine: Annotated[str, text(64)] = ""


class YoloDeploymentStatus(ApiModel):
    """What the operator last saw and decided."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    replicas: Count = 0
    ready_replicas: Count = 0
    selector: Annotated[str, text(512)] = ""
    summary: Summary | None = None
    groups: Annotated[list[Group], as_map("profile", max_items=16)] = Field(default_factory=list)
    endpoints: Annotated[list[EndpointStatus], as_map("type", max_items=3)] = Field(default_factory=list)
    scaling: ScalingStatus | None = None
    conditions: Annotated[list[Condition], as_map("type", max_items=16)] = Field(default_factory=list)


class YoloDeployment(ApiModel):
    """A model, served for a fleet of cameras."""

    model_config = ConfigDict(
        json_schema_extra={"x-kubernetes-validations": [cel(NAME_RULE, NAME_MESSAGE)]},
    )
    kind: ClassVar[str] = "YoloDeployment"
    plural: ClassVar[str] = "yolodeployments"

    spec: YoloDeploymentSpec
    status: YoloDeploymentStatus | None = None


def spec_from(obj: dict[str, Any]) -> YoloDeploymentSpec:
    """Parse the spec of an object as the API server hands it out."""
    return YoloDeploymentSpec.model_validate(obj["spec"])

"""What the operator writes into the status of a YoloDeployment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from yolofleet.api.base import ApiModel, Name, Profile, as_map, text
from yolofleet.api.conditions import Condition
from yolofleet.api.recipe import Endpoint, HardwareCompatibility
from yolofleet.api.rollout import RolloutStatus
from yolofleet.api.tuning import TuningStatus


class EngineRef(ApiModel):
    """A YoloEngine of the same namespace."""

    name: Name
    """Name of the YoloEngine."""


Count = Annotated[int, Field(ge=0, le=2**31 - 1)]


class Group(ApiModel):
    """The replicas on one slice profile."""

    profile: Profile
    """MIG profile, or `gpu`: a whole GPU."""
    product: Annotated[str, text(63)] = ""
    """GPU product the replicas run on."""
    replicas: Count = 0
    """Replicas wanted."""
    ready_replicas: Count = 0
    """Replicas that serve."""
    engine_ref: EngineRef | None = None
    """The engine they serve."""
    frames_per_second_per_replica: Count | None = None
    """What one replica is planned for, in frames per second."""
    curve: Literal["Estimated", "Measured", "Observed"] | None = None
    """Whether that figure was measured or estimated with the engine, or observed while replicas served."""
    tuning: Annotated[list[TuningStatus], as_map("endpoint", max_items=3)] | None = None
    """How Triton runs the models, by endpoint; absent: no curve says it, so one instance, any batch, no delay."""
    overflow: bool | None = None
    """Whether they are here because the slices of another profile had run out; absent: they are not."""
    portable: HardwareCompatibility | None = None
    """That their engine is a portable one, and on which GPUs it runs; absent: it is compiled for these slices."""


class EndpointStatus(ApiModel):
    """Where clients reach one endpoint."""

    type: Endpoint
    """Which endpoint."""
    model_name: Annotated[str, text(63)]
    """Name of the model in Triton."""
    grpc: Annotated[str, text(300)]
    """URL for Ultralytics over gRPC, as `YOLO(…)` takes it: `grpc://host:port/model`."""
    http: Annotated[str, text(300)]
    """URL for Ultralytics over HTTP, as `YOLO(…)` takes it: `http://host:port/model`."""


class LowerNeed(ApiModel):
    """A need below the replicas that stand, and since when nothing above it was seen."""

    replicas: Count
    """The largest need since then."""
    since: Annotated[str, text(32)]
    """Since when."""


class ScalingStatus(ApiModel):
    """The last decision, with its arithmetic."""

    desired_replicas: Count = 0
    """Replicas that were decided on."""
    last_scale_time: Annotated[str, text(32)] | None = None
    """When they last changed."""
    reason: Annotated[str, text(64)] = ""
    """Who or what decided."""
    message: Annotated[str, text(1024)] = ""
    """The arithmetic."""
    needs: Annotated[list[LowerNeed], as_map("replicas", max_items=16)] = Field(default_factory=list)
    """Lower needs that replicas will go down to; what a restarted operator goes on from."""
    headroom: Annotated[str, text(64)] | None = None
    """The headroom that was cheapest so far, with scaling.overloadCostSeconds: a restarted operator goes on from it."""


class Summary(ApiModel):
    """What `kubectl get` prints."""

    fps: Annotated[str, text(64)] = ""
    """Frames per second: served/demanded, to two digits."""
    slices: Annotated[str, text(128)] = ""
    """Slices in use: `4x 1g.10gb`."""
    engine: Annotated[str, text(64)] = ""
    """How far the engine is."""


class YoloDeploymentStatus(ApiModel):
    """What the operator last saw and decided."""

    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that this status answers to."""
    replicas: Count = 0
    """Replicas that exist; what /scale shows."""
    ready_replicas: Count = 0
    """Replicas that serve."""
    selector: Annotated[str, text(512)] = ""
    """Label selector of the replicas, for /scale."""
    summary: Summary | None = None
    """What `kubectl get` prints."""
    groups: Annotated[list[Group], as_map("profile", max_items=16)] = Field(default_factory=list)
    """The replicas, by slice profile."""
    endpoints: Annotated[list[EndpointStatus], as_map("type", max_items=3)] = Field(default_factory=list)
    """Where clients reach the model: what every ready replica serves, which in a rollout may be less than the spec."""
    scaling: ScalingStatus | None = None
    """The last decision, with its arithmetic."""
    rollout: RolloutStatus | None = None
    """The last change of what serves: engine or image."""
    conditions: Annotated[list[Condition], as_map("type", max_items=16)] = Field(default_factory=list)
    """Ready, EngineReady, Placed, ObjectiveMet, Progressing, ScalingActive."""

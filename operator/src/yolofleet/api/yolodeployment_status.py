"""What the operator writes into the status of a YoloDeployment."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from yolofleet.api.base import ApiModel, Name, Profile, as_map, text
from yolofleet.api.conditions import Condition
from yolofleet.api.recipe import Endpoint


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

"""How many replicas a YoloDeployment has, and who decides."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from yolofleet.api.base import ApiModel, Cron, Name, TimeZone, as_map, cel, unique_by, with_cel

BOUNDS = "scaling.minReplicas must not be above scaling.maxReplicas"
SCHEDULE_BOUNDS = "scaling.schedules: minReplicas must not be above scaling.maxReplicas"


class ScaleDown(ApiModel):
    """How long a lower need must hold before replicas go."""

    stabilization_window_seconds: Annotated[int, Field(ge=0, le=86_400)] = 300
    """How long a lower need must hold, in seconds."""


class Schedule(ApiModel):
    """A floor of replicas that comes and goes by the clock."""

    name: Name
    """Name of the schedule, unique in the list."""
    time_zone: TimeZone = "Etc/UTC"
    """Time zone that `cron` is read in."""
    cron: Cron
    """When it begins: minute, hour, day of month, month, day of week."""
    duration_minutes: Annotated[int, Field(ge=1, le=10_080)]
    """How long it lasts, in minutes."""
    min_replicas: Annotated[int, Field(ge=1, le=1000)]
    """Fewest replicas while it lasts."""


class Scaling(ApiModel):
    """How many replicas, and who decides."""

    model_config = with_cel(
        cel("self.minReplicas <= self.maxReplicas", BOUNDS, field_path=".minReplicas"),
        cel(
            "self.schedules.all(schedule, schedule.minReplicas <= self.maxReplicas)",
            SCHEDULE_BOUNDS,
            field_path=".schedules",
        ),
    )

    mode: Literal["Auto", "Declared", "Observed", "External"] = "Auto"
    """Which demand counts: declared, observed, the larger of the two, or whoever writes `replicas` (an HPA)."""
    min_replicas: Annotated[int, Field(ge=1, le=1000)] = 1
    """Fewest replicas."""
    max_replicas: Annotated[int, Field(ge=1, le=1000)] = 8
    """Most replicas."""
    target_utilization_percent: Annotated[int, Field(ge=10, le=100)] = 80
    """Share of its measured throughput that a replica is planned for, in percent."""
    warm_replicas: Annotated[int, Field(ge=0, le=1000)] = 0
    """Replicas kept ready above the need."""
    overload_cost_seconds: Annotated[int, Field(ge=1, le=10_000)] | None = None
    """Seconds of all replicas that a second above the objective is worth; absent: a fixed target and window decide."""
    change_cost_seconds: Annotated[int, Field(ge=0, le=10_000)] | None = None
    """Seconds of all replicas that not changing their number is worth; counts with overloadCostSeconds only."""
    scale_down: ScaleDown = Field(default_factory=ScaleDown)
    """How replicas go."""
    schedules: Annotated[list[Schedule], unique_by("name"), as_map("name", max_items=16)] = Field(default_factory=list)
    """Floors of replicas that come and go by the clock."""

    @model_validator(mode="after")
    def _cross_field(self) -> Self:
        if self.min_replicas > self.max_replicas:
            raise ValueError(BOUNDS)
        if any(schedule.min_replicas > self.max_replicas for schedule in self.schedules):
            raise ValueError(SCHEDULE_BOUNDS)
        return self

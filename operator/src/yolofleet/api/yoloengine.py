"""YoloEngine: one compiled artefact per content key; many YoloDeployments share one."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from yolofleet.api.base import SHA256, ApiModel, as_map, cel, text, with_cel
from yolofleet.api.build import Artifact, Failure, Percent, Stage
from yolofleet.api.conditions import Condition
from yolofleet.api.curve import Curve
from yolofleet.api.recipe import Builder, Recipe, Target
from yolofleet.api.sources import Source

IMMUTABLE = "a YoloEngine's spec is immutable: another recipe has another key, and so another YoloEngine"


class YoloEngineSpec(ApiModel):
    """Everything that a build needs; never changed."""

    model_config = with_cel(cel("self == oldSelf", IMMUTABLE))

    key: SHA256
    source: Source
    recipe: Recipe
    target: Target | None = None
    builder: Builder


class YoloEngineStatus(ApiModel):
    """How far the build is, and what came of it; a refused build has no `nextAttemptTime`."""

    stage: Stage | None = None
    progress_percent: Percent = 0
    message: Annotated[str, text(256)] = ""
    attempts: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    next_attempt_time: Annotated[str, text(32)] | None = None
    artifact: Artifact | None = None
    weights_sha256: SHA256 | None = Field(default=None, alias="weightsSHA256")
    failure: Failure | None = None
    curve: Curve | None = None
    conditions: Annotated[list[Condition], as_map("type", max_items=16)] = Field(default_factory=list)


class YoloEngine(ApiModel):
    """An engine of the store, and the build that makes it."""

    kind: ClassVar[str] = "YoloEngine"
    plural: ClassVar[str] = "yoloengines"

    spec: YoloEngineSpec
    status: YoloEngineStatus | None = None

"""YoloEngine: one compiled artefact per content key; many YoloDeployments share one."""

from __future__ import annotations

from typing import Annotated, ClassVar

from pydantic import Field

from yolofleet.api.base import SHA256, ApiModel, as_atomic, as_map, cel, text, with_cel
from yolofleet.api.build import Artifact, Calibration, Failure, Gate, Labelled, Percent, Stage
from yolofleet.api.conditions import Condition
from yolofleet.api.curve import Curve
from yolofleet.api.estimate import Work
from yolofleet.api.recipe import Builder, Recipe, Target
from yolofleet.api.sources import Source

IMMUTABLE = "a YoloEngine's spec is immutable: another recipe has another key, and so another YoloEngine"


class YoloEngineSpec(ApiModel):
    """Everything that a build needs; never changed."""

    model_config = with_cel(cel("self == oldSelf", IMMUTABLE))

    key: SHA256
    """Content key: the digest of all that decides what the engine is."""
    source: Source
    """Where the weights come from."""
    labelled: Labelled | None = None
    """What its accuracy is measured on; absent: it is not."""
    calibration: Calibration | None = None
    """What the scales of INT8 are taken from; absent: it has none."""
    recipe: Recipe
    """What is made of them."""
    target: Target | None = None
    """The hardware it is compiled for; absent where the backend does not care."""
    builder: Builder
    """Who builds it."""


class Damage(ApiModel):
    """What was last found wrong with a published engine in its store."""

    message: Annotated[str, text(1024)]
    """Who found it, and what is wrong."""
    time: Annotated[str, text(32)]
    """When it was heard of."""
    repairs: Annotated[int, Field(ge=1, le=1_000_000)] = 1
    """Builds that this made necessary; those before a day without damage do not count."""
    job: Annotated[str, text(64)] | None = None
    """UID of the Job that had made it."""


class YoloEngineStatus(ApiModel):
    """How far the build is, and what came of it; a refused build has no `nextAttemptTime`."""

    stage: Stage | None = None
    """What the build is doing."""
    progress_percent: Percent = 0
    """How far the build is, in percent."""
    message: Annotated[str, text(256)] = ""
    """What the build says of itself."""
    attempts: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """Builds that were started."""
    next_attempt_time: Annotated[str, text(32)] | None = None
    """When a failed build is tried again."""
    artifact: Artifact | None = None
    """What lies in the store."""
    weights_sha256: SHA256 | None = Field(default=None, alias="weightsSHA256")
    """SHA-256 of the weights that were fetched."""
    gate: Gate | None = None
    """How it compares with what it was made from: measured before it was published."""
    failure: Failure | None = None
    """Why the last build did not work."""
    damage: Damage | None = None
    """What was last found wrong with it in the store; it was, or is, built anew."""
    curve: Curve | None = None
    """What a slice is worth to this engine."""
    curves: Annotated[list[Curve], as_atomic(max_items=16)] | None = None
    """What slices of other kinds are worth to it: an engine without a target serves on any."""
    work: Work | None = None
    """What its graph asks of a GPU: kinds of slices that no curve is of are estimated by it."""
    conditions: Annotated[list[Condition], as_map("type", max_items=16)] = Field(default_factory=list)
    """Built, Verified, Measured, Ready."""


class YoloEngine(ApiModel):
    """An engine of the store, and the build that makes it."""

    kind: ClassVar[str] = "YoloEngine"
    plural: ClassVar[str] = "yoloengines"

    spec: YoloEngineSpec
    status: YoloEngineStatus | None = None

"""How a new revision (engine and image) replaces the one that serves: what a user says of it, and its status."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from yolofleet.api import GROUP
from yolofleet.api.base import ApiModel, Name, as_atomic, text

ROLLOUT_ANNOTATION = f"{GROUP}/rollout"
"""On a YoloDeployment: `VERB [ENGINE [ANYTHING]]`; a value is carried out once, and only while ENGINE is what comes."""
VERBS = ("promote", "abort", "retry")
HISTORY = 8

Image = Annotated[str, text(512)]
Phase = Literal["Building", "Canary", "Promoting", "Promoted", "RolledBack", "Withdrawn"]


class RolloutReason(StrEnum):
    """Why a rollout is where it is."""

    WAITING_FOR_ENGINE = "WaitingForEngine"
    STARTING = "Starting"
    COMPARING = "Comparing"
    NO_CANARY = "NoCanary"
    AS_GOOD = "AsGood"
    NOT_COMPARED = "NotCompared"
    ASKED = "Asked"
    ERRORS = "Errors"
    LATENCY = "Latency"
    FRAMES_PER_SECOND = "FramesPerSecond"
    ACCURACY = "Accuracy"
    NOT_READY = "NotReady"
    ABORTED = "Aborted"
    SPEC_CHANGED = "SpecChanged"


class Rollout(ApiModel):
    """How a new engine or image replaces the old one."""

    strategy: Literal["Auto", "Surge", "InPlace"] = "Auto"
    """Surge: new replicas first; InPlace: one by one on the same slices; Auto: by what is spare."""
    canary_percent: Annotated[int, Field(ge=0, le=100)] = 10
    """Share of the replicas that prove a new engine, in percent, one at least; 0: none does."""
    canary_seconds: Annotated[int, Field(ge=10, le=86_400)] = 120
    """For how long both are compared before the new one replaces the old one, in seconds."""
    auto_rollback: Literal["Enabled", "Disabled"] = "Enabled"
    """Whether a worse engine is taken back; if not, it stays a canary until somebody says `promote` or `abort`: without
    a replica where it finds less of what is labelled."""


class PastRollout(ApiModel):
    """How a rollout ended."""

    engine: Name
    """YoloEngine that was to come."""
    image: Image = ""
    """Image that was to serve it."""
    phase: Phase
    """How it ended."""
    reason: Annotated[str, text(64)]
    """Why, in one word."""
    message: Annotated[str, text(1024)] = ""
    """Why, with the numbers."""
    time: Annotated[str, text(32)]
    """When."""


class RolloutStatus(ApiModel):
    """The last change of what serves; a restarted operator goes on from it."""

    phase: Phase
    """How far it is."""
    engine: Name
    """YoloEngine that comes."""
    image: Image = ""
    """Image that serves it."""
    previous_engine: Name
    """YoloEngine that served before."""
    previous_image: Image = ""
    """Image that served it."""
    reason: Annotated[str, text(64)]
    """Why it is there, in one word."""
    message: Annotated[str, text(1024)] = ""
    """Why, with the numbers."""
    since: Annotated[str, text(32)]
    """When it came there."""
    answered: Annotated[str, text(256)] = ""
    """The last value of the annotation that was carried out."""
    history: Annotated[list[PastRollout], as_atomic(max_items=HISTORY)] = Field(default_factory=list)
    """How former rollouts ended, the last one first."""

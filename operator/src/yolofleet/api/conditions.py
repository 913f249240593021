"""Conditions and the one closed list of their reasons; the same words label events, logs and metrics."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field

from yolofleet.api.base import ApiModel, text

Status = Literal["True", "False", "Unknown"]


class Reason(StrEnum):
    """Why a condition has its status."""

    # Ready
    SERVING = "Serving"
    NOT_SERVING = "NotServing"
    SUSPENDED = "Suspended"
    # EngineReady
    ENGINE_READY = "EngineReady"
    BUILDING = "Building"
    WAITING_FOR_BUILD = "WaitingForBuild"
    WAITING_FOR_BUILD_SLICE = "WaitingForBuildSlice"
    BUILD_FAILED = "BuildFailed"
    BUILD_REFUSED = "BuildRefused"
    NOT_SUPPORTED = "NotSupported"
    BUILD_QUOTA_EXCEEDED = "BuildQuotaExceeded"
    # Placed
    PLACED = "Placed"
    NO_MATCHING_PROFILE = "NoMatchingProfile"
    POOL_NOT_FOUND = "PoolNotFound"
    NO_ROOM = "NoRoom"
    QUOTA_EXCEEDED = "QuotaExceeded"
    POD_REFUSED = "PodRefused"
    WAITING_FOR_ENGINE = "WaitingForEngine"
    # ObjectiveMet
    NOT_MEASURED = "NotMeasured"
    OBJECTIVE_MET = "ObjectiveMet"
    OBJECTIVE_MISSED = "ObjectiveMissed"
    REQUESTS_FAILING = "RequestsFailing"
    # Progressing
    STABLE = "Stable"
    ROLLING_OUT = "RollingOut"
    SCALING = "Scaling"
    LOADING = "Loading"
    MODEL_NOT_LOADED = "ModelNotLoaded"
    HELD_BACK = "HeldBack"
    SERVING_PORTABLE = "ServingPortable"
    CANARY = "Canary"
    ROLLED_BACK = "RolledBack"
    # ScalingActive
    FOLLOWING_DEMAND = "FollowingDemand"
    AT_MIN_REPLICAS = "AtMinReplicas"
    AT_MAX_REPLICAS = "AtMaxReplicas"
    CAPACITY_UNKNOWN = "CapacityUnknown"
    SIGNALS_MISSING = "SignalsMissing"
    STABILIZING_DOWN = "StabilizingDown"
    EXTERNAL = "External"
    AUTOSCALER_IGNORED = "AutoscalerIgnored"
    # YoloEngine
    QUEUED = "Queued"
    STORE_UNAVAILABLE = "StoreUnavailable"
    STORE_FULL = "StoreFull"
    ENGINE_DAMAGED = "EngineDamaged"
    PUBLISHED = "Published"
    VERIFIED = "Verified"
    MEASURED = "Measured"
    BACKING_OFF = "BackingOff"
    # MigPool
    POOL_READY = "PoolReady"
    NO_NODES = "NoNodes"
    NODES_SHARED = "NodesShared"
    NODES_OWN = "NodesOwn"
    INVALID_SPEC = "InvalidSpec"


class Condition(ApiModel):
    """One line of status.conditions, as Kubernetes' API conventions have it."""

    type: Annotated[str, text(64, r"^[A-Z][A-Za-z]*$")]
    """What the condition is about."""
    status: Status
    """Whether it holds."""
    reason: Annotated[str, text(64, r"^[A-Z][A-Za-z]*$")]
    """Why, in one word of a closed list."""
    message: Annotated[str, text(4096)] = ""
    """Why, in a sentence."""
    last_transition_time: Annotated[str, text(32)] = ""
    """When `status` last changed."""
    observed_generation: Annotated[int, Field(ge=0)] = 0
    """The generation of the spec that this condition answers to."""

"""What the operator's `/top` answers, and how one asks: the document between operator and plugin."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from yolofleet.api.base import ApiModel

PATH = "/top"
PORT_NAME = "top"
TOKEN_HEADER = "X-Yolofleet-Token"  # noqa: S105 - the name of a header, no token
AUDIENCE_HEADER = "X-Yolofleet-Audience"
AUDIENCE = "yolofleet.dev"
"""A token that is made for this audience opens nothing else: the API server itself refuses it."""

Figure = float | None
"""A figure of now; None when nobody could see it."""


class TopDeployment(ApiModel):
    """One YoloDeployment now: what is wanted, what is served, how busy its slices are."""

    namespace: str
    name: str
    ready: int = 0
    desired: int = 0
    min_replicas: int = 0
    max_replicas: int = 0
    demand_fps: Figure = None
    """Frames per second that replicas are planned for."""
    served_fps: Figure = None
    failed_fps: Figure = None
    p99_ms: Figure = None
    objective_ms: Figure = None
    queue_ms: Figure = None
    mean_batch: Figure = None
    busy: Figure = None
    """Share of the time in which Triton computes, from 0 to 1."""
    engine_active: Figure = None
    """Share of the time in which the slices' engines are active, from 0 to 1, as DCGM sees it."""
    capacity_fps: Figure = None
    """Frames per second that one replica is worth."""
    signals_age_seconds: Figure = None
    reason: str = ""
    """Why so many replicas, in one word."""
    message: str = ""
    """The arithmetic."""
    slices: str = ""


class TopSlice(ApiModel):
    """The slices of one product and profile that Ready nodes offer, and those that this fleet's pods hold."""

    product: str
    profile: str
    total: int
    used: int


class Top(ApiModel):
    """The whole answer; `slices` is None for those who may not list MigPools, `omitted` counts rows left out."""

    version: Annotated[int, Field(ge=1)] = 1
    taken_at: str
    deployments: list[TopDeployment]
    slices: list[TopSlice] | None = None
    omitted: int = 0

    def wire_with_nulls(self) -> dict[str, Any]:
        """Return the JSON object as it travels, with null for what nobody could see."""
        return self.model_dump(mode="json", by_alias=True)

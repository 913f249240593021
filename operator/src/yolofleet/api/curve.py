"""What a slice is worth to an engine: measured or estimated points of throughput and latency."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from yolofleet.api.base import ApiModel, Fraction, Product, Profile, as_atomic
from yolofleet.api.recipe import BatchSize, Endpoint

Natural = Annotated[int, Field(ge=0, le=2**53 - 1)]
"""Integers that survive JSON's doubles."""


class CurvePoint(ApiModel):
    """Steady throughput and latency at one batch size and instance count, host copies included."""

    endpoint: Endpoint
    batch: BatchSize
    instances: Annotated[int, Field(ge=1, le=64)]
    frames_per_second: Natural
    p50_microseconds: Natural
    p99_microseconds: Natural
    host_bytes_per_frame: Natural = 0


class Curve(ApiModel):
    """All points of one engine on one kind of slice; `error` is the relative half-width of the band around them."""

    source: Literal["Measured", "Estimated"]
    error: Fraction = "0"
    product: Product
    profile: Profile
    sm_count: Annotated[int, Field(ge=1, le=1024)]
    points: Annotated[list[CurvePoint], as_atomic(max_items=256)]

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
    """Graph that was measured."""
    batch: BatchSize
    """Batch size, in frames."""
    instances: Annotated[int, Field(ge=1, le=64)]
    """Instances of the model in one Triton."""
    frames_per_second: Natural
    """Throughput, in frames per second."""
    p50_microseconds: Natural
    """Median latency, in microseconds."""
    p99_microseconds: Natural
    """99th percentile of the latency, in microseconds."""
    host_bytes_per_frame: Natural = 0
    """Bytes that travel to the GPU with each frame."""


class Curve(ApiModel):
    """All points of one engine on one kind of slice; `error` is the relative half-width of the band around them."""

    source: Literal["Measured", "Estimated"]
    """How the points came about."""
    error: Fraction = "0"
    """Relative half-width of the band around them."""
    product: Product
    """GPU product."""
    profile: Profile
    """MIG profile, or `gpu`: a whole GPU."""
    sm_count: Annotated[int, Field(ge=1, le=1024)]
    """Streaming multiprocessors of the slice."""
    points: Annotated[list[CurvePoint], as_atomic(max_items=256)]
    """What was measured or estimated."""

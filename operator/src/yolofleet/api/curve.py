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


Row = Annotated[list[Natural], Field(min_length=7, max_length=7)]
"""A point in few bytes: endpoint (its place among ENDPOINTS), batch, instances, frames per second, p50, p99, bytes."""
ENDPOINTS: tuple[Endpoint, ...] = ("Ultralytics", "Frames", "JPEG")


FIGURES = ("batch", "instances", "frames_per_second", "p50_microseconds", "p99_microseconds", "host_bytes_per_frame")


def row_of(point: CurvePoint) -> list[int]:
    """Return a point in few bytes: a termination message has 4096 of them."""
    return [ENDPOINTS.index(point.endpoint), *(getattr(point, name) for name in FIGURES)]


def point_of(row: list[int]) -> CurvePoint:
    """Return the point that a row tells; ValueError where it tells none."""
    endpoint, *figures = row
    if endpoint >= len(ENDPOINTS):
        raise ValueError(f"no endpoint has the number {endpoint}")
    return CurvePoint.model_validate({"endpoint": ENDPOINTS[endpoint], **dict(zip(FIGURES, figures, strict=True))})


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

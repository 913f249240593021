"""From a curve and an objective to Triton's numbers: the one rule for what slices are counted with and served with."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from yolofleet.api.base import ApiModel, as_atomic, text
from yolofleet.api.curve import Curve, CurvePoint
from yolofleet.api.recipe import Backend, BatchSize, Endpoint

NEARLY = 0.95
"""A point that serves as much as this share of the best one may be taken for being smaller."""
DELAY_SHARE = 0.25
"""The queue may hold a frame back for at most this share of what the objective leaves."""
LONGEST_DELAY_US = 5_000
"""Longer delays cost more latency than fuller batches win (triton-inference-server/server#7318)."""
DELAY_STEP_US = 100
"""Delays are cut to it: a curve that is measured again must not start pods anew for a microsecond."""
GB = 1e9


class ModelTuning(ApiModel):
    """How Triton runs the model of one endpoint."""

    endpoint: Endpoint
    """Which endpoint."""
    max_batch_size: BatchSize
    """Largest batch, in frames, of a request too."""
    instances: Annotated[int, Field(ge=1, le=64)] = 1
    """Instances of the model in one Triton."""
    queue_delay_microseconds: Annotated[int, Field(ge=0, le=1_000_000)] = 0
    """How long a frame may wait for others, in microseconds."""
    preferred_batches: Annotated[list[BatchSize], as_atomic(max_items=16)] | None = None
    """Batches that the engine has kernels for; absent: any."""
    cuda_graph_batches: Annotated[list[BatchSize], as_atomic(max_items=16)] | None = None
    """Batches that a CUDA graph is recorded of when the model is warmed up; absent: none."""


class TuningStatus(ModelTuning):
    """How Triton runs the model of one endpoint, and why so."""

    message: Annotated[str, text(2048)] = ""
    """The curve that it follows from, and a reason for each number."""


@dataclass(frozen=True)
class OperatingPoint:
    """Where on its curve a slice is to serve.

    `reached_fps` is what the host's link lets through, `best_fps` what the best point within the objective serves,
    `edge` by how much an estimated curve's latencies are counted longer.
    """

    point: CurvePoint
    reached_fps: float
    best_fps: float
    edge: float

    @property
    def p99_ms(self) -> float:
        """Return the 99th percentile of the latency, with the edge of an estimate."""
        return _p99_ms(self.point) * self.edge


def operating_point(
    curve: Curve, endpoint: Endpoint, p99_ms: float, *, most_bytes: float = math.inf
) -> OperatingPoint | str:
    """Return the point that a curve is to be used at, or in words why there is none.

    Of the points within the objective that serve nearly as much as the best: the fewest instances, then the smallest
    batch. `most_bytes` is what the slice may take from its host per second.
    """
    points = [point for point in curve.points if point.endpoint == endpoint]
    if not points:
        return f"no point of its curve is for endpoint {endpoint}"
    edge = 1 + error_of(curve)
    fit = [point for point in points if _p99_ms(point) * edge <= p99_ms]
    if not fit:
        least = min(map(_p99_ms, points)) * edge
        return f"its p99 is {least:.1f} ms at best, the objective {p99_ms:g} ms"
    best = max(_reached(point, most_bytes) for point in fit)
    good = [point for point in fit if _reached(point, most_bytes) >= NEARLY * best]
    chosen = min(good, key=lambda point: (point.instances, point.batch, -point.frames_per_second))
    return OperatingPoint(chosen, _reached(chosen, most_bytes), best, edge)


def error_of(curve: Curve) -> float:
    """Return how far an estimated curve may be off; what was measured is taken at its word."""
    return float(curve.error) if curve.source == "Estimated" else 0.0


def doable(curve: Curve, most_batch: int) -> Curve:
    """Leave the points that an engine of this largest batch can serve at."""
    points = [point for point in curve.points if point.batch <= most_batch]
    return curve if len(points) == len(curve.points) else curve.model_copy(update={"points": points})


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """What goes into a model's config.pbtxt; `reasons` has a sentence for each number, by its name."""

    model: ModelTuning
    source: str
    reasons: Mapping[str, str]

    @property
    def message(self) -> str:
        """Say it all in one line."""
        return "; ".join([self.source, *(f"{name}: {why}" for name, why in self.reasons.items())])


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is tuned for: an endpoint, its objective, what the host's link lets through, and a static plan's batches.

    `static_batches` empty: the plan takes any batch up to the bound (a dynamic profile).
    """

    endpoint: Endpoint
    backend: Backend
    p99_ms: float
    most_bytes: float = math.inf
    static_batches: tuple[int, ...] = ()


def tuned(curve: Curve, wanted: Wanted) -> Tuned | str:
    """Return the numbers, or in words why the curve gives none."""
    at = operating_point(curve, wanted.endpoint, wanted.p99_ms, most_bytes=wanted.most_bytes)
    if isinstance(at, str):
        return at
    chosen = at.point
    delay, why_delay = _delay(at, wanted)
    preferred, why_preferred = _preferred(chosen, wanted)
    graphs, why_graphs = _graphs(chosen, wanted)
    reasons = {
        "maxBatchSize": _why_batch(at, wanted),
        "instances": _why_instances(at),
        "queueDelay": why_delay,
        "preferredBatches": why_preferred,
        "cudaGraphs": why_graphs,
    }
    model = ModelTuning(
        endpoint=wanted.endpoint,
        max_batch_size=chosen.batch,
        instances=chosen.instances,
        queue_delay_microseconds=delay,
        preferred_batches=preferred or None,
        cuda_graph_batches=graphs or None,
    )
    return Tuned(model=model, source=told_of(curve), reasons=reasons)


def told_of(curve: Curve) -> str:
    """Say which curve it is, and how far an estimated one may be off."""
    told = f"{curve.source.lower()} curve of {curve.profile} of {curve.product}"
    if curve.source == "Measured":
        return told
    return f"{told}, give or take {float(curve.error):.0%}: counted by its lower edge until one is measured"


def _why_batch(at: OperatingPoint, wanted: Wanted) -> str:
    told = f"batch {at.point.batch} serves {at.reached_fps:.0f} frames/s with a p99 of {at.p99_ms:.1f} ms"
    if at.reached_fps < at.point.frames_per_second:
        told += f" (the host's link lets {wanted.most_bytes / GB:.3g} GB/s through)"
    return f"{told}, the objective being {wanted.p99_ms:g} ms; larger ones miss it or serve hardly more"


def _why_instances(at: OperatingPoint) -> str:
    if at.point.instances == 1:
        return (
            f"one instance serves {at.reached_fps:.0f} frames/s, the best within the objective being {at.best_fps:.0f}"
        )
    fewer = f"fewer stay below {NEARLY:.0%} of {at.best_fps:.0f}"
    return f"{at.point.instances} instances serve {at.reached_fps:.0f} frames/s; {fewer}"


def _delay(at: OperatingPoint, wanted: Wanted) -> tuple[int, str]:
    """Waiting pays while a batch fills: as long as its frames take to arrive at the rate of the curve, or less."""
    batch = at.point.batch
    if batch == 1:
        return 0, "a batch of one waits for nobody"
    fills_us = (batch - 1) / max(at.reached_fps, 1) * 1e6
    spare_us = (wanted.p99_ms - at.p99_ms) * 1000 * DELAY_SHARE
    delay = max(0, math.floor(min(fills_us, spare_us, LONGEST_DELAY_US) / DELAY_STEP_US)) * DELAY_STEP_US
    return delay, (
        f"{delay} µs: at full load a batch of {batch} fills in {fills_us:.0f} µs, a quarter of what the "
        f"objective leaves is {max(spare_us, 0):.0f} µs, and more than {LONGEST_DELAY_US} µs never pays"
    )


def _preferred(chosen: CurvePoint, wanted: Wanted) -> tuple[list[int], str]:
    if not wanted.static_batches:
        return [], "none: the engine takes any batch, and a preferred size would only make the batcher wait for it"
    sizes = sorted(size for size in wanted.static_batches if 1 < size <= chosen.batch)
    return sizes, f"{sizes}: the plan has kernels for these batches only"


def _graphs(chosen: CurvePoint, wanted: Wanted) -> tuple[list[int], str]:
    """Powers of two up to the batch: a graph is for one batch exactly, and each takes memory and time at start."""
    if wanted.backend != "TensorRT":
        return [], "none: they are CUDA's, and this backend runs on the CPU"
    powers = {2**power for power in range(chosen.batch.bit_length()) if 2**power <= chosen.batch}
    kept = sorted(batch for batch in (wanted.static_batches or powers | {chosen.batch}) if batch <= chosen.batch)
    return kept, f"{kept}: small batches are bound by kernel launches, which a graph replaces; others run without"


def _p99_ms(point: CurvePoint) -> float:
    return point.p99_microseconds / 1000


def _reached(point: CurvePoint, most_bytes: float) -> float:
    """Return what a point serves within what the link carries."""
    if not point.host_bytes_per_frame:
        return float(point.frames_per_second)
    return min(float(point.frames_per_second), most_bytes / point.host_bytes_per_frame)

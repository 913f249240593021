"""From a measured curve and an objective to Triton's numbers, each with the reason for it."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from yolofleet.api.curve import Curve, CurvePoint
    from yolofleet.api.recipe import Backend, Endpoint

NEARLY = 0.95
"""A point that serves as much as this share of the best one may be taken for being smaller."""
DELAY_SHARE = 0.25
"""The queue may hold a frame back for at most this share of what the objective leaves."""
LONGEST_DELAY_US = 5_000
"""Longer delays cost more latency than fuller batches win (triton-inference-server/server#7318)."""


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What goes into config.pbtxt; `reasons` has a sentence for each number, by its name."""

    max_batch_size: int
    instances: int
    queue_delay_microseconds: int
    preferred_batches: tuple[int, ...] = ()
    graph_batches: tuple[int, ...] = ()
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is tuned for: an endpoint, its objective, the graph's own bound, and batches that a static plan is made for.

    `static_batches` empty: the plan takes any batch up to the bound (a dynamic profile).
    """

    endpoint: Endpoint
    backend: Backend
    p99_ms: float
    max_batch_size: int
    static_batches: tuple[int, ...] = ()


def tuned(curve: Curve, wanted: Wanted) -> Tuning | str:
    """Return the numbers, or in words why the curve gives none."""
    points = [point for point in curve.points if point.endpoint == wanted.endpoint]
    usable = [point for point in points if point.batch <= wanted.max_batch_size]
    if not usable:
        return (
            f"no point of the curve is for endpoint {wanted.endpoint} with a batch of {wanted.max_batch_size} or less"
        )
    edge = 1 + (float(curve.error) if curve.source == "Estimated" else 0.0)
    fit = [point for point in usable if _p99_ms(point) * edge <= wanted.p99_ms]
    if not fit:
        least = min(map(_p99_ms, usable)) * edge
        return f"its p99 is {least:.1f} ms at best, the objective {wanted.p99_ms:g} ms"
    best = max(point.frames_per_second for point in fit)
    good = [point for point in fit if point.frames_per_second >= NEARLY * best]
    chosen = min(good, key=lambda point: (point.instances, point.batch, -point.frames_per_second))
    return _numbers(chosen, best, edge, wanted)


def _numbers(chosen: CurvePoint, best: int, edge: float, wanted: Wanted) -> Tuning:
    told = {
        "instances": _why_instances(chosen, best),
        "maxBatchSize": f"batch {chosen.batch} serves {chosen.frames_per_second} frames/s with a p99 of "
        f"{_p99_ms(chosen):.1f} ms, the objective being {wanted.p99_ms:g} ms; larger ones miss it or serve no more",
    }
    delay, told["queueDelay"] = _delay(chosen, edge, wanted)
    preferred, told["preferredBatches"] = _preferred(chosen, wanted)
    graphs, told["cudaGraphs"] = _graphs(chosen, wanted)
    return Tuning(
        max_batch_size=chosen.batch,
        instances=chosen.instances,
        queue_delay_microseconds=delay,
        preferred_batches=preferred,
        graph_batches=graphs,
        reasons=told,
    )


def _why_instances(chosen: CurvePoint, best: int) -> str:
    if chosen.instances == 1:
        return f"one instance serves {chosen.frames_per_second} frames/s, the best within the objective being {best}"
    fewer = f"fewer stay below {NEARLY:.0%} of {best}"
    return f"{chosen.instances} instances serve {chosen.frames_per_second} frames/s; {fewer}"


def _delay(chosen: CurvePoint, edge: float, wanted: Wanted) -> tuple[int, str]:
    """Waiting pays while a batch fills: as long as its frames take to arrive at the rate of the curve, or less."""
    if chosen.batch == 1:
        return 0, "a batch of one waits for nobody"
    fills_us = (chosen.batch - 1) / max(chosen.frames_per_second, 1) * 1e6
    spare_us = (wanted.p99_ms - _p99_ms(chosen) * edge) * 1000 * DELAY_SHARE
    delay = max(0, math.floor(min(fills_us, spare_us, LONGEST_DELAY_US)))
    return delay, (
        f"{delay} µs: at full load a batch of {chosen.batch} fills in {fills_us:.0f} µs, a quarter of what the "
        f"objective leaves is {max(spare_us, 0):.0f} µs, and more than {LONGEST_DELAY_US} µs never pays"
    )


def _preferred(chosen: CurvePoint, wanted: Wanted) -> tuple[tuple[int, ...], str]:
    if not wanted.static_batches:
        return (), "none: the plan takes any batch, and a preferred size would only make the batcher wait for it"
    sizes = tuple(sorted(size for size in wanted.static_batches if 1 < size <= chosen.batch))
    return sizes, f"{list(sizes)}: the plan has kernels for these batches only"


def _graphs(chosen: CurvePoint, wanted: Wanted) -> tuple[tuple[int, ...], str]:
    """Powers of two up to the batch: a graph is for one batch exactly, and each takes memory and time at start."""
    if wanted.backend != "TensorRT":
        return (), "none: they are CUDA's, and this backend runs on the CPU"
    powers = {2**power for power in range(chosen.batch.bit_length()) if 2**power <= chosen.batch}
    batches = tuple(sorted(wanted.static_batches or powers | {chosen.batch}))
    kept = tuple(batch for batch in batches if batch <= chosen.batch)
    return kept, f"{list(kept)}: small batches are bound by kernel launches, which a graph replaces; others run without"


def _p99_ms(point: CurvePoint) -> float:
    return point.p99_microseconds / 1000

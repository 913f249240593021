"""A curve for a model that nobody has measured: what measured engines took, by work, layers and SMs.

A batch takes a time for each layer, however small the batch is, and for each frame so many times what its operations or
its bytes, whichever takes longer, would take at the GPU's measured rates. A slice is slower in proportion to its SMs.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_repo_builder.graph_work import Work
from yolofleet.api.curve import Curve, CurvePoint

if TYPE_CHECKING:
    from collections.abc import Sequence

    from yolofleet.api.recipe import Endpoint

HOST_GB_S = 25.0
"""What a copy from ordinary memory reaches: the frames of docs/benchmarks/h200.json took 29 from there."""
TAIL = 1.05
"""p99 over p50 where nothing else runs; measured rows have 1.01 to 1.03."""
UNSEEN = 0.35
"""Half the band around a model of which no row exists. Assumed: with one measured model, nothing says how well the law
goes over to others."""
FEWEST = 3


@dataclass(frozen=True)
class Rates:
    """What a whole GPU reached: a large FP16 product, a large copy (read and written)."""

    tflops: float
    gb_s: float
    sms: int


@dataclass(frozen=True)
class Seen:
    """A measured batch of a model, on device tensors, by a CUDA graph."""

    work: Work
    batch: int
    p50_ms: float


H200 = Rates(tflops=689.6, gb_s=4298, sms=132)
YOLO11N = Work(gflop=6.543, activations_mb=99.1, weights_mb=5.2, layers=90)
MEASURED = (Seen(YOLO11N, 1, 0.7444), Seen(YOLO11N, 8, 1.3123), Seen(YOLO11N, 32, 3.2543))
"""docs/benchmarks/h200.json: rows of run `early`, each batch by the engine made for it; `rates`."""


@dataclass(frozen=True)
class Law:
    """Milliseconds for each layer of a batch, how many times its floor a frame takes, what a row left out missed."""

    layer_ms: float
    times_floor: float
    error: float


def fitted(seen: Sequence[Seen], rates: Rates) -> Law:
    """Fit the law to rows of the whole GPU; its error is the largest of the rows, each left out in turn."""
    if len(seen) < FEWEST:
        raise ValueError(f"{len(seen)} rows: a law of two figures wants {FEWEST} at least, to have an error")
    missed = [
        abs(batch_ms(_least_squares([*seen[:at], *seen[at + 1 :]], rates), row.work, row.batch, rates) / row.p50_ms - 1)
        for at, row in enumerate(seen)
    ]
    found = _least_squares(seen, rates)
    return Law(found.layer_ms, found.times_floor, max(missed))


def _least_squares(seen: Sequence[Seen], rates: Rates) -> Law:
    """Relative errors count, or the largest batch would decide alone."""
    rows = np.array([[row.work.layers, row.batch * floor_ms(row.work, rates)] for row in seen])
    told = np.array([row.p50_ms for row in seen])
    layer_ms, times = np.linalg.lstsq(rows / told[:, None], np.ones(len(seen)), rcond=None)[0]
    return Law(float(layer_ms), float(times), 0.0)


def floor_ms(work: Work, rates: Rates) -> float:
    """Return what one frame takes at least on the whole GPU."""
    return max(work.gflop / rates.tflops, work.activations_mb / rates.gb_s)


def batch_ms(law: Law, work: Work, batch: int, rates: Rates, sms: int | None = None) -> float:
    """Return what a batch takes on so many SMs; None: the whole GPU."""
    share = (sms or rates.sms) / rates.sms
    return law.layer_ms * work.layers + law.times_floor * batch * floor_ms(work, rates) / share


@dataclass(frozen=True, kw_only=True)
class Slice:
    """For what a curve is estimated; `host_bytes` travel to it with each frame."""

    product: str
    profile: str
    sms: int
    endpoint: Endpoint
    host_bytes: int


def curve(work: Work, place: Slice, batches: Sequence[int], *, rates: Rates = H200, law: Law | None = None) -> Curve:
    """Return the estimated curve, host copies included, of one instance."""
    found = law or fitted(MEASURED, rates)
    known = any(row.work == work for row in MEASURED) and place.sms == rates.sms
    points = [_point(found, work, batch, place, rates) for batch in batches]
    error = max(found.error, 0.01 if known else UNSEEN)
    return Curve(
        source="Estimated",
        error=f"{error:.2f}",
        product=place.product,
        profile=place.profile,
        sm_count=place.sms,
        points=points,
    )


def _point(law: Law, work: Work, batch: int, place: Slice, rates: Rates) -> CurvePoint:
    copied_ms = batch * place.host_bytes / HOST_GB_S / 1e6
    took_ms = batch_ms(law, work, batch, rates, place.sms) + copied_ms
    return CurvePoint(
        endpoint=place.endpoint,
        batch=batch,
        instances=1,
        frames_per_second=round(batch / took_ms * 1e3),
        p50_microseconds=round(took_ms * 1e3),
        p99_microseconds=round(took_ms * 1e3 * TAIL),
        host_bytes_per_frame=place.host_bytes,
    )

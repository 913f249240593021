"""What a model that nobody has measured may serve: the work in its graph, and a law of layers, operations and bytes.

A batch takes a time for each layer, however small the batch is, and for each frame so many times what its operations or
its bytes, whichever takes longer, would take at the GPU's measured rates. A slice is slower in proportion to its SMs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from yolofleet.api.base import ApiModel
from yolofleet.api.curve import CurvePoint
from yolofleet.api.recipe import Endpoint

HOST_GB_S = 25.0
"""What a copy from ordinary memory reaches: the frames of docs/benchmarks/h200.json took 29 from there."""
TAIL = 1.05
"""p99 over p50 where nothing else runs; measured rows have 1.01 to 1.03."""
UNSEEN = "0.35"
"""Half the band around a model of which no row exists. Assumed: with one measured model, nothing says how well the law
goes over to others."""
UNSEEN_GPU = "0.5"
"""The same on a GPU whose rates are worked out from its data sheet: assumed, too."""

Natural = Annotated[int, Field(ge=0, le=2**40)]


class Work(ApiModel):
    """What a model's graph asks of a GPU for one frame."""

    megaflops: Natural
    """Operations of its convolutions and matrix products, in millions."""
    activation_kilobytes: Natural
    """Activations at two bytes each, every one written and read once."""
    weight_kilobytes: Natural
    """Weights at two bytes each."""
    layers: Annotated[int, Field(ge=0, le=1_000_000)]
    """Layers that multiply."""


@dataclass(frozen=True)
class Rates:
    """What a whole GPU reached: a large FP16 product, a large copy (read and written)."""

    tflops: float
    gb_s: float
    sms: int


@dataclass(frozen=True)
class Law:
    """Milliseconds for each layer of a batch, and how many times its floor a frame takes."""

    layer_ms: float
    times_floor: float


H200 = Rates(tflops=689.6, gb_s=4298, sms=132)
LAW = Law(layer_ms=0.00737, times_floor=3.513)
"""Fitted to what yolo11n took on a whole H200 (model_repo_builder/estimate.py, whose test holds this to the rows)."""


def floor_ms(work: Work, rates: Rates) -> float:
    """Return what one frame takes at least on the whole GPU."""
    return max(work.megaflops / 1e3 / rates.tflops, work.activation_kilobytes / 1e3 / rates.gb_s)


def batch_ms(law: Law, work: Work, batch: int, rates: Rates, sms: int | None = None) -> float:
    """Return what a batch takes on so many SMs; None: the whole GPU."""
    share = (sms or rates.sms) / rates.sms
    return law.layer_ms * work.layers + law.times_floor * batch * floor_ms(work, rates) / share


@dataclass(frozen=True, kw_only=True)
class Place:
    """Where an endpoint is to serve: so many SMs of a GPU, and `host_bytes` travel to it with each frame."""

    rates: Rates
    sms: int
    endpoint: Endpoint
    host_bytes: int


def estimated_points(work: Work, place: Place, batches: Iterable[int], *, law: Law = LAW) -> list[CurvePoint]:
    """Return the points of one instance, host copies included."""
    return [_point(law, work, batch, place) for batch in batches]


def _point(law: Law, work: Work, batch: int, place: Place) -> CurvePoint:
    copied_ms = batch * place.host_bytes / HOST_GB_S / 1e6
    took_ms = batch_ms(law, work, batch, place.rates, place.sms) + copied_ms
    return CurvePoint(
        endpoint=place.endpoint,
        batch=batch,
        instances=1,
        frames_per_second=round(batch / took_ms * 1e3),
        p50_microseconds=round(took_ms * 1e3),
        p99_microseconds=round(took_ms * 1e3 * TAIL),
        host_bytes_per_frame=place.host_bytes,
    )

"""What engines were seen to take, and the fit that the law of `yolofleet.api.estimate` comes from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from yolofleet.api.estimate import H200, Law, Rates, Work, batch_ms, floor_ms

if TYPE_CHECKING:
    from collections.abc import Sequence

FEWEST = 3


@dataclass(frozen=True)
class Seen:
    """A measured batch of a model, on device tensors, by a CUDA graph."""

    work: Work
    batch: int
    p50_ms: float


YOLO11N = Work(megaflops=6543, activation_kilobytes=99_100, weight_kilobytes=5200, layers=90)
MEASURED = (Seen(YOLO11N, 1, 0.7444), Seen(YOLO11N, 8, 1.3123), Seen(YOLO11N, 32, 3.2543))
"""docs/benchmarks/h200.json: rows of run `early`, each batch by the engine made for it; `rates`."""


def fitted(seen: Sequence[Seen], rates: Rates = H200) -> tuple[Law, float]:
    """Fit the law to rows of the whole GPU; its error is the largest of the rows, each left out in turn."""
    if len(seen) < FEWEST:
        raise ValueError(f"{len(seen)} rows: a law of two figures wants {FEWEST} at least, to have an error")
    missed = [
        abs(batch_ms(_least_squares([*seen[:at], *seen[at + 1 :]], rates), row.work, row.batch, rates) / row.p50_ms - 1)
        for at, row in enumerate(seen)
    ]
    return _least_squares(seen, rates), max(missed)


def _least_squares(seen: Sequence[Seen], rates: Rates) -> Law:
    """Relative errors count, or the largest batch would decide alone."""
    rows = np.array([[row.work.layers, row.batch * floor_ms(row.work, rates)] for row in seen])
    told = np.array([row.p50_ms for row in seen])
    layer_ms, times = np.linalg.lstsq(rows / told[:, None], np.ones(len(seen)), rcond=None)[0]
    return Law(float(layer_ms), float(times))

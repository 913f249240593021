"""Whether what was made of an ONNX file sees what that file sees: boxes where there are some, else values."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from model_repo_builder import boxes, gate_report, gates
from model_repo_builder.compare import Comparison

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.boxes import Boxes
    from model_repo_builder.heads import Head
    from model_repo_builder.onnx_graph import Array
    from yolofleet.api.recipe import Precision

ALLOWED = 0.02
"""Largest error of a channel, relative to its largest value, where no frame shows a box: FP16 keeps 3 digits."""
CLASSIFY = "Classify"
BARS = {"INT8": gates.Bars(box_iou=0.8, score_slack=0.2, lost_share=0.02, apart_share=0.02)}
"""256 steps move boxes and scores where they cost no precision: yolo26n of the shapes set loses 0.006 of its
mAP50-95 with the scores of single boxes 0.27 apart (docs/benchmarks/engines.md). Where frames are labelled, mAP judges
beside this (engine.accuracyGate)."""


@dataclass(frozen=True, kw_only=True)
class EngineGate:
    """What an engine is judged by; `frames` (N, C, H, W) were shown to both, and the worst are drawn into `folder`."""

    head: Head
    precision: Precision
    frames: Array
    folder: Path
    reference: str

    def judged(self, wanted: list[Array], got: list[Array]) -> tuple[Comparison, str]:
        """Compare raw outputs; return the figures, and in words what misses a bar, "" where nothing does."""
        absolute, relative = errors(wanted, got)
        told = Comparison(
            reference=self.reference,
            frames=len(self.frames),
            max_absolute=absolute,
            max_relative=relative,
            tolerance=ALLOWED,
        )
        if self.head.task == CLASSIFY or not any(map(len, self._seen(wanted))):
            return told, told.sentence() if relative > ALLOWED else ""
        seen = gates.agree(
            lambda _: self._seen(wanted), lambda _: self._seen(got), self.frames, BARS.get(self.precision)
        )
        gate_report.write(self.folder, seen, lambda index: _picture(self.frames[index]))
        return replace(told, boxes=seen.sentence(), agreement=seen), "; ".join(seen.failings())

    def _seen(self, outputs: list[Array]) -> list[Boxes]:
        return boxes.from_raw(outputs, self.head, boxes.Thresholds())


def errors(wanted: list[Array], got: list[Array]) -> tuple[float, float]:
    """Return the largest absolute error, and the largest relative to its channel (axis 1)."""
    worst = (0.0, 0.0)
    for one, other in zip(wanted, got, strict=True):
        gap = np.abs(one.astype(np.float64) - other.astype(np.float64))
        axes = (0, *range(2, one.ndim))
        scale = np.maximum(np.abs(one.astype(np.float64)).max(axis=axes), 1.0)
        worst = (max(worst[0], float(gap.max())), max(worst[1], float((gap.max(axis=axes) / scale).max())))
    return worst


def _picture(frame: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return a frame as it is drawn: (H, W, 3), bytes."""
    shown = frame[:3] if len(frame) >= 3 else np.repeat(frame[:1], 3, axis=0)  # noqa: PLR2004 - colours
    return (shown.transpose(1, 2, 0) * 255).round().astype(np.uint8)

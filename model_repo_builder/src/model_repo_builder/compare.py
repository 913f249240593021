"""The gate before publishing: does the artefact say what the model says, on real pictures."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from model_repo_builder import boxes, gates, onnx_graph
from model_repo_builder.errors import Failed
from yolofleet.api.build import Gate

if TYPE_CHECKING:
    from collections.abc import Callable

    import numpy.typing as npt

    from model_repo_builder.gates import Agreement
    from model_repo_builder.heads import Head, Shape
    from model_repo_builder.onnx_graph import Array
    from model_repo_builder.progress import Report

Rows: TypeAlias = "npt.NDArray[np.float64]"
TOLERANCE = 1e-3
"""Largest error allowed, relative to a channel's largest value (at least 1): FP32 differs by 1e-5 or so."""
CONFIDENT = 0.25
SCORE, CLASS = 4, 5


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """What was seen: over how many frames, and the largest errors."""

    reference: str
    frames: int
    max_absolute: float
    max_relative: float
    tolerance: float = TOLERANCE
    boxes: str = ""
    """How boxes agree, where they and not the numbers were judged."""
    agreement: Agreement | None = None
    """How boxes agree, where there are any."""

    def gate(self) -> Gate:
        """Return the figures for the engine's status."""
        told = Gate(
            reference=self.reference,
            frames=self.frames,
            largest_error=f"{self.max_relative:.3g}",
            allowed_error=f"{self.tolerance:g}",
        )
        if (seen := self.agreement) is None:
            return told
        update = {
            "boxes": seen.boxes,
            "unmatched_boxes": seen.stray,
            "lowest_iou": f"{seen.lowest_iou:.4g}",
            "score_gap": f"{seen.score_gap:.3g}",
        }
        return told.model_copy(update=update)

    def sentence(self) -> str:
        """Return it in words."""
        if self.boxes:
            return f"{self.frames} frames against {self.reference}: {self.boxes}; largest error {self.max_absolute:.3g}"
        return (
            f"{self.frames} frames against {self.reference}: largest error {self.max_absolute:.3g}, "
            f"relative {self.max_relative:.3g}, allowed {self.tolerance:g}"
        )


def against(
    reference: Callable[[Array], list[Array]], path: str, frames: Array, *, head: Head, report: Report
) -> Comparison:
    """Compare an ONNX file with what it was made from, frame by frame and as one batch; Failed where they differ."""
    loaded = onnx_graph.session(path)
    worst = (0.0, 0.0)
    sure: list[tuple[list[Array], list[Array]]] = []
    batched = onnx_graph.run(loaded, frames)
    for index in range(len(frames)):
        report((index + 1) / (len(frames) + 1), f"frame {index + 1} of {len(frames)}")
        wanted = reference(frames[index : index + 1])
        alone = onnx_graph.run(loaded, frames[index : index + 1])
        together = [output[index : index + 1] for output in batched]
        worst = max(worst, _errors(wanted, alone, head), _errors(wanted, together, head), key=lambda pair: pair[1])
        sure.append((wanted, alone))
    seen = Comparison(reference="torch", frames=len(frames), max_absolute=worst[0], max_relative=worst[1])
    if not worst[1] <= TOLERANCE:
        raise Failed(
            message=f"the ONNX model does not say what the checkpoint says; {seen.sentence()}",
            remedy="report this model; an .onnx exported elsewhere can be given instead",
        )
    return replace(seen, agreement=_agreement(sure, frames, head))


def _agreement(sure: list[tuple[list[Array], list[Array]]], frames: Array, head: Head) -> Agreement | None:
    """Tell how boxes agree: said, and not judged, as the numbers are held to more than any box shows."""
    if head.task == "Classify":
        return None
    ours, theirs = (
        [found for pair in sure for found in boxes.from_raw(pair[side], head, boxes.Thresholds())] for side in (0, 1)
    )
    return gates.agree(lambda _: ours, lambda _: theirs, frames)


def _errors(wanted: list[Array], got: list[Array], head: Head) -> tuple[float, float]:
    """Return the largest absolute and relative error; infinite where shapes differ or a value is no number."""
    if [a.shape for a in wanted] != [b.shape for b in got] or not all(np.isfinite(b).all() for b in got):
        return float("inf"), float("inf")
    pairs = list(zip(wanted, got, strict=True))
    if head.end_to_end:
        wanted_rows, got_rows = pairs[0]
        rows = _row_error(wanted_rows[0].astype(np.float64), got_rows[0].astype(np.float64))
        return max([(rows, rows), *(_channel_error(a, b) for a, b in pairs[1:])], key=lambda pair: pair[1])
    return max((_channel_error(a, b) for a, b in pairs), key=lambda pair: pair[1])


def _channel_error(wanted: Array, got: Array) -> tuple[float, float]:
    """Compare channel by channel (axis 1), so that large boxes can't hide small errors of scores."""
    difference = np.abs(got.astype(np.float64) - wanted.astype(np.float64))
    axes = (0, *range(2, wanted.ndim))
    scale = np.maximum(np.abs(wanted.astype(np.float64)).max(axis=axes), 1.0)
    return float(difference.max()), float((difference.max(axis=axes) / scale).max())


def _row_error(wanted: Rows, got: Rows) -> float:
    """Compare an end-to-end head's rows: their order may change where scores tie."""
    scores = np.abs(np.sort(wanted[:, SCORE]) - np.sort(got[:, SCORE])).max()
    size = max(float(np.abs(wanted[:, :SCORE]).max()), 1.0)
    worst = float(scores)
    for row in wanted[wanted[:, SCORE] >= CONFIDENT]:
        same = got[got[:, CLASS] == row[CLASS]]
        nearest = np.abs(same[:, :SCORE] - row[:SCORE]).max(axis=1).min() / size if len(same) else np.inf
        worst = max(worst, float(nearest))
    return worst


def sane(path: str, frames: Array, *, shapes: tuple[Shape, ...], one_by_one: bool, report: Report) -> Comparison:
    """Run a user's ONNX file on frames: outputs must be finite and of the expected shape; Failed where not."""
    loaded = onnx_graph.session(path)
    for index in range(0, len(frames), 1 if one_by_one else len(frames)):
        some = frames[index : index + 1] if one_by_one else frames
        outputs = onnx_graph.run(loaded, some)
        report((index + 1) / len(frames), f"{len(some)} frames")
        if not all(np.isfinite(output).all() for output in outputs):
            raise Failed(
                message="the model's outputs hold infinities or NaN on ordinary pictures",
                remedy="check the export; FP16 models overflow where FP32 ones do not",
            )
        found = [output.shape for output in outputs]
        if found != [(len(some), *shape) for shape in shapes]:
            raise Failed(
                message=f"the model's outputs are {found} for {len(some)} frames, expected {list(shapes)} each",
                remedy="export it with a fixed image size and the raw head",
            )
    return Comparison(reference="itself (finite, right shapes)", frames=len(frames), max_absolute=0.0, max_relative=0.0)

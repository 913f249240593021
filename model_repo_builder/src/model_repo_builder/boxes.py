"""Boxes from a head's outputs, by numpy alone: the yardstick for graphs and engines that make boxes themselves."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from model_repo_builder.heads import BOX, END_TO_END_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from model_repo_builder.heads import Head

Floats: TypeAlias = "npt.NDArray[np.float64]"
EPSILON = 1e-7
"""Of the probabilistic IoU of rotated boxes, as the Ultralytics client has it."""


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a client chooses: the lowest score, the overlap above which the weaker box goes, the most boxes.

    `candidates` bounds the boxes that are compared with one another: pairs take memory.
    """

    confidence: float = 0.25
    iou: float = 0.7
    max_detections: int = 300
    candidates: int = 30_000


@dataclass(frozen=True, kw_only=True)
class Boxes:
    """What is seen in one frame, the surest first.

    `corners` are x1, y1, x2, y2 in pixels; of rotated boxes centre, width and height, the angle being the last column
    of `extra`. Else `extra` holds the task's own channels: mask coefficients or keypoints.
    """

    corners: Floats
    scores: Floats
    classes: npt.NDArray[np.int64]
    extra: Floats
    rotated: bool = False

    def __len__(self) -> int:
        return len(self.scores)

    def take(self, chosen: npt.NDArray[np.generic]) -> Boxes:
        """Return some of the boxes, by number or by mask."""
        return Boxes(
            corners=self.corners[chosen],
            scores=self.scores[chosen],
            classes=self.classes[chosen],
            extra=self.extra[chosen],
            rotated=self.rotated,
        )


def from_raw(outputs: Sequence[npt.NDArray[np.generic]], head: Head, thresholds: Thresholds) -> list[Boxes]:
    """Return the boxes of every frame of a batch, from a head's raw outputs."""
    if head.task == "Classify":
        raise ValueError("a classifier has no boxes")
    return [_of_frame(frame.astype(np.float64), head, thresholds) for frame in outputs[0]]


def _of_frame(frame: Floats, head: Head, thresholds: Thresholds) -> Boxes:
    found = _rows(frame, head) if head.end_to_end else _anchors(frame, head)
    found = found.take(found.scores.astype(np.float32) > np.float32(thresholds.confidence))  # as clients compare
    found = found.take(np.argsort(-found.scores, kind="stable")[: thresholds.candidates])
    if not head.end_to_end:
        found = found.take(_kept(found, thresholds.iou))
    return found.take(np.arange(min(len(found), thresholds.max_detections)))


def _rows(frame: Floats, head: Head) -> Boxes:
    return Boxes(
        corners=frame[:, :BOX],
        scores=frame[:, BOX],
        classes=frame[:, BOX + 1].astype(np.int64),
        extra=frame[:, END_TO_END_ROW:],
        rotated=head.task == "OBB",
    )


def _anchors(frame: Floats, head: Head) -> Boxes:
    boxes, scores, extra = np.split(frame, (BOX, BOX + head.classes))
    return Boxes(
        corners=boxes.T if head.task == "OBB" else corners_of(boxes.T),
        scores=scores.max(axis=0),
        classes=scores.argmax(axis=0).astype(np.int64),
        extra=extra.T,
        rotated=head.task == "OBB",
    )


def corners_of(centred: Floats) -> Floats:
    """Return corners of boxes given by centre, width and height."""
    half = centred[:, 2:] / 2
    return np.concatenate([centred[:, :2] - half, centred[:, :2] + half], axis=1)


def _kept(found: Boxes, limit: float) -> npt.NDArray[np.bool_]:
    """Return which boxes stay: greedily, or where they are rotated whatever no surer box overlaps, kept or not."""
    same = found.classes[:, None] == found.classes[None, :]
    overlapping = same & (overlaps(found, found) > limit)
    stays = np.ones(len(found), bool)
    for index in range(1, len(found)):
        surer = overlapping[:index, index]
        stays[index] = not (surer if found.rotated else surer & stays[:index]).any()
    return stays


def overlaps(one: Boxes, other: Boxes) -> Floats:
    """Return how much every box of one overlaps every box of the other, 0 to 1."""
    return probabilistic_iou(one, other) if one.rotated else iou(one.corners, other.corners)


def iou(one: Floats, other: Floats) -> Floats:
    """Return intersection over union of every box of one with every box of the other, by corners."""
    low = np.maximum(one[:, None, :2], other[None, :, :2])
    high = np.minimum(one[:, None, 2:], other[None, :, 2:])
    common = np.clip(high - low, 0, None).prod(axis=2)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (one, other)]
    union = areas[0][:, None] + areas[1][None, :] - common
    shared: Floats = np.divide(common, union, out=np.zeros_like(common), where=union > 0)
    return shared


def probabilistic_iou(one: Boxes, other: Boxes) -> Floats:
    """Return the overlap of rotated boxes taken as Gaussians (arXiv 2106.06072)."""
    ours, theirs = _covariance(one), _covariance(other)
    a, b, c = (left[:, None] + right[None, :] for left, right in zip(ours, theirs, strict=True))
    dx, dy = (one.corners[:, None, axis] - other.corners[None, :, axis] for axis in (0, 1))
    spread = a * b - c**2
    alone = [np.clip(part[0] * part[1] - part[2] ** 2, 0, None) for part in (ours, theirs)]
    distance = (
        0.25 * (a * dy**2 + b * dx**2) / (spread + EPSILON)
        - 0.5 * c * dx * dy / (spread + EPSILON)
        + 0.5 * np.log(spread / (4 * np.sqrt(alone[0][:, None] * alone[1][None, :]) + EPSILON) + EPSILON)
    )
    return 1 - np.sqrt(1 - np.exp(-np.clip(distance, EPSILON, 100)) + EPSILON)


def _covariance(found: Boxes) -> tuple[Floats, Floats, Floats]:
    """A uniform distribution over the box: its variances along its own sides, turned by its angle."""
    along, across = found.corners[:, 2] ** 2 / 12, found.corners[:, 3] ** 2 / 12
    cos, sin = np.cos(found.extra[:, -1]), np.sin(found.extra[:, -1])
    return along * cos**2 + across * sin**2, along * sin**2 + across * cos**2, (along - across) * cos * sin

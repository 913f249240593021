"""Does a candidate see what its reference sees: boxes matched frame by frame, and mAP where labels are given.

Nothing here knows what runs a model: a detector is a function from frames to boxes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from model_repo_builder.boxes import Boxes, iou, overlaps

if TYPE_CHECKING:
    import numpy.typing as npt

    from model_repo_builder.boxes import Floats

Frames: TypeAlias = "npt.NDArray[np.generic]"
Detector: TypeAlias = Callable[[Frames], Sequence[Boxes]]
"""Takes frames (N, …) as the model does, gives the boxes of each."""
IOU_STEPS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
"""COCO's overlaps: 0.50, 0.55, … 0.95."""
RECALL_STEPS = np.linspace(0, 1, 101)
FEWEST_OBJECTS, MOST_OBJECTS = 5, 50
NEVER = float("inf")


@dataclass(frozen=True, kw_only=True)
class Bars:
    """What a candidate must reach.

    `box_iou` is the overlap at which two boxes are one; `score_slack` is how far scores may differ, and so how near
    to the threshold a box must be to be missing without harm; `lost_share` how many of the others may be missing, and
    `apart_share` of how many the scores may differ by more.
    """

    confidence: float = 0.25
    box_iou: float = 0.9
    score_slack: float = 0.05
    lost_share: float = 0.01
    apart_share: float = 0.0
    map_drop: float = 0.01


@dataclass(frozen=True, kw_only=True)
class FrameAgreement:
    """One frame: boxes of both, pairs of them, and who is left over though sure enough not to be."""

    index: int
    reference: Boxes
    candidate: Boxes
    pairs: tuple[tuple[int, int], ...]
    lost: tuple[int, ...]
    invented: tuple[int, ...]
    lowest_iou: float
    score_gap: float
    apart: int

    def badness(self) -> tuple[int, float, float]:
        """Return what worse frames have more of."""
        return len(self.lost) + len(self.invented), 1 - self.lowest_iou, self.score_gap


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """All frames together."""

    frames: tuple[FrameAgreement, ...]
    bars: Bars

    @property
    def boxes(self) -> int:
        """Return how many boxes the reference sees."""
        return sum(len(frame.reference) for frame in self.frames)

    @property
    def stray(self) -> int:
        """Return how many sure boxes only one of the two sees."""
        return sum(len(frame.lost) + len(frame.invented) for frame in self.frames)

    @property
    def apart(self) -> int:
        """Return how many boxes both see with scores that differ by more than is allowed."""
        return sum(frame.apart for frame in self.frames)

    @property
    def lowest_iou(self) -> float:
        """Return the smallest overlap of a pair; 1 where there is none."""
        return min((frame.lowest_iou for frame in self.frames), default=1.0)

    @property
    def score_gap(self) -> float:
        """Return the largest difference of a pair's scores."""
        return max((frame.score_gap for frame in self.frames), default=0.0)

    def worst(self, count: int) -> list[FrameAgreement]:
        """Return the frames that differ most, the worst first."""
        return sorted(self.frames, key=FrameAgreement.badness, reverse=True)[:count]

    def failings(self) -> list[str]:
        """Return in words what misses a bar; empty where all is well."""
        if not self.boxes:
            return ["the reference sees no box in any frame: there is nothing to compare"]
        allowed = self.bars.lost_share * self.boxes
        told = []
        if self.stray > allowed:
            told.append(f"{self.stray} of {self.boxes} boxes are seen by one of the two only, allowed {allowed:.1f}")
        if self.apart > (few := self.bars.apart_share * self.boxes):
            told.append(
                f"scores of {self.apart} boxes differ by up to {self.score_gap:.3f}, allowed "
                f"{self.bars.score_slack:g}" + (f", and more of {few:.1f}" if few else "")
            )
        return told

    def sentence(self) -> str:
        """Return it in words."""
        return (
            f"{self.boxes} boxes in {len(self.frames)} frames: {self.stray} seen by one only, "
            f"lowest IoU {self.lowest_iou:.3f}, scores within {self.score_gap:.3g}"
        )


def agree(reference: Detector, candidate: Detector, frames: Frames, bars: Bars | None = None) -> Agreement:
    """Compare two detectors frame by frame; both are asked for boxes from `bars.confidence` on."""
    told = bars or Bars()
    seen = zip(reference(frames), candidate(frames), strict=True)
    return Agreement(
        frames=tuple(compared(index, one, other, told) for index, (one, other) in enumerate(seen)), bars=told
    )


def compared(index: int, reference: Boxes, candidate: Boxes, bars: Bars) -> FrameAgreement:
    """Compare what two detectors see in one frame."""
    common = overlaps(reference, candidate)
    pairs = matched(common, reference.classes, candidate.classes, bars.box_iou)
    gaps = [abs(float(reference.scores[a] - candidate.scores[b])) for a, b in pairs]
    return FrameAgreement(
        index=index,
        reference=reference,
        candidate=candidate,
        pairs=tuple(pairs),
        lost=_sure(reference, {a for a, _ in pairs}, bars),
        invented=_sure(candidate, {b for _, b in pairs}, bars),
        lowest_iou=min((float(common[a, b]) for a, b in pairs), default=1.0),
        score_gap=max(gaps, default=0.0),
        apart=sum(gap > bars.score_slack for gap in gaps),
    )


def matched(
    common: Floats, one: npt.NDArray[np.int64], other: npt.NDArray[np.int64], limit: float
) -> list[tuple[int, int]]:
    """Pair boxes of one class, the largest overlap first; each is in one pair at most."""
    good = np.argwhere((common >= limit) & (one[:, None] == other[None, :]))
    order = sorted(map(tuple, good.tolist()), key=lambda pair: (-common[pair], pair))
    pairs: list[tuple[int, int]] = []
    for a, b in order:
        if all(a != taken and b != held for taken, held in pairs):
            pairs.append((a, b))
    return sorted(pairs)


def _sure(boxes: Boxes, paired: set[int], bars: Bars) -> tuple[int, ...]:
    limit = bars.confidence + bars.score_slack
    return tuple(index for index in range(len(boxes)) if index not in paired and boxes.scores[index] >= limit)


def busy(frames: Frames, seen: Sequence[Boxes]) -> Frames:
    """Return the frames with 5 to 50 objects: fewer prove nothing, more are noise that a model takes for objects."""
    chosen = [index for index, boxes in enumerate(seen) if FEWEST_OBJECTS <= len(boxes) <= MOST_OBJECTS]
    return frames[chosen]


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What is to be seen in one frame: corners in pixels, and classes."""

    corners: Floats
    classes: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Precision:
    """Mean average precision over the classes that are labelled."""

    map50: float
    map50_95: float


def mean_average_precision(seen: Sequence[Boxes], labels: Sequence[Labels]) -> Precision:
    """Return COCO's mAP; ask the detector with a low confidence (0.001), or the curve is cut short."""
    kinds = sorted({int(kind) for frame in labels for kind in frame.classes})
    if not kinds:
        raise ValueError("no frame has a label: mAP says nothing")
    table = np.array([[_average_precision(seen, labels, kind, step) for step in IOU_STEPS] for kind in kinds])
    return Precision(float(table[:, 0].mean()), float(table.mean()))


def _average_precision(seen: Sequence[Boxes], labels: Sequence[Labels], kind: int, limit: float) -> float:
    total = sum(int((frame.classes == kind).sum()) for frame in labels)
    scored: list[tuple[float, bool]] = []
    for boxes, frame in zip(seen, labels, strict=True):
        scored += _hits(boxes.take(boxes.classes == kind), frame.corners[frame.classes == kind], limit)
    scored.sort(key=lambda pair: -pair[0])
    right = np.cumsum([hit for _, hit in scored]) if scored else np.zeros(0)
    recall = right / total
    precision = right / np.arange(1, len(right) + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    index = np.searchsorted(recall, RECALL_STEPS)
    return float(np.append(envelope, 0.0)[index].mean())


def _hits(boxes: Boxes, wanted: Floats, limit: float) -> list[tuple[float, bool]]:
    """Give each box, the surest first, the free label that it overlaps most."""
    free = np.ones(len(wanted), bool)
    common = iou(boxes.corners, wanted)
    told = []
    for index in np.argsort(-boxes.scores, kind="stable"):
        row = np.where(free, common[index], -1.0)
        best = int(row.argmax()) if len(row) else -1
        hit = best >= 0 and row[best] >= limit
        if hit:
            free[best] = False
        told.append((float(boxes.scores[index]), bool(hit)))
    return told


def drop_failing(before: Precision, after: Precision, bars: Bars) -> str | None:
    """Return in words that too much mAP50-95 was lost, or None."""
    drop = before.map50_95 - after.map50_95
    if drop <= bars.map_drop:
        return None
    return f"mAP50-95 fell from {before.map50_95:.4f} to {after.map50_95:.4f}, allowed {bars.map_drop:g}"

"""The gates: who differs is told apart from who is nearly the same, and mAP is COCO's."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from model_repo_builder import gate_report
from model_repo_builder.boxes import Boxes, Thresholds, from_raw, iou
from model_repo_builder.gates import (
    Agreement,
    Bars,
    Labels,
    Precision,
    agree,
    busy,
    drop_failing,
    mean_average_precision,
)
from model_repo_builder.heads import Head

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = np.zeros((3, 3, 64, 64), np.float32)


def some(seed: int, count: int = 8) -> Boxes:
    """Boxes on a grid, so that none overlaps another."""
    rng = np.random.default_rng(seed)
    corner = np.array([[(index % 4) * 100.0, (index // 4) * 100.0] for index in range(count)])
    side = rng.uniform(40, 80, (count, 2))
    return Boxes(
        corners=np.concatenate([corner, corner + side], axis=1),
        scores=np.sort(rng.uniform(0.5, 0.9, count))[::-1],
        classes=rng.integers(0, 2, count),
        extra=np.zeros((count, 0)),
    )


SEEN = [some(seed) for seed in range(3)]


def compared(candidate: list[Boxes], bars: Bars | None = None) -> Agreement:
    return agree(lambda _: SEEN, lambda _: candidate, FRAMES, bars)


def test_a_model_agrees_with_itself() -> None:
    seen = compared(SEEN)
    assert seen.failings() == []
    assert (seen.boxes, seen.stray, seen.lowest_iou, seen.score_gap) == (24, 0, 1.0, 0.0)
    assert "24 boxes in 3 frames" in seen.sentence()


def moved(boxes: Boxes, pixels: float) -> Boxes:
    return replace(boxes, corners=boxes.corners + pixels)


def test_a_pixel_is_not_another_box_and_ten_are() -> None:
    assert compared([moved(boxes, 0.5) for boxes in SEEN]).failings() == []
    assert "48 of 24 boxes" in compared([moved(boxes, 10) for boxes in SEEN]).failings()[0]


@pytest.mark.parametrize("harm", ["lost", "invented", "another class", "scores"])
def test_each_harm_is_seen(harm: str) -> None:
    first, *rest = SEEN
    harmed = {
        "lost": first.take(np.arange(1, 8)),
        "invented": some(0, 9),
        "another class": replace(first, classes=1 - first.classes),
        "scores": replace(first, scores=first.scores - 0.1),
    }[harm]
    seen = compared([harmed, *rest])
    assert seen.failings()
    assert seen.worst(1)[0].index == 0


def test_a_box_near_the_threshold_may_come_and_go() -> None:
    """Its score is within the slack of the confidence: a rounding error decides on which side it is."""
    faint = replace(SEEN[0], scores=np.full(8, 0.29))
    assert agree(lambda _: [faint], lambda _: [faint.take(np.arange(4))], FRAMES).failings() == []


def test_nothing_seen_proves_nothing() -> None:
    none = [boxes.take(np.zeros(8, bool)) for boxes in SEEN]
    assert "nothing to compare" in agree(lambda _: none, lambda _: none, FRAMES).failings()[0]


def test_only_busy_frames_are_chosen() -> None:
    seen = [some(0, 4), some(0, 5), some(0, 51)]
    assert len(busy(FRAMES, seen)) == 1


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10_000), st.floats(0.1, 0.9))
def test_what_suppression_leaves_does_not_overlap(seed: int, limit: float) -> None:
    rng = np.random.default_rng(seed)
    raw = np.concatenate([rng.uniform(20, 80, (2, 50)), rng.uniform(10, 40, (2, 50)), rng.random((1, 50))])
    head = Head(task="Detect", classes=1)
    (found,) = from_raw([raw[np.newaxis]], head, Thresholds(confidence=0.1, iou=limit))
    overlaps = iou(found.corners, found.corners) - np.eye(len(found))
    assert (overlaps <= limit + 1e-9).all()
    assert found.scores.max() == pytest.approx(raw[4].max())


LABELS = [Labels(corners=boxes.corners, classes=boxes.classes) for boxes in SEEN]


def test_a_perfect_detector_has_a_map_of_one() -> None:
    assert mean_average_precision(SEEN, LABELS) == Precision(1.0, 1.0)


def test_half_of_the_objects_is_half_of_the_map() -> None:
    """Every second object of one class found, none invented: recall ends at a half, so half of the curve is zero."""
    seen = [replace(some(1, 8), classes=np.zeros(8, np.int64))]
    labels = [Labels(corners=seen[0].corners, classes=seen[0].classes)]
    got = mean_average_precision([seen[0].take(np.arange(0, 8, 2))], labels)
    assert got.map50 == pytest.approx(0.5, abs=0.01)


def test_looser_boxes_lose_the_strict_steps_only() -> None:
    """An IoU of about 0.75 counts from 0.50 to 0.70 or 0.75."""
    wide = [replace(boxes, corners=_grown(boxes.corners, 4 / 3)) for boxes in SEEN]
    got = mean_average_precision(wide, LABELS)
    assert got.map50 == 1.0
    assert got.map50_95 == pytest.approx(0.55, abs=0.06)


def _grown(corners: Any, factor: float) -> Any:
    grown = corners.copy()
    grown[:, 2] = corners[:, 0] + (corners[:, 2] - corners[:, 0]) * factor
    return grown


def test_what_is_invented_costs_precision() -> None:
    sure = replace(moved(SEEN[0], 500), scores=np.full(8, 0.99))
    both = Boxes(
        corners=np.concatenate([sure.corners, SEEN[0].corners]),
        scores=np.concatenate([sure.scores, SEEN[0].scores]),
        classes=np.concatenate([sure.classes, SEEN[0].classes]),
        extra=np.zeros((16, 0)),
    )
    assert mean_average_precision([both], LABELS[:1]).map50 < 0.8


def test_a_drop_is_told_with_both_figures() -> None:
    assert drop_failing(Precision(0.9, 0.5), Precision(0.9, 0.495), Bars()) is None
    assert drop_failing(Precision(0.9, 0.5), Precision(0.9, 0.48), Bars()) == (
        "mAP50-95 fell from 0.5000 to 0.4800, allowed 0.01"
    )
    with pytest.raises(ValueError, match="no frame has a label"):
        mean_average_precision(SEEN, [])


def test_the_worst_frames_are_drawn(tmp_path: Path) -> None:
    seen = compared([SEEN[0], moved(SEEN[1], 30), SEEN[2]])
    files = gate_report.write(tmp_path / "report", seen, lambda _: np.zeros((200, 400, 3), np.uint8), worst=2)
    assert [path.name for path in files][:2] == ["gate.json", "frame-0001.png"]
    page = json.loads(files[0].read_text())
    assert (page["boxes"], page["frames"][1]["lost"]) == (24, 8)
    with Image.open(files[1]) as drawn:
        colours = {colour for _, colour in drawn.getcolors(100_000)}
    assert {gate_report.LOST, gate_report.INVENTED} <= colours
    assert gate_report.SAME not in colours

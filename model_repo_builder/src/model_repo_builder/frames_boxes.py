"""The last part of the graph of frames: a head's raw outputs to a fixed number of boxes, the surest first."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from onnx import TensorProto

from model_repo_builder.heads import BOX, END_TO_END_ROW

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_repo_builder.graph_writer import GraphWriter
    from model_repo_builder.heads import Head

ROWS = 300
"""Boxes in an answer, at most; the rest of the rows are zeros."""
CANDIDATES = 1024
"""The surest anchors of a frame that may become boxes: 50 objects with 20 anchors each."""
ROUNDS = 16
"""Rounds of suppression: a box at the end of a longer chain, each suppressing the next, may be judged wrongly."""
EPSILON = 1e-7
FAR = 1e9
Output: TypeAlias = tuple[str, int, tuple[int, ...]]
X, Y, SIZE, SAME = "x", "y", "size", "same"
"""What becomes of a channel on its way back to the picture's pixels."""
CORNERS = (X, Y, X, Y)
CENTRED = (X, Y, SIZE, SIZE)


def write(graph: GraphWriter, head: Head, ends: Sequence[str], shapes: Sequence[tuple[int, ...]]) -> list[Output]:
    """Write the nodes after a raw head's outputs; return the graph's own in the order of their names."""
    if head.task == "Classify":
        graph.cast(ends[0], to="scores")
        return [("scores", TensorProto.FLOAT, shapes[0])]
    raw = graph.cast(ends[0])
    if head.end_to_end:
        rows = _Rows(graph, head, graph.op("Transpose", raw, perm=[0, 2, 1]), min(ROWS, shapes[0][0]))
        scores, classes, channels = rows.end_to_end()
    else:
        rows = _Rows(graph, head, raw, min(ROWS, shapes[0][1]))
        scores, classes, channels = rows.suppressed(min(CANDIDATES, shapes[0][1]))
    outputs = rows.told(scores, classes, channels)
    if head.task == "Segment":
        graph.cast(ends[1], to="prototypes")
        outputs.append(("prototypes", TensorProto.FLOAT, shapes[1]))
    return sorted(outputs)


class _Rows:
    """The rows of an answer; `raw` has its channels on axis 1 and its anchors on axis 2."""

    def __init__(self, graph: GraphWriter, head: Head, raw: str, count: int) -> None:
        self._graph, self._head, self._raw, self._count = graph, head, raw, count
        self._extra = head.extra()

    def end_to_end(self) -> tuple[str, str, str]:
        """Choose by score alone: such a head leaves one box of each object."""
        g = self._graph
        scores = g.reshape(g.part(self._raw, BOX, BOX + 1, 1), [0, -1])
        classes = g.reshape(g.part(self._raw, BOX + 1, END_TO_END_ROW, 1), [0, -1])
        best, places = g.top(self._above(scores), self._count, 1)
        channels = self._gathered(self._channels(END_TO_END_ROW), places)
        return best, g.op("GatherElements", classes, places, axis=1), channels

    def suppressed(self, candidates: int) -> tuple[str, str, str]:
        """Choose candidates by score, then drop each that a surer one of its class overlaps."""
        g, first = self._graph, BOX + self._head.classes
        scores = g.part(self._raw, BOX, first, 1)
        classes = g.cast(g.op("ArgMax", scores, axis=1, keepdims=0))
        best, places = g.top(self._above(g.largest(scores, 1)), candidates, 1)
        channels = self._gathered(self._channels(first), places)
        classes = g.op("GatherElements", classes, places, axis=1)
        if self._head.task != "OBB":
            channels = self._with_corners(channels)
        kept = g.op("Mul", best, self._kept(best, classes, channels, candidates))
        final, order = g.top(kept, self._count, 1)
        return final, g.op("GatherElements", classes, order, axis=1), self._gathered(channels, order)

    def told(self, scores: str, classes: str, channels: str) -> list[Output]:
        """Write the outputs: rows beyond `max_detections` and below the confidence are zeros."""
        g, count = self._graph, self._count
        numbers = g.floats(np.arange(count)[np.newaxis])
        wanted = g.op("Less", numbers, g.cast("max_detections"))
        stays = g.cast(g.op("And", g.op("Greater", scores, g.floats(0)), wanted))
        total = g.op("MatMul", stays, g.floats(np.ones((count, 1))))
        g.cast(total, TensorProto.INT32, to="num_dets")
        g.op("Mul", scores, stays, to="scores")
        g.cast(g.op("Mul", classes, stays), TensorProto.INT32, to="classes")
        rotated = self._head.task == "OBB"
        kinds = (*(CENTRED if rotated else CORNERS), *self._extra_kinds())
        placed = g.op("Mul", self._placed(channels, kinds, clip=not rotated), g.reshape(stays, [0, 1, count]))
        rows = g.op("Transpose", placed, perm=[0, 2, 1])
        g.op("Slice", rows, g.whole([0]), g.whole([BOX]), g.whole([2]), to="boxes")
        shapes: list[Output] = [
            ("boxes", TensorProto.FLOAT, (count, BOX)),
            ("classes", TensorProto.INT32, (count,)),
            ("num_dets", TensorProto.INT32, (1,)),
            ("scores", TensorProto.FLOAT, (count,)),
        ]
        return [*shapes, *self._extra_outputs(rows)]

    def _extra_outputs(self, rows: str) -> list[Output]:
        dims = {"Segment": (self._extra,), "Pose": self._head.keypoints, "OBB": ()}.get(self._head.task)
        if dims is None:
            return []
        name = {"Segment": "mask_coefficients", "Pose": "keypoints", "OBB": "angles"}[self._head.task]
        channels = self._graph.part(rows, BOX, BOX + self._extra, 2)
        self._graph.reshape(channels, [0, self._count, *dims], to=name)
        return [(name, TensorProto.FLOAT, (self._count, *dims))]

    def _above(self, scores: str) -> str:
        """Make zero of every score that is not above the confidence."""
        above = self._graph.op("Greater", scores, "confidence")
        return self._graph.op("Mul", scores, self._graph.cast(above))

    def _channels(self, first: int) -> str:
        """Return the box and the task's own channels, without scores."""
        boxes = self._graph.part(self._raw, 0, BOX, 1)
        if not self._extra:
            return boxes
        return self._graph.op("Concat", boxes, self._graph.part(self._raw, first, first + self._extra, 1), axis=1)

    def _gathered(self, channels: str, places: str) -> str:
        """Pick anchors out of all channels; adding zeros repeats the places for each channel."""
        g = self._graph
        index = g.op("Add", g.reshape(places, [0, 1, -1]), g.whole(np.zeros((1, BOX + self._extra, 1))))
        return g.op("GatherElements", channels, index, axis=2)

    def _with_corners(self, channels: str) -> str:
        g = self._graph
        centre, size = g.part(channels, 0, 2, 1), g.part(channels, 2, BOX, 1)
        half = g.op("Mul", size, g.floats(0.5))
        corners = [g.op("Sub", centre, half), g.op("Add", centre, half)]
        rest = [g.part(channels, BOX, BOX + self._extra, 1)] if self._extra else []
        return g.op("Concat", *corners, *rest, axis=1)

    def _kept(self, scores: str, classes: str, channels: str, count: int) -> str:
        """Return 1 for each candidate that stays, 0 for the others; candidates are sorted by score."""
        g = self._graph
        present = g.cast(g.op("Greater", scores, g.floats(0)))
        same = g.op("Equal", g.reshape(classes, [0, -1, 1]), g.reshape(classes, [0, 1, -1]))
        surer = g.flags(np.triu(np.ones((1, count, count)), 1))
        pairs = g.op("And", g.op("And", same, surer), self._overlapping(channels))
        suppresses = g.cast(pairs)
        kept = row = g.reshape(present, [0, 1, -1])
        for _ in range(1 if self._head.task == "OBB" else ROUNDS):
            hits = g.op("MatMul", kept, suppresses)
            kept = g.op("Mul", row, g.cast(g.op("Less", hits, g.floats(0.5))))
        return g.reshape(kept, [0, -1])

    def _overlapping(self, channels: str) -> str:
        """Return which pairs overlap more than `iou` allows."""
        g = self._graph
        limit = g.reshape("iou", [0, 1, 1])
        if self._head.task == "OBB":
            return g.op("Greater", self._probabilistic(channels), limit)
        x1, y1, x2, y2 = (g.part(channels, index, index + 1, 1) for index in range(BOX))
        width, height = self._common(x1, x2), self._common(y1, y2)
        common = g.op("Mul", width, height)
        area = g.op("Mul", g.op("Sub", x2, x1), g.op("Sub", y2, y1))
        union = g.op("Sub", g.op("Add", _down(g, area), area), common)
        union = g.op("Max", union, g.floats(0))  # of boxes turned inside out, which overlap nothing
        return g.op("Greater", common, g.op("Mul", union, limit))

    def _common(self, low: str, high: str) -> str:
        g = self._graph
        first = g.op("Max", _down(g, low), low)
        last = g.op("Min", _down(g, high), high)
        return g.op("Max", g.op("Sub", last, first), g.floats(0))

    def _probabilistic(self, channels: str) -> str:
        """Return the overlap of rotated boxes taken as Gaussians, as the client computes it (arXiv 2106.06072)."""
        g = self._graph
        x, y, width, height, angle = (g.part(channels, index, index + 1, 1) for index in range(BOX + 1))
        own = self._covariance(width, height, angle)
        a, b, c = (g.op("Add", _down(g, part), part) for part in own)
        dx, dy = (g.op("Sub", _down(g, part), part) for part in (x, y))
        eps, half, quarter = g.floats(EPSILON), g.floats(0.5), g.floats(0.25)
        spread = g.op("Sub", g.op("Mul", a, b), g.op("Mul", c, c))
        far = g.op("Add", g.chain("Mul", a, dy, dy), g.chain("Mul", b, dx, dx))
        turned = g.chain("Mul", c, dx, dy, half)
        moved = g.op("Div", g.op("Sub", g.op("Mul", far, quarter), turned), g.op("Add", spread, eps))
        alone = g.op("Sub", g.op("Mul", own[0], own[1]), g.op("Mul", own[2], own[2]))
        alone = g.op("Max", alone, g.floats(0))
        both = g.op("Sqrt", g.op("Mul", _down(g, alone), alone))
        ratio = g.op("Div", spread, g.op("Add", g.op("Mul", both, g.floats(4)), eps))
        shape = g.op("Mul", g.op("Log", g.op("Add", ratio, eps)), half)
        distance = g.op("Clip", g.op("Add", moved, shape), eps, g.floats(100))
        apart = g.op("Sub", g.floats(1 + EPSILON), g.op("Exp", g.op("Neg", distance)))
        return g.op("Sub", g.floats(1), g.op("Sqrt", apart))

    def _covariance(self, width: str, height: str, angle: str) -> tuple[str, str, str]:
        g = self._graph
        twelfth = g.floats(1 / 12)
        along, across = (g.chain("Mul", side, side, twelfth) for side in (width, height))
        cos, sin = g.op("Cos", angle), g.op("Sin", angle)
        return (
            g.op("Add", g.chain("Mul", along, cos, cos), g.chain("Mul", across, sin, sin)),
            g.op("Add", g.chain("Mul", along, sin, sin), g.chain("Mul", across, cos, cos)),
            g.chain("Mul", g.op("Sub", along, across), cos, sin),
        )

    def _extra_kinds(self) -> tuple[str, ...]:
        if self._head.task == "Pose" and self._head.keypoints:
            count, dims = self._head.keypoints
            return (X, Y, SAME)[:dims] * count
        return (SAME,) * self._extra

    def _placed(self, channels: str, kinds: tuple[str, ...], *, clip: bool) -> str:
        """Bring channels back to the picture's own pixels: (value - corner) / scale, then into the picture."""
        g, rows = self._graph, len(kinds)
        corner = g.reshape(g.op("MatMul", "geometry", g.floats(_picks(kinds, x=1, y=2))), [0, rows, 1])
        scaled = np.array([kind != SAME for kind in kinds], np.float32)
        scale = g.op("MatMul", "geometry", g.floats(np.outer([1, 0, 0, 0, 0], scaled)))
        scale = g.reshape(g.op("Add", scale, g.floats(1 - scaled[np.newaxis])), [0, rows, 1])
        value = g.op("Div", g.op("Sub", channels, corner), scale)
        if not clip:
            return value
        bounded = np.array([[kind in {X, Y} for kind in kinds]], np.float32)
        limit = g.op("MatMul", "geometry", g.floats(_picks(kinds, x=3, y=4)))
        limit = g.reshape(g.op("Add", limit, g.floats((1 - bounded) * FAR)), [0, rows, 1])
        least = g.floats(np.where(bounded > 0, 0.0, -FAR).reshape(1, rows, 1))
        return g.op("Min", g.op("Max", value, least), limit)


def _down(graph: GraphWriter, row: str) -> str:
    """Turn a row (N, 1, anchors) into a column, so that the two make all pairs."""
    return graph.reshape(row, [0, -1, 1])


def _picks(kinds: tuple[str, ...], *, x: int, y: int) -> list[list[float]]:
    """Return the matrix that picks one of the geometry's five numbers for each channel, or none."""
    chosen = [{X: x, Y: y}.get(kind, -1) for kind in kinds]
    return [[float(row == want) for want in chosen] for row in range(5)]

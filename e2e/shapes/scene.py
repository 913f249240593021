"""One labelled picture of coloured shapes, as a pure function of a seed and an index."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import cv2
import numpy as np

from e2e.shapes import clutter
from e2e.shapes.geometry import CLASS_NAMES, SHAPES, Outline, Points, bounds, place

if TYPE_CHECKING:
    from numpy.typing import NDArray

MIN_OBJECTS, MAX_OBJECTS = 5, 50
MIN_SIDE, MAX_SIDE = 16.0, 200.0  # px of a shape's longer side, where the picture's longer side is 640
ASPECTS = ((1, 1), (4, 3), (3, 4), (3, 2), (16, 9), (9, 16))
LONG_SIDES = (0.75, 1.0, 1.25)  # times imgsz

_MIN_VISIBLE = 0.8  # of a shape's area, once later shapes lie on it
_MIN_CONTRAST = 80.0  # Euclidean distance in BGR between a shape and what it covers
_TRIES, _SHRINK = 40, 0.9
_SUBPIXEL_BITS = 4


@dataclass(frozen=True)
class Scene:
    """A picture (uint8, HWC, BGR), its boxes (float32, N x 4, xyxy in px) and their classes (int64, N)."""

    image: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]


@dataclass
class _Canvas:
    """The picture in the making, who owns each pixel, and how much of each shape must and does show."""

    image: NDArray[np.uint8]
    owner: NDArray[np.int16]
    areas: list[int] = field(default_factory=list)
    visible: list[int] = field(default_factory=list)

    @property
    def scale(self) -> float:
        return float(max(self.owner.shape)) / 640


def draw_scene(seed: int, index: int, *, imgsz: int = 640) -> Scene:
    """Draw picture `index` of the set `seed`; its longer side is 0.75, 1 or 1.25 times `imgsz` px."""
    rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence([seed, index])))
    height, width = _size(rng, imgsz)
    image = clutter.background(rng, height, width)
    clutter.distract(rng, image)
    canvas = _Canvas(image, np.full((height, width), -1, np.int16))
    wanted = rng.integers(0, len(CLASS_NAMES), rng.integers(MIN_OBJECTS, MAX_OBJECTS + 1))
    placed = [(kind, box) for kind in wanted if (box := _add(rng, canvas, SHAPES[CLASS_NAMES[kind]])) is not None]
    return Scene(
        image=clutter.weather(rng, canvas.image),
        boxes=np.array([box for _, box in placed], np.float32).reshape(-1, 4),
        classes=np.array([kind for kind, _ in placed], np.int64),
    )


def _size(rng: np.random.Generator, imgsz: int) -> tuple[int, int]:
    across, down = ASPECTS[rng.integers(len(ASPECTS))]
    long_side = LONG_SIDES[rng.integers(len(LONG_SIDES))] * imgsz
    return round(long_side * down / max(across, down)), round(long_side * across / max(across, down))


def _add(rng: np.random.Generator, canvas: _Canvas, shape: Outline) -> Points | None:
    """Place one shape, smaller at each failed try; None when there is no room for it."""
    height, width = canvas.owner.shape
    side = math.exp(rng.uniform(math.log(MIN_SIDE), math.log(MAX_SIDE))) * canvas.scale
    for _ in range(_TRIES):
        outline = place(shape, angle=rng.uniform(0, 2 * math.pi), side=side)
        _, _, w, h = bounds(outline)
        at = rng.uniform(0, 1, 2) * (width - w, height - h)
        moved = tuple(contour + at for contour in outline)
        if _draw(rng, canvas, moved):
            return bounds(moved)
        side = max(side * _SHRINK, MIN_SIDE * canvas.scale)
    return None


def _draw(rng: np.random.Generator, canvas: _Canvas, outline: Outline) -> bool:
    """Paint the outline unless it would hide too much of an earlier shape."""
    window = _window(outline, canvas.owner.shape)
    alpha = _rasterise(outline, window)
    solid = alpha > 127
    owner = canvas.owner[window]
    hidden = np.bincount(owner[solid] + 1, minlength=len(canvas.areas) + 1)[1:]
    if any(v - h < _MIN_VISIBLE * a for v, h, a in zip(canvas.visible, hidden, canvas.areas, strict=True) if h):
        return False
    canvas.visible = [v - int(h) for v, h in zip(canvas.visible, hidden, strict=True)]
    owner[solid] = len(canvas.areas)
    area = int(solid.sum())
    canvas.areas.append(area)
    canvas.visible.append(area)
    _paint(rng, canvas.image[window], alpha)
    return True


def _window(outline: Outline, shape: tuple[int, ...]) -> tuple[slice, slice]:
    x1, y1, x2, y2 = bounds(outline)
    rows = slice(max(0, math.floor(y1)), min(shape[0], math.ceil(y2)))
    return rows, slice(max(0, math.floor(x1)), min(shape[1], math.ceil(x2)))


def _rasterise(outline: Outline, window: tuple[slice, slice]) -> NDArray[np.uint8]:
    """Return the outline's coverage (0 to 255) within a window; OpenCV's coordinates name pixel centres, ours edges."""
    rows, columns = window
    origin = np.array([columns.start + 0.5, rows.start + 0.5])
    contours = [np.round((contour - origin) * (1 << _SUBPIXEL_BITS)).astype(np.int32) for contour in outline]
    alpha = np.zeros((rows.stop - rows.start, columns.stop - columns.start), np.uint8)
    cv2.fillPoly(alpha, contours, (255,), cv2.LINE_AA, _SUBPIXEL_BITS)
    return alpha


def _paint(rng: np.random.Generator, patch: NDArray[np.uint8], alpha: NDArray[np.uint8]) -> None:
    """Blend a colour that stands out from what it covers, lit from one side, in place."""
    colour = _standing_out(rng, np.array(cv2.mean(patch, alpha)[:3]))
    left, right = rng.uniform(-25, 25, 2).tolist()
    light = np.linspace(left, right, patch.shape[1], dtype=np.float32)[None, :, None]
    cover = alpha[..., None].astype(np.float32) * np.float32(rng.uniform(0.9, 1.0) / 255)
    patch[:] = np.clip(patch * (1 - cover) + (colour + light) * cover, 0, 255).astype(np.uint8)


def _standing_out(rng: np.random.Generator, covered: NDArray[np.float64]) -> NDArray[np.float32]:
    candidates = rng.uniform(0, 255, (8, 3))
    distance = np.linalg.norm(candidates - covered, axis=1)
    far_enough = np.flatnonzero(distance >= _MIN_CONTRAST)
    chosen = int(far_enough[0] if far_enough.size else distance.argmax())
    return np.asarray(candidates[chosen], np.float32)

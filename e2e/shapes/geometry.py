"""The seven shapes as outlines, and their tight boxes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Outline = tuple[Points, ...]  # closed contours, filled by the even-odd rule

_ARC_POINTS = 64
_RING_HOLE = 0.55  # inner radius ÷ outer radius
_STAR_WAIST = 0.42  # inner radius ÷ outer radius
_CROSS_ARM = 0.34  # half an arm's width ÷ half the cross's width
_CUT_CENTRE = 0.55  # of the circle that bites the crescent
_CUT_RADIUS = 0.80


def _arc(start: float, stop: float, *, radius: float = 1.0, centre_x: float = 0.0) -> Points:
    angles = np.linspace(start, stop, _ARC_POINTS)
    return np.stack([centre_x + radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _spokes(count: int, radii: tuple[float, ...] = (1.0,)) -> Points:
    angles = np.arange(count) * (2 * math.pi / count)
    radius = np.resize(radii, count)
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], axis=1)


def _cross() -> Points:
    a = _CROSS_ARM
    quarter = np.array([[1.0, -a], [1.0, a], [a, a]])
    turn = np.array([[0.0, 1.0], [-1.0, 0.0]])  # rows turn by 90°
    return np.concatenate([quarter @ np.linalg.matrix_power(turn, k) for k in range(4)])


def _crescent() -> Points:
    tip_x = (1 - _CUT_RADIUS**2 + _CUT_CENTRE**2) / (2 * _CUT_CENTRE)
    tip_y = math.sqrt(1 - tip_x**2)
    outer = math.atan2(tip_y, tip_x)
    inner = math.atan2(tip_y, tip_x - _CUT_CENTRE)
    bite = _arc(2 * math.pi - inner, inner, radius=_CUT_RADIUS, centre_x=_CUT_CENTRE)
    return np.concatenate([_arc(outer, 2 * math.pi - outer), bite])


_CIRCLE = _arc(0, 2 * math.pi)

SHAPES: dict[str, Outline] = {
    "circle": (_CIRCLE,),
    "ring": (_CIRCLE, _CIRCLE * _RING_HOLE),
    "square": (_spokes(4),),
    "triangle": (_spokes(3),),
    "star": (_spokes(10, (1.0, _STAR_WAIST)),),
    "cross": (_cross(),),
    "crescent": (_crescent(),),
}
CLASS_NAMES: tuple[str, ...] = tuple(SHAPES)


def bounds(outline: Outline) -> Points:
    """Return the tight box (x1, y1, x2, y2) of an outline."""
    points = np.concatenate(outline)
    return np.concatenate([points.min(axis=0), points.max(axis=0)])


def place(outline: Outline, *, angle: float, side: float) -> Outline:
    """Turn an outline by `angle` radians and scale it so that its box starts at 0, 0 and its longer side is `side`."""
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    turned = tuple(contour @ turn for contour in outline)
    x1, y1, x2, y2 = bounds(turned)
    scale = side / max(x2 - x1, y2 - y1)
    return tuple((contour - (x1, y1)) * scale for contour in turned)

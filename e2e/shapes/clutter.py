"""What the shapes lie on and under: gradients, clouds, stripes, lines, blobs and noise."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import cv2
import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from collections.abc import Callable

Image = NDArray[np.uint8]
Rng = np.random.Generator


def _colour(rng: Rng) -> NDArray[np.float32]:
    return rng.integers(0, 256, 3).astype(np.float32)


def _gradient(rng: Rng, height: int, width: int) -> NDArray[np.float32]:
    angle = rng.uniform(0, 2 * math.pi)
    rows = np.linspace(-0.5, 0.5, height, dtype=np.float32)[:, None] * math.sin(angle)
    columns = np.linspace(-0.5, 0.5, width, dtype=np.float32)[None, :] * math.cos(angle)
    mix = (rows + columns + 0.5).astype(np.float32)[..., None]
    return _colour(rng) * (1 - mix) + _colour(rng) * mix


def _cloud(rng: Rng, height: int, width: int) -> NDArray[np.float32]:
    cells = int(rng.integers(3, 12))
    coarse = rng.uniform(0, 255, (cells, cells, 3)).astype(np.float32)
    smooth: NDArray[np.float32] = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return smooth


def _flat(rng: Rng, height: int, width: int) -> NDArray[np.float32]:
    return np.broadcast_to(_colour(rng), (height, width, 3)).copy()


def background(rng: Rng, height: int, width: int) -> Image:
    """Paint the ground: flat, a gradient, or clouds, at a random strength."""
    painters: tuple[Callable[[Rng, int, int], NDArray[np.float32]], ...] = (_flat, _gradient, _cloud)
    ground = painters[rng.integers(len(painters))](rng, height, width)
    strength = rng.uniform(0.3, 1.0)
    return np.clip(ground * strength + _colour(rng) * (1 - strength), 0, 255).astype(np.uint8)


def _textured_patch(rng: Rng, image: Image) -> None:
    """Blend stripes or noise into a long rectangle: long, because a squarish one would be an unlabelled square."""
    height, width = image.shape[:2]
    long_side = int(rng.uniform(0.15, 0.6) * min(height, width))
    short_side = max(4, int(long_side / rng.uniform(2.0, 6.0)))
    w, h = (long_side, short_side) if rng.random() < 0.5 else (short_side, long_side)
    x, y = int(rng.integers(0, width - w)), int(rng.integers(0, height - h))
    if rng.random() < 0.5:
        rows, columns = np.mgrid[0:h, 0:w].astype(np.float32)
        angle, period = rng.uniform(0, math.pi), rng.uniform(4, 24)
        phase = (columns * math.cos(angle) + rows * math.sin(angle)) * (2 * math.pi / period)
        texture = _colour(rng) * (0.5 + 0.5 * np.sin(phase))[..., None]
    else:
        texture = rng.uniform(0, 255, (h, w, 3))
    patch = image[y : y + h, x : x + w]
    alpha = rng.uniform(0.2, 0.6)
    patch[:] = (patch * (1 - alpha) + texture * alpha).astype(np.uint8)


def _line(rng: Rng, image: Image) -> None:
    height, width = image.shape[:2]
    ends = rng.uniform(0, 1, (2, 2)) * (width, height)
    (x1, y1), (x2, y2) = ends.astype(int).tolist()
    cv2.line(image, (x1, y1), (x2, y2), _colour(rng).tolist(), int(rng.integers(1, 4)), cv2.LINE_AA)


def _amoeba(rng: Rng, image: Image) -> None:
    """Fill a blob whose radius wobbles by a third or more, so that it is none of the shapes."""
    height, width = image.shape[:2]
    angles = np.linspace(0, 2 * math.pi, 48, endpoint=False)
    waves = sum(math.sin(rng.uniform(0, 6.3)) * np.sin(k * angles + rng.uniform(0, 6.3)) for k in (2, 3, 4))
    wobble = rng.uniform(0.35, 0.6) * waves / max(float(np.abs(waves).max()), 1e-6)
    radius = rng.uniform(8, 60) * max(height, width) / 640 * (1 + wobble)
    centre = rng.uniform(0, 1, 2) * (width, height)
    points = np.stack([np.cos(angles), np.sin(angles)], axis=1) * radius[:, None] + centre
    cv2.fillPoly(image, [points.astype(np.int32)], _colour(rng).tolist(), cv2.LINE_AA)


def _sliver(rng: Rng, image: Image) -> None:
    """Fill an ellipse three times as long as wide, or longer."""
    height, width = image.shape[:2]
    long_axis = rng.uniform(10, 80) * max(height, width) / 640
    axes = (int(long_axis), max(1, int(long_axis / rng.uniform(3, 7))))
    x, y = (rng.uniform(0, 1, 2) * (width, height)).astype(int).tolist()
    cv2.ellipse(image, (x, y), axes, rng.uniform(0, 180), 0, 360, _colour(rng).tolist(), -1, cv2.LINE_AA)


def distract(rng: Rng, image: Image) -> None:
    """Draw patches, lines and blobs that carry no label, in place."""
    for painter, most in ((_textured_patch, 6), (_amoeba, 8), (_sliver, 6), (_line, 10)):
        for _ in range(rng.integers(0, most + 1)):
            painter(rng, image)


def weather(rng: Rng, image: Image) -> Image:
    """Put thin lines over everything, then blur a little or not, then add sensor noise."""
    for _ in range(rng.integers(0, 4)):
        _line(rng, image)
    if rng.random() < 0.25:
        image = cv2.GaussianBlur(image, (0, 0), rng.uniform(0.4, 0.9)).astype(np.uint8)
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(rng.uniform(0, 10))
    return np.clip(image + noise, 0, 255).astype(np.uint8)

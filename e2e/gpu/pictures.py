"""Pictures of the shapes set as an engine takes them, and their labels in its pixels."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt

SIZE = 640
GREY = 114


@dataclass(frozen=True)
class Pictures:
    """Frames (N, H, W, 3), RGB; for each its labels: class, x1, y1, x2, y2."""

    frames: npt.NDArray[np.uint8]
    labels: list[npt.NDArray[np.float64]]


def load(data: Path, split: str, count: int) -> Pictures:
    """Read the first `count` pictures of a split, letterboxed."""
    files = sorted((data / "images" / split).glob("*.jpg"))[:count]
    if not files:
        raise SystemExit(f"{data}/images/{split} holds no pictures: write them with python -m e2e.shapes.generate")
    read = [_letterboxed(path) for path in files]
    return Pictures(np.stack([frame for frame, _ in read]), [labels for _, labels in read])


def _letterboxed(path: Path) -> tuple[npt.NDArray[np.uint8], npt.NDArray[np.float64]]:
    import cv2

    picture = cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB)
    height, width = picture.shape[:2]
    scale = SIZE / max(height, width)
    fitted = cv2.resize(picture, (round(width * scale), round(height * scale)), interpolation=cv2.INTER_LINEAR)
    top, left = (SIZE - fitted.shape[0]) // 2, (SIZE - fitted.shape[1]) // 2
    frame = np.full((SIZE, SIZE, 3), GREY, np.uint8)
    frame[top : top + fitted.shape[0], left : left + fitted.shape[1]] = fitted
    rows = np.loadtxt(Path(str(path).replace("/images/", "/labels/")).with_suffix(".txt"), ndmin=2)
    centre, half = rows[:, 1:3], rows[:, 3:5] / 2
    inside = np.array([fitted.shape[1], fitted.shape[0]])
    corners = [(centre + sign * half) * inside + (left, top) for sign in (-1, 1)]
    return frame, np.hstack([rows[:, :1], *corners])


def normalised(frames: npt.NDArray[np.uint8]) -> npt.NDArray[np.float32]:
    """Return frames as the raw head's graph takes them: (N, 3, H, W), 0 to 1."""
    return np.ascontiguousarray(frames.transpose(0, 3, 1, 2), np.float32) / np.float32(255)

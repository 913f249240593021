"""Frames to try a model on: the two real pictures that ultralytics ships, letterboxed, and noise."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    import numpy.typing as npt
    from PIL.Image import Image as Picture

    from yolofleet.api.recipe import ImageSize

PICTURES = ("bus.jpg", "zidane.jpg")
SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp"})
Place: TypeAlias = tuple[int, int, int, int]
PADDING = 114
"""The grey of ultralytics' letterbox."""


def pictures() -> list[Path]:
    """Return the pictures in the ultralytics package, without importing it; none where it isn't."""
    spec = find_spec("ultralytics")
    folders = list(spec.submodule_search_locations or []) if spec else []
    found = [Path(folder) / "assets" / name for folder in folders for name in PICTURES]
    return [path for path in found if path.is_file()]


def trial_frames(size: ImageSize, channels: int) -> npt.NDArray[np.float32]:
    """Return frames (N, C, H, W), float32 from 0 to 1: the pictures there are, then one of noise."""
    shown = [letterboxed(path, size) for path in pictures()]
    noise = np.random.default_rng(0).random((size.height, size.width, 3), np.float32)
    frames = np.stack([*shown, noise]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(with_channels(frames, channels))


def letterboxed(path: Path, size: ImageSize) -> npt.NDArray[np.float32]:
    """Return a picture (H, W, 3) scaled to fit, centred on grey."""
    from PIL import Image

    with Image.open(path) as opened:
        return fitted(opened.convert("RGB"), size)[0]


def fitted(picture: Picture, size: ImageSize) -> tuple[npt.NDArray[np.float32], Place]:
    """Return a picture (H, W, 3) scaled to fit, centred on grey, and where it lies there: x, y, width, height."""
    from PIL import Image

    scale = min(size.width / picture.width, size.height / picture.height)
    width, height = max(1, round(picture.width * scale)), max(1, round(picture.height * scale))
    canvas = Image.new("RGB", (size.width, size.height), (PADDING,) * 3)
    left, top = (size.width - width) // 2, (size.height - height) // 2
    canvas.paste(picture.resize((width, height), Image.Resampling.BILINEAR), (left, top))
    pixels: npt.NDArray[np.float32] = np.asarray(canvas, np.float32)
    return pixels / np.float32(255), (left, top, width, height)


def with_channels(frames: npt.NDArray[np.float32], channels: int) -> npt.NDArray[np.float32]:
    """Return frames (N, 3, H, W) with so many channels: grey, or the colours over and over."""
    if channels == 1:
        grey: npt.NDArray[np.float32] = frames.mean(axis=1, keepdims=True, dtype=np.float32)
        return grey
    chosen: npt.NDArray[np.float32] = frames[:, [index % 3 for index in range(channels)]]
    return chosen


def own_frames(folder: Path, size: ImageSize, channels: int, most: int = 64) -> npt.NDArray[np.float32]:
    """Return a user's pictures as `trial_frames` does, in the order of their names; none where the folder has none."""
    shown = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in SUFFIXES][:most]
    if not shown:
        return np.zeros((0, channels, size.height, size.width), np.float32)
    frames = np.stack([letterboxed(path, size) for path in shown]).transpose(0, 3, 1, 2)
    return np.ascontiguousarray(with_channels(frames, channels))

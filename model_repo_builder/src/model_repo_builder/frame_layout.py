"""How a camera's picture lies in the network's input: scaled to fit, centred on grey."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from yolofleet.api.recipe import Frames, ImageSize

PixelFormat = Literal["RGB", "NV12"]
FRAMES = "frames"
CONFIDENCE, IOU, MAX_DETECTIONS, GEOMETRY = "confidence", "iou", "max_detections", "geometry"
"""Inputs of the graph of frames."""
PLACE = ("scale", "left", "top", "width", "height")
"""How the picture lies in the network's input: its scale, its corner in pixels there, and its own size."""
ROUNDING = 0.1
"""Ultralytics' letterbox gives an odd pixel of padding to the right and the bottom."""


@dataclass(frozen=True, kw_only=True)
class FrameFormat:
    """What cameras send: how a pixel is written, and the pictures' size (None: the network's own)."""

    pixels: PixelFormat = "RGB"
    source: tuple[int, int] | None = None


@dataclass(frozen=True, kw_only=True)
class Layout:
    """Where a picture lies in the network's input; sizes are (height, width)."""

    pixels: PixelFormat
    source: tuple[int, int]
    resized: tuple[int, int]
    before: tuple[int, int]
    after: tuple[int, int]
    scale: float

    @property
    def dims(self) -> tuple[int, ...]:
        """Return the axes of a frame, the batch left out."""
        height, width = self.source
        return (height, width, 3) if self.pixels == "RGB" else (height * 3 // 2, width)

    @property
    def geometry(self) -> tuple[float, ...]:
        """Return the input `geometry` that says the same."""
        top, left = self.before
        return (self.scale, float(left), float(top), float(self.source[1]), float(self.source[0]))


def layout_of(size: ImageSize, frames: FrameFormat) -> Layout:
    """Return how frames lie in an input of this size: scaled to fit, centred on grey, as Ultralytics' client does."""
    height, width = frames.source or (size.height, size.width)
    scale = min(size.height / height, size.width / width)
    resized = (round(height * scale), round(width * scale))
    spare = (size.height - resized[0], size.width - resized[1])
    before = tuple(round(room / 2 - ROUNDING) for room in spare)
    return Layout(
        pixels=frames.pixels,
        source=(height, width),
        resized=resized,
        before=(before[0], before[1]),
        after=(spare[0] - before[0], spare[1] - before[1]),
        scale=scale,
    )


def frame_format(told: Frames | None) -> FrameFormat:
    """Return what a recipe says of frames."""
    if told is None:
        return FrameFormat()
    size = told.source_size
    return FrameFormat(pixels=told.format, source=(size.height, size.width) if size else None)


def defaults(layout: Layout, *, confidence: float, iou: float, most: int) -> dict[str, tuple[float, ...]]:
    """Return what counts where a client leaves an optional input out."""
    return {CONFIDENCE: (confidence,), IOU: (iou,), MAX_DETECTIONS: (float(most),), GEOMETRY: layout.geometry}

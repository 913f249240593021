"""The first part of the graph of frames: bytes of a camera's picture to what the network reads."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx import TensorProto

if TYPE_CHECKING:
    from model_repo_builder.frame_layout import Layout
    from model_repo_builder.graph_writer import GraphWriter

PADDING = 114.0
WHITE = 255.0
NUDGE = 1e-3
"""Added to a resized length before it becomes a scale, as floor(length · scale) must not lose a pixel to rounding."""
YUV_TO_RGB = ((1.164383, 0.0, 1.596027), (1.164383, -0.391762, -0.812968), (1.164383, 2.017232, 0.0))
"""BT.601, limited range: what OpenCV's NV12 is."""
YUV_ZERO = (16.0, 128.0, 128.0)


def write(graph: GraphWriter, layout: Layout, *, source: str, target: str, half: bool) -> None:
    """Write the nodes from UINT8 frames to `target`: N, 3, H, W from 0 to 1, FP32 or FP16."""
    pixels = _rgb(graph, source) if layout.pixels == "RGB" else _from_nv12(graph, source, layout)
    if layout.resized != layout.source:
        pixels = graph.op("Round", _resized(graph, pixels, layout))
    if any((*layout.before, *layout.after)):
        (top, left), (bottom, right) = layout.before, layout.after
        pads = graph.whole([0, 0, top, left, 0, 0, bottom, right])
        pixels = graph.op("Pad", pixels, pads, graph.floats(PADDING), mode="constant")
    scale = graph.floats(1 / WHITE)
    if half:
        graph.cast(graph.op("Mul", pixels, scale), TensorProto.FLOAT16, to=target)
    else:
        graph.op("Mul", pixels, scale, to=target)


def _rgb(graph: GraphWriter, source: str) -> str:
    """Cast first: TensorRT takes UINT8 as an input only, and nothing but a cast may read it."""
    return graph.op("Transpose", graph.cast(source), perm=[0, 3, 1, 2])


def _from_nv12(graph: GraphWriter, source: str, layout: Layout) -> str:
    """Colour comes at half the resolution, U and V in turn; each of its pixels counts for four."""
    height, width = layout.source
    planes = graph.cast(source)
    luma = graph.reshape(graph.part(planes, 0, height, 1), [0, 1, height, width])
    chroma = graph.reshape(graph.part(planes, height, height * 3 // 2, 1), [0, height // 2, width // 2, 2])
    chroma = graph.op(
        "Resize",
        graph.op("Transpose", chroma, perm=[0, 3, 1, 2]),
        "",
        graph.floats([1, 1, 2, 2]),
        mode="nearest",
        coordinate_transformation_mode="asymmetric",
        nearest_mode="floor",
    )
    yuv = graph.op("Concat", luma, chroma, axis=1)
    weights = graph.floats([[[[value]] for value in row] for row in YUV_TO_RGB])
    bias = graph.floats([-sum(a * b for a, b in zip(row, YUV_ZERO, strict=True)) for row in YUV_TO_RGB])
    rgb = graph.op("Conv", yuv, weights, bias, kernel_shape=[1, 1])
    return graph.op("Round", graph.op("Clip", rgb, graph.floats(0), graph.floats(WHITE)))


def _resized(graph: GraphWriter, pixels: str, layout: Layout) -> str:
    """Bilinear on pixel centres without smoothing, as OpenCV's INTER_LINEAR."""
    scales = [(new + NUDGE) / old for new, old in zip(layout.resized, layout.source, strict=True)]
    return graph.op(
        "Resize",
        pixels,
        "",
        graph.floats([1, 1, *scales]),
        mode="linear",
        coordinate_transformation_mode="half_pixel",
    )

"""Wraps a raw YOLO graph for the endpoint of frames: uint8 pictures in, a fixed number of boxes out.

Everything is standard ONNX with shapes that are known beforehand, so one graph runs in ONNX Runtime and in TensorRT,
there also inside a CUDA graph. Operators whose outputs' shapes hang on the data (NonMaxSuppression) would forbid that.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from model_repo_builder import frames_boxes, frames_pixels, onnx_graph
from model_repo_builder.errors import Refused
from model_repo_builder.frame_layout import (
    CONFIDENCE,
    FRAMES,
    GEOMETRY,
    IOU,
    MAX_DETECTIONS,
    PLACE,
    FrameFormat,
    layout_of,
)
from model_repo_builder.graph_writer import GraphWriter

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_repo_builder.heads import Head
    from yolofleet.api.recipe import ImageSize

INNER = "model/"
"""What every name of the raw graph begins with in the wrapped one."""
BATCH = "batch"
OLDEST_OPSET = 12
COLOURS = 3


@dataclass(frozen=True, kw_only=True)
class OptionalInput:
    """An input that a client may leave out: its element type, its width, and what then counts."""

    name: str
    kind: int
    width: int


THRESHOLDS = (
    OptionalInput(name=CONFIDENCE, kind=TensorProto.FLOAT, width=1),
    OptionalInput(name=IOU, kind=TensorProto.FLOAT, width=1),
    OptionalInput(name=MAX_DETECTIONS, kind=TensorProto.INT32, width=1),
)
WHERE = OptionalInput(name=GEOMETRY, kind=TensorProto.FLOAT, width=len(PLACE))


def optional_inputs(head: Head) -> tuple[OptionalInput, ...]:
    """Return what a client of this head may leave out; a classifier has neither boxes nor thresholds."""
    return () if head.task == "Classify" else (*THRESHOLDS, WHERE)


def wrap(raw: onnx.ModelProto, head: Head, *, size: ImageSize, frames: FrameFormat) -> onnx.ModelProto:
    """Return the graph from frames to boxes around a raw one, FP32 or typed; every input is needed in it.

    Inputs, batch axis first: frames UINT8 (height, width, 3) or NV12 (height · 3/2, width); confidence, iou FP32 (1);
    max_detections INT32 (1); geometry FP32 (5). Who serves it may give the last four defaults (onnx_defaults).
    """
    _check(raw, head)
    layout = layout_of(size, frames)
    graph = GraphWriter(opset=_opset(raw))
    inner = onnx.compose.add_prefix(raw, INNER)
    (first,) = onnx_graph.inputs_of(inner)
    frames_pixels.write(graph, layout, source=FRAMES, target=first.name, half=first.data_type == "FP16")
    ends = [info.name for info in inner.graph.output]
    after = GraphWriter(opset=graph.opset, prefix="boxes/")
    outputs = frames_boxes.write(after, head, ends, [_shape(info) for info in inner.graph.output])
    inputs = [_input(FRAMES, TensorProto.UINT8, layout.dims)]
    inputs += [_input(each.name, each.kind, (each.width,)) for each in optional_inputs(head)]
    made = helper.make_graph(
        [*graph.nodes, *inner.graph.node, *after.nodes],
        "frames",
        inputs,
        [_output(name, kind, dims) for name, kind, dims in outputs],
        [*inner.graph.initializer, *graph.constants, *after.constants],
    )
    made.sparse_initializer.extend(inner.graph.sparse_initializer)
    model = helper.make_model(made, opset_imports=list(inner.opset_import), ir_version=max(raw.ir_version, 7))
    model.functions.extend(inner.functions)
    onnx_graph.drop_unused(model)
    return model


def _check(raw: onnx.ModelProto, head: Head) -> None:
    several = onnx_graph.inputs_of(raw)
    if len(several) != 1 or several[0].dims[1] != COLOURS:
        raise Refused(
            field="spec.endpoints",
            value="Frames",
            message=f"frames have 3 colours, the model's input has the axes {[list(one.dims) for one in several]}",
            remedy="set spec.endpoints: [Ultralytics]",
        )
    if _opset(raw) < OLDEST_OPSET:
        raise Refused(
            field="spec.model",
            value=f"opset {_opset(raw)}",
            message=f"the graph of {head.task} frames needs ONNX opset {OLDEST_OPSET} or newer",
            remedy=f"export the model again with opset={OLDEST_OPSET + 5}",
        )


def _opset(model: onnx.ModelProto) -> int:
    return max((each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}), default=0)


def _shape(info: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value for dim in info.type.tensor_type.shape.dim)[1:]


def _input(name: str, kind: int, dims: Sequence[int]) -> onnx.ValueInfoProto:
    """An optional input's batch has a name of its own: its default has one row whatever the frames have."""
    return helper.make_tensor_value_info(name, kind, [BATCH if name == FRAMES else f"{name}_{BATCH}", *dims])


def _output(name: str, kind: int, dims: Sequence[int]) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, [BATCH, *dims])

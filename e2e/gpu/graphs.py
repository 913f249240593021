"""The graphs that are compiled: a model's raw head at a fixed batch, or uint8 frames in and boxes out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

from model_repo_builder import frames_graph, onnx_graph, onnx_precision
from model_repo_builder.engine_settings import TYPED
from model_repo_builder.frame_layout import FrameFormat
from model_repo_builder.heads import BOX, Head
from yolofleet.api.recipe import ImageSize

if TYPE_CHECKING:
    from yolofleet.api.recipe import Precision

FRAMES = "frames"
MOST_BOXES = 300
CONFIDENCE, OVERLAP = 0.25, 0.7
"""What Ultralytics' predict() asks for unless told otherwise."""
CHANNELS_FIRST = (0, 3, 1, 2)


def fixed(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Return a copy for one batch size only: TensorRT folds more where nothing is free."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for tensor in onnx_graph.inputs_of(made):
        onnx_graph.set_input(made, tensor.name, [batch, *tensor.dims[1:]])
    onnx_graph.set_outputs(made, [[batch, *tensor.dims[1:]] for tensor in onnx_graph.outputs_of(made)])
    return made


def typed(model: onnx.ModelProto, precision: Precision, *, half_io: bool) -> onnx.ModelProto:
    """Return the model in the precision that its graph can say; FP32, TF32 and BF16 are the compiler's flags."""
    if precision not in TYPED:
        return model
    made = onnx_precision.half(model)
    return onnx_precision.half_io(made) if half_io else made


def endpoint(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph that `<name>_frames` serves, around a model with a raw head: standard ONNX throughout."""
    classes = onnx_graph.outputs_of(model)[0].dims[1] - BOX
    head = Head(task="Detect", classes=classes)
    made = frames_graph.wrap(model, head, size=ImageSize(), frames=FrameFormat())
    for tensor in onnx_graph.inputs_of(made):  # thresholds for each frame: TensorRT is told that it is one batch
        onnx_graph.set_input(made, tensor.name, ["batch", *tensor.dims[1:]])
    return made


def with_plugin(model: onnx.ModelProto, batch: int) -> onnx.ModelProto:
    """Put normalisation before and TensorRT's NMS plugin behind a model of one batch, to compare with."""
    graph = model.graph
    (images,) = onnx_graph.inputs_of(model)
    height, width = images.dims[2:]
    kind = graph.input[0].type.tensor_type.elem_type
    scale = np.array(1 / 255, helper.tensor_dtype_to_np_dtype(kind))
    graph.initializer.append(numpy_helper.from_array(scale, "one_of_255"))
    before = [
        helper.make_node("Cast", [FRAMES], ["frames_float"], to=kind),
        helper.make_node("Transpose", ["frames_float"], ["frames_first"], perm=CHANNELS_FIRST),
        helper.make_node("Mul", ["frames_first", "one_of_255"], [images.name]),
    ]
    boxes, scores = _box_and_score_inputs(graph)
    behind = [
        helper.make_node("Transpose", [boxes], ["boxes_last"], perm=(0, 2, 1)),
        helper.make_node("Transpose", [scores], ["scores_last"], perm=(0, 2, 1)),
        _suppression(),
    ]
    nodes = [*before, *graph.node, *behind]
    frames = helper.make_tensor_value_info(FRAMES, onnx.TensorProto.UINT8, [batch, height, width, 3])
    for field, items in ((graph.node, nodes), (graph.input, [frames]), (graph.output, _boxes_out(batch))):
        copies = list(items)
        del field[:]
        field.extend(copies)
    model.opset_import.append(helper.make_opsetid("TRT", 1))
    onnx_graph.drop_unused(model)
    return model


def _box_and_score_inputs(graph: onnx.GraphProto) -> tuple[str, str]:
    """Return what the last Concat joins, FP32 still: the first output may be a cast of it."""
    makers = {node.output[0]: node for node in graph.node}
    last = makers[graph.output[0].name]
    while last.op_type == "Cast":
        last = makers[last.input[0]]
    if last.op_type != "Concat" or len(last.input) != 2:
        raise ValueError(f"the head ends in {last.op_type}, a Concat of boxes and scores is expected")
    return last.input[0], last.input[1]


def _suppression() -> onnx.NodeProto:
    return helper.make_node(
        "EfficientNMS_TRT",
        ["boxes_last", "scores_last"],
        ["num_dets", "boxes", "scores", "classes"],
        domain="TRT",
        plugin_version="1",
        background_class=-1,
        max_output_boxes=MOST_BOXES,
        score_threshold=CONFIDENCE,
        iou_threshold=OVERLAP,
        score_activation=0,
        class_agnostic=0,
        box_coding=1,
    )


def _boxes_out(batch: int) -> list[onnx.ValueInfoProto]:
    whole, real = onnx.TensorProto.INT32, onnx.TensorProto.FLOAT
    shapes = {"num_dets": (whole, 1), "boxes": (real, MOST_BOXES, 4), "scores": (real, MOST_BOXES)}
    shapes["classes"] = (whole, MOST_BOXES)
    return [helper.make_tensor_value_info(name, kind, [batch, *dims]) for name, (kind, *dims) in shapes.items()]

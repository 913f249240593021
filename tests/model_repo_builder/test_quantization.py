"""INT8 graphs are what TensorRT reads and fuses, and they see what the model saw: run in ONNX Runtime."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from model_repo_builder import (
    boxes,
    heads,
    onnx_calibration,
    onnx_graph,
    onnx_precision,
    onnx_quantized,
    quantization_lint,
)
from model_repo_builder.errors import Refused
from model_repo_builder.gates import Labels, mean_average_precision
from model_repo_builder.heads import Head
from tests.model_repo_builder import small_yolo

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

HEAD = Head(task="Detect", classes=small_yolo.CLASSES)
SEEN = small_yolo.frames(16, seed=1)
FLOATS = {"stem", "mix", "box.first", "box.last", "cls.first", "cls.last", "dfl"}


@pytest.fixture(scope="module")
def whole() -> onnx.ModelProto:
    return small_yolo.SmallYolo().model()


@pytest.fixture(scope="module")
def quantized(whole: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> onnx.ModelProto:
    folder = tmp_path_factory.mktemp("quantized")
    onnx.save(whole, str(folder / "model.onnx"))
    level = logging.getLogger().level
    layers = onnx_calibration.quantize(
        folder / "model.onnx", folder / "int8.onnx", onnx_calibration.batched(small_yolo.frames(16))
    )
    assert logging.getLogger().level == level, "what others log is none of a calibration's business"
    convolutions = sum(node.op_type == "Conv" for node in whole.graph.node)
    assert layers == convolutions - len(FLOATS)
    return onnx.load(str(folder / "int8.onnx"))


def copied(model: onnx.ModelProto) -> onnx.ModelProto:
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return made


def answers(model: onnx.ModelProto) -> list[onnx_graph.Array]:
    return onnx_graph.run(onnx_graph.session(model), SEEN)


def apart(model: onnx.ModelProto, whole: onnx.ModelProto) -> tuple[float, float]:
    """How far the two are apart at most: in pixels of boxes, in scores."""
    (one,), (other,) = answers(model), answers(whole)
    gap = np.abs(one.astype(np.float64) - other)
    return float(gap[:, : heads.BOX].max()), float(gap[:, heads.BOX :].max())


def test_it_keeps_to_every_rule(quantized: onnx.ModelProto) -> None:
    assert quantization_lint.problems(quantized, FLOATS) == []
    assert quantization_lint.problems(onnx_precision.half(quantized), FLOATS) == []


def test_boxes_stay(whole: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
    """256 steps show, but little: boxes within half a pixel, scores within 0.05, and most boxes within 5 %."""
    truth = boxes.from_raw(answers(whole), HEAD, boxes.Thresholds())
    labels = [Labels(corners=each.corners, classes=each.classes) for each in truth]
    for model in (quantized, onnx_precision.half(quantized)):
        pixels, scores = apart(model, whole)
        assert 0.01 < pixels < 0.5
        assert 0.001 < scores < 0.05
        found = boxes.from_raw(answers(model), HEAD, boxes.Thresholds(confidence=0.01))
        assert mean_average_precision(found, labels).map50_95 > 0.85


def test_a_wrong_scale_would_be_seen(whole: onnx.ModelProto, quantized: onnx.ModelProto) -> None:
    broken = copied(quantized)
    scale = scale_of(broken, "deep", 0)
    scale.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(scale) / np.float32(4), scale.name))
    assert apart(broken, whole)[1] > 0.05


def test_the_typed_graph_is_fp16_but_for_what_is_int8_and_what_decodes(quantized: onnx.ModelProto) -> None:
    half = onnx_precision.half(quantized)
    constants = {tensor.name: tensor.data_type for tensor in half.graph.initializer}
    kinds = {constants[node.input[1]] for node in half.graph.node if node.op_type == "QuantizeLinear"}
    assert kinds == {onnx.TensorProto.FLOAT16}
    inferred = onnx.shape_inference.infer_shapes(half, strict_mode=True).graph
    known = {info.name: info.type.tensor_type.elem_type for info in inferred.value_info}
    layers = [node for node in half.graph.node if node.op_type == "Conv" and node.name != "dfl"]
    assert {known[node.output[0]] for node in layers} == {onnx.TensorProto.FLOAT16}
    assert known["dfl_0"] == onnx.TensorProto.FLOAT


def test_scales_are_the_same_in_both_types(quantized: onnx.ModelProto) -> None:
    for tensor in quantized.graph.initializer:
        if tensor.name.endswith("_scale"):
            steps = numpy_helper.to_array(tensor)
            assert (steps == steps.astype(np.float16)).all(), tensor.name


def test_what_only_moves_has_one_scale(quantized: onnx.ModelProto) -> None:
    scales = {tensor.name: float(numpy_helper.to_array(tensor).max()) for tensor in quantized.graph.initializer}
    steps = {pair.tensor: scales[pair.scale] for pair in onnx_quantized.pairs(quantized.graph)}
    block = {steps[name] for name in ("block.cv1.silu_0", "block.split_1", "block.join_0") if name in steps}
    pool = {steps[name] for name in ("deep.silu_0", "pools_0") if name in steps}
    assert len(block) == 1
    assert len(pool) == 1
    assert len({*steps.values()}) > 5, "and not all have the same"


def test_a_residual_comes_quantised(quantized: onnx.ModelProto) -> None:
    (total,) = (node for node in quantized.graph.node if node.name == "block.sum")
    through = {pair.output: pair.tensor for pair in onnx_quantized.pairs(quantized.graph)}
    assert [through.get(name) for name in total.input] == ["block.split_1", None]


def test_fp8_takes_the_place_of_int8(quantized: onnx.ModelProto, whole: onnx.ModelProto) -> None:
    made = onnx_quantized.as_fp8(onnx_precision.half(quantized))
    assert quantization_lint.problems(made, FLOATS) == []
    zeros = {pair.zero for pair in onnx_quantized.pairs(made.graph)}
    kinds = {tensor.data_type for tensor in made.graph.initializer if tensor.name in zeros}
    assert kinds == {onnx.TensorProto.FLOAT8E4M3FN}
    pixels, scores = apart(made, whole)
    assert 0.01 < pixels < 1.5
    assert 0.001 < scores < 0.15


def scale_of(model: onnx.ModelProto, layer: str, index: int) -> onnx.TensorProto:
    through = {pair.output: pair for pair in onnx_quantized.pairs(model.graph)}
    (node,) = (node for node in model.graph.node if node.name == layer)
    return next(t for t in model.graph.initializer if t.name == through[node.input[index]].scale)


def zero_of(model: onnx.ModelProto) -> onnx.TensorProto:
    pair = next(iter(onnx_quantized.pairs(model.graph)))
    return next(tensor for tensor in model.graph.initializer if tensor.name == pair.zero)


def negative(model: onnx.ModelProto) -> None:
    scale = scale_of(model, "down", 0)
    scale.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(scale), scale.name))


def shifted(model: onnx.ModelProto) -> None:
    zero = zero_of(model)
    zero.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(zero) + np.int8(3), zero.name))


def unsigned(model: onnx.ModelProto) -> None:
    zero = zero_of(model)
    zero.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(zero).astype(np.uint8), zero.name))


def by_channel(model: onnx.ModelProto) -> None:
    scale = scale_of(model, "down", 0)
    scale.CopyFrom(numpy_helper.from_array(np.full(8, 0.1, np.float32), scale.name))


def wrong_axis(model: onnx.ModelProto) -> None:
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "QuantizeLinear" and attribute.name == "axis":
                attribute.i = 1


def biased(model: onnx.ModelProto) -> None:
    pair = next(iter(onnx_quantized.pairs(model.graph)))
    (node,) = (node for node in model.graph.node if node.name == "down")
    node.input[2] = pair.output


def one_sided(model: onnx.ModelProto) -> None:
    (node,) = (node for node in model.graph.node if node.name == "down")
    node.input[1] = "down.weight"


def floating_sum(model: onnx.ModelProto) -> None:
    (node,) = (node for node in model.graph.node if node.name == "block.sum")
    node.input[0] = "block.split_1"


def early(model: onnx.ModelProto) -> None:
    """Quantise a convolution's own answer, which its activation takes too."""
    pair = next(iter(onnx_quantized.pairs(model.graph)))
    extra = onnx.helper.make_node("QuantizeLinear", ["down_0", pair.scale, pair.zero], ["early"], name="early")
    model.graph.node.append(extra)


def decoding(model: onnx.ModelProto) -> None:
    (node,) = (node for node in model.graph.node if node.name == "box.last")
    node.input[0] = next(iter(onnx_quantized.pairs(model.graph))).output


def old(model: onnx.ModelProto) -> None:
    model.opset_import[0].version = 17


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (negative, "not positive"),
        (shifted, "not zero"),
        (unsigned, "not INT8"),
        (by_channel, "TensorRT takes one"),
        (wrong_axis, "on axis 1 of weights"),
        (biased, "its bias is quantised"),
        (one_sided, "only one of data and weights"),
        (floating_sum, "in floats, quantised elsewhere"),
        (early, "before its activation"),
        (decoding, "boxes are decoded from its answer"),
        (old, "opset 17"),
    ],
)
def test_each_breach_is_found(spoil: Callable[[onnx.ModelProto], Any], words: str, quantized: onnx.ModelProto) -> None:
    broken = copied(quantized)
    spoil(broken)
    assert any(words in told for told in quantization_lint.problems(broken, FLOATS))


def test_a_layer_that_is_left_out_takes_floats(whole: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(whole, str(tmp_path / "model.onnx"))
    frames, target = small_yolo.frames(8), tmp_path / "int8.onnx"
    onnx_calibration.quantize(tmp_path / "model.onnx", target, onnx_calibration.batched(frames), leave_out=["block.m1"])
    made = onnx.load(str(target))
    (left,) = (node for node in made.graph.node if node.name == "block.m1")
    assert list(left.input) == ["block.split_1", "block.m1.weight", "block.m1.bias"]


@pytest.mark.parametrize("count", [0, 7])
def test_too_few_frames_are_refused(count: int, whole: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(whole, str(tmp_path / "model.onnx"))
    batches = onnx_calibration.batched(small_yolo.frames(count))
    with pytest.raises(Refused, match="too few frames"):
        onnx_calibration.quantize(tmp_path / "model.onnx", tmp_path / "int8.onnx", batches)
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_graph_that_has_scales_already_is_refused(quantized: onnx.ModelProto, tmp_path: Path) -> None:
    onnx.save(quantized, str(tmp_path / "model.onnx"))
    with pytest.raises(Refused, match="quantised already"):
        onnx_calibration.quantize(tmp_path / "model.onnx", tmp_path / "int8.onnx", iter([small_yolo.frames(8)]))

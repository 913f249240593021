"""FP16 where the weights are, FP32 where boxes are decoded: seen in ONNX Runtime, not in the graph's words alone."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from model_repo_builder import onnx_graph, onnx_precision

LARGE = 8192.0


def decoder() -> onnx.ModelProto:
    """Two convolutions with an upsampling between, then a decoding that FP16 would spoil: values of thousands."""
    rng = np.random.default_rng(3)
    weights = {
        "w1": rng.normal(size=(8, 3, 3, 3), scale=0.2).astype(np.float32),
        "w2": rng.normal(size=(4, 8, 3, 3), scale=0.2).astype(np.float32),
        "scales": np.array([1, 1, 2, 2], np.float32),
        "stride": np.array(LARGE, np.float32),
        "offset": np.array(0.25, np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["images", "w1"], ["a"], pads=[1, 1, 1, 1]),
        helper.make_node("Sigmoid", ["a"], ["b"]),
        helper.make_node("Resize", ["b", "", "scales"], ["c"], mode="nearest"),
        helper.make_node("Conv", ["c", "w2"], ["d"], pads=[1, 1, 1, 1]),
        helper.make_node("Mul", ["d", "stride"], ["e"]),
        helper.make_node("Add", ["e", "offset"], ["f"]),
        helper.make_node("Sub", ["f", "d"], ["output0"]),
    ]
    graph = helper.make_graph(
        nodes,
        "decoder",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, 16, 16])],
        [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 4, 32, 32])],
        [numpy_helper.from_array(values, name) for name, values in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.fixture
def frames() -> onnx_graph.Array:
    return np.random.default_rng(5).random((2, 3, 16, 16), np.float32)


def test_the_halved_graph_says_what_the_whole_one_says(
    frames: onnx_graph.Array, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_precision, "FEW_WEIGHTS", 200)
    model = decoder()
    halved = onnx_precision.half(model)
    onnx.checker.check_model(halved, full_check=True)
    wanted, got = (onnx_graph.run(onnx_graph.session(m), frames)[0] for m in (model, halved))
    assert got.dtype == np.float32
    assert np.abs(got - wanted).max() <= np.abs(wanted).max() * 2e-3
    spread = np.unique(got.astype(np.float16)).size
    assert np.unique(got).size > spread, "decoded in FP32: the values are finer than FP16 knows them"


def test_layers_are_half_and_decoding_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_precision, "FEW_WEIGHTS", 200)
    halved = onnx_precision.half(decoder())
    inferred = onnx.shape_inference.infer_shapes(halved, strict_mode=True).graph
    kinds = {info.name: info.type.tensor_type.elem_type for info in (*inferred.value_info, *inferred.output)}
    assert {kinds[name] for name in ("a", "b", "c", "d")} == {TensorProto.FLOAT16}
    assert {kinds[name] for name in ("e", "f", "output0")} == {TensorProto.FLOAT}
    casts = [node for node in halved.graph.node if node.op_type == "Cast"]
    assert len(casts) == 2, "one into the layers, one out of them, however many use what comes out"
    assert {t.name: t.data_type for t in halved.graph.initializer}["scales"] == TensorProto.FLOAT


def test_a_light_convolution_belongs_to_the_decoding() -> None:
    model = decoder()
    assert onnx_precision.decoding(model.graph) == set(range(7)) - {0, 1, 2, 3}
    weights = next(t for t in model.graph.initializer if t.name == "w2")
    weights.CopyFrom(numpy_helper.from_array(np.ones((4, 8, 1, 1), np.float32), "w2"))
    assert onnx_precision.decoding(model.graph) >= {2, 3}


def test_what_fp16_cannot_hold_becomes_its_largest_never_infinite(frames: onnx_graph.Array) -> None:
    model = decoder()
    weights = next(t for t in model.graph.initializer if t.name == "w1")
    weights.CopyFrom(numpy_helper.from_array(np.full((8, 3, 3, 3), 1e6, np.float32), "w1"))
    halved = onnx_precision.half(model)
    kept = numpy_helper.to_array(next(t for t in halved.graph.initializer if t.name == "w1.half"))
    assert np.isfinite(kept).all()
    assert float(kept.max()) == onnx_precision.LARGEST


def test_an_output_straight_from_a_layer_stays_fp32_under_its_own_name(frames: onnx_graph.Array) -> None:
    model = decoder()
    del model.graph.node[4:]
    model.graph.node[3].output[0] = "output0"
    halved = onnx_precision.half(model)
    assert [o.data_type for o in onnx_graph.outputs_of(halved)] == ["FP32"]
    wanted, got = (onnx_graph.run(onnx_graph.session(m), frames)[0] for m in (model, halved))
    assert np.abs(got - wanted).max() < 0.01

"""The stand-ins for Triton's backends, with a double of the server's Python module around them."""

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from onnx import TensorProto, helper, save

BACKENDS = Path(__file__).parents[2] / "e2e/images/triton/backends"
TYPES = {"TYPE_FP32": np.float32, "TYPE_FP16": np.float16}


class Tensor:
    def __init__(self, name, value):
        self._name, self._value = name, value

    def name(self):
        return self._name

    def as_numpy(self):
        return self._value


class TritonModelException(Exception):  # noqa: N818 - Triton's name
    pass


@pytest.fixture
def backend(monkeypatch):
    double = SimpleNamespace(
        Tensor=Tensor,
        TritonError=str,
        TritonModelException=TritonModelException,
        InferenceResponse=lambda tensors=(), error=None: SimpleNamespace(tensors=tensors, error=error),
        Logger=SimpleNamespace(log_warn=lambda text: None),
        triton_string_to_numpy=TYPES.__getitem__,
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", double)
    monkeypatch.syspath_prepend(str(BACKENDS.parent))  # in the image a package of its Python
    monkeypatch.delitem(sys.modules, "backend_parts.joining", raising=False)
    return imported("onnxruntime").TritonPythonModel


def imported(backend):
    spec = importlib.util.spec_from_file_location("backend_under_test", BACKENDS / backend / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def load(backend, tmp_path):
    def tensor(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", "width"])

    nodes = [helper.make_node("Add", ["x", "x"], ["twice"]), helper.make_node("Neg", ["x"], ["minus"])]
    graph = helper.make_graph(nodes, "g", [tensor("x")], [tensor("twice"), tensor("minus")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "1").mkdir()
    save(model, tmp_path / "1" / "model.onnx")

    def make(outputs=(("minus", "TYPE_FP32"), ("twice", "TYPE_FP16")), *, max_batch_size=8):
        config = {
            "max_batch_size": max_batch_size,
            "default_model_filename": "",
            "input": [{"name": "x", "data_type": "TYPE_FP32"}],
            "output": [{"name": name, "data_type": kind} for name, kind in outputs],
        }
        made = backend()
        arguments = {"model_config": json.dumps(config), "model_repository": str(tmp_path), "model_version": "1"}
        made.initialize(arguments)
        return made

    return make


def request(*rows):
    return SimpleNamespace(inputs=lambda: [Tensor("x", np.array(rows, dtype=np.float32))])


def values(response):
    return {tensor.name(): tensor.as_numpy().tolist() for tensor in response.tensors}


def test_a_batch_is_taken_apart_again(load):
    answers = load().execute([request([1, 2]), request([3, 4], [5, 6])])
    assert values(answers[0]) == {"minus": [[-1, -2]], "twice": [[2, 4]]}
    assert values(answers[1]) == {"minus": [[-3, -4], [-5, -6]], "twice": [[6, 8], [10, 12]]}


def test_a_batch_is_run_once(load, monkeypatch):
    model, sizes = load(), []
    run = model._run
    monkeypatch.setattr(model, "_run", lambda feed: sizes.append(len(feed["x"])) or run(feed))
    model.execute([request([1, 2]), request([3, 4], [5, 6])])
    assert sizes == [3]


def test_outputs_have_the_configurations_types(load):
    (answer,) = load().execute([request([1, 2])])
    assert {tensor.name(): tensor.as_numpy().dtype.name for tensor in answer.tensors} == {
        "minus": "float32",
        "twice": "float16",
    }


def test_only_the_outputs_of_the_configuration_are_given(load):
    (answer,) = load([("twice", "TYPE_FP32")]).execute([request([1, 2])])
    assert list(values(answer)) == ["twice"]


def test_requests_of_different_shapes_do_not_disturb_each_other(load):
    answers = load().execute([request([1, 2]), request([3])])
    assert [values(answer)["twice"] for answer in answers] == [[[2, 4]], [[6]]]


def test_a_failing_request_gets_its_error_alone(load, monkeypatch):
    model = load()
    run = model._run

    def picky(feed):
        if (feed["x"] < 0).any():
            raise RuntimeError("negative")
        return run(feed)

    monkeypatch.setattr(model, "_run", picky)
    good, bad = model.execute([request([1, 2]), request([-1, 2])])
    assert values(good)["twice"] == [[2, 4]]
    assert bad.error == "onnxruntime: negative"


def test_an_optional_input_may_be_left_out(backend, tmp_path):
    """An initialiser that is an input too: ONNX's own default. Requests with and without it are not mixed."""

    def info(name):
        return helper.make_tensor_value_info(name, TensorProto.FLOAT, [f"{name}_batch", 1])

    default = helper.make_tensor("plus", TensorProto.FLOAT, [1, 1], [10.0])
    node = helper.make_node("Add", ["x", "plus"], ["sum"])
    graph = helper.make_graph([node], "g", [info("x"), info("plus")], [info("sum")], [default])
    (tmp_path / "1").mkdir()
    save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8),
        tmp_path / "1" / "model.onnx",
    )
    config = {
        "max_batch_size": 8,
        "default_model_filename": "",
        "input": [
            {"name": "x", "data_type": "TYPE_FP32"},
            {"name": "plus", "data_type": "TYPE_FP32", "optional": True},
        ],
        "output": [{"name": "sum", "data_type": "TYPE_FP32"}],
    }
    model = backend()
    model.initialize(
        {"model_config": json.dumps(config), "model_repository": str(tmp_path), "model_version": "1"},
    )
    both = SimpleNamespace(inputs=lambda: [Tensor("x", np.float32([[1]])), Tensor("plus", np.float32([[5]]))])
    answers = model.execute([request([1]), both, request([2])])
    assert [values(answer)["sum"] for answer in answers] == [[[11]], [[6]], [[12]]]


def test_a_missing_output_is_named_at_load(load):
    with pytest.raises(TritonModelException, match=r"no output \['boxes'\]; it has \['minus', 'twice'\]"):
        load([("boxes", "TYPE_FP32")])


def test_a_file_that_is_no_model_is_named_at_load(load, tmp_path):
    (tmp_path / "1" / "model.onnx").write_bytes(b"not a model")
    with pytest.raises(TritonModelException, match=r"model\.onnx: onnxruntime cannot load it"):
        load()

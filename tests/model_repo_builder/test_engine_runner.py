"""The runner over an engine that ONNX Runtime plays, in memory that is really copied: batches, types, order."""

from __future__ import annotations

import ctypes
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from model_repo_builder import cuda_memory, onnx_graph, onnx_precision
from model_repo_builder.cuda_memory import DeviceMemory
from model_repo_builder.engine_runner import EngineRunner
from model_repo_builder.errors import Failed
from tests.model_repo_builder import fake_tensorrt, small_yolo
from tests.model_repo_builder.fake_cuda import FakeDriver

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def driver(monkeypatch: pytest.MonkeyPatch) -> FakeDriver:
    made = FakeDriver()
    monkeypatch.setattr(cuda_memory.ctypes, "CDLL", lambda name: made)
    return made


def installed(monkeypatch: pytest.MonkeyPatch, **how: Any) -> Any:
    made = fake_tensorrt.module(**how)
    monkeypatch.setitem(sys.modules, "tensorrt", made)
    return made


def plan_of(model: onnx.ModelProto, folder: Path) -> Path:
    plan = folder / "model.plan"
    plan.write_bytes(fake_tensorrt.plan_of(model.SerializeToString(), largest=4))
    return plan


def test_more_frames_than_a_batch_takes(tmp_path: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    model, frames = small_yolo.SmallYolo().model(), small_yolo.frames(6)
    runner = EngineRunner(plan_of(model, tmp_path))
    (got,) = runner.run(frames)
    (wanted,) = onnx_graph.run(onnx_graph.session(model), frames)
    assert runner.largest == 4
    assert np.abs(got - wanted).max() < 1e-3
    assert driver.most == 2, "one block for the frames, one for the answer"
    assert (driver.held, driver.streams) == ({}, set()), "all is given back"


def test_half_inputs_and_outputs_are_turned(
    tmp_path: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch)
    model, frames = small_yolo.SmallYolo().model(), small_yolo.frames(3)
    half = onnx_precision.half_io(onnx_precision.half(model))
    (got,) = EngineRunner(plan_of(half, tmp_path)).run(frames)
    (wanted,) = onnx_graph.run(onnx_graph.session(model), frames)
    assert got.dtype == np.float16
    assert np.abs(got.astype(np.float32) - wanted).max() < 0.2


def test_outputs_come_in_the_order_of_their_names(
    tmp_path: Path, driver: FakeDriver, monkeypatch: pytest.MonkeyPatch
) -> None:
    installed(monkeypatch)
    shape = ["batch", 2]
    names = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("output1", "output0")]
    taken = [onnx.helper.make_tensor_value_info("images", onnx.TensorProto.FLOAT, shape)]
    nodes = [
        onnx.helper.make_node("Neg", ["images"], ["output1"]),
        onnx.helper.make_node("Abs", ["images"], ["output0"]),
    ]
    graph = onnx.helper.make_graph(nodes, "two", taken, names)
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
    frames = np.array([[1.0, -2.0]], np.float32)
    first, second = EngineRunner(plan_of(model, tmp_path)).run(frames)
    assert (first.tolist(), second.tolist()) == ([[1.0, 2.0]], [[-1.0, 2.0]])


@pytest.mark.parametrize(
    ("how", "fails", "words"),
    [
        ({"takes": False}, {}, "takes no frames of shape"),
        ({"runs": False}, {}, "did not take the frames"),
        ({}, {"cuMemAlloc_v2": 2}, "cuMemAlloc_v2 gave error 2"),
        ({}, {"cuStreamSynchronize": 700}, "cuStreamSynchronize gave error 700"),
    ],
)
def test_what_goes_wrong_is_said_and_memory_given_back(
    how: dict[str, Any],
    fails: dict[str, int],
    words: str,
    tmp_path: Path,
    driver: FakeDriver,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed(monkeypatch, **how)
    driver.fails = fails
    runner = EngineRunner(plan_of(small_yolo.SmallYolo().model(), tmp_path))
    with pytest.raises(Failed, match=words):
        runner.run(small_yolo.frames(2))
    assert driver.held == {}


def test_a_plan_that_does_not_load_is_said_in_tensorrts_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed(monkeypatch)
    (tmp_path / "model.plan").write_bytes(b"from another version")
    with pytest.raises(Failed, match="magicTag"):
        EngineRunner(tmp_path / "model.plan")


def test_memory_goes_there_and_back(driver: FakeDriver) -> None:
    values, back = np.arange(12, dtype=np.int32).reshape(3, 4), np.zeros((3, 4), np.int32)
    with DeviceMemory() as memory:
        address = memory.allocate(values.nbytes)
        memory.write(address, values.T)
        memory.read(address, back)
        assert memory.stream == 7
    assert (back.ravel() == values.T.ravel()).all(), "what is written lies in one piece, whatever its strides"
    assert ctypes.sizeof(ctypes.c_uint64) == 8
    assert driver.held == {}

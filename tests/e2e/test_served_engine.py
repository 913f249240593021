"""The bench's backend for engines, over an engine that ONNX Runtime plays in memory that is really copied."""

import ctypes
import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

from model_repo_builder import onnx_graph
from tests.model_repo_builder import fake_tensorrt, small_yolo
from tests.model_repo_builder.fake_cuda import GraphDriver

SOURCE = Path(__file__).parents[2] / "e2e/images/triton/backend_parts/served_engine.py"


@pytest.fixture
def tensorrt(monkeypatch):
    made = fake_tensorrt.module()
    monkeypatch.setitem(sys.modules, "tensorrt", made)
    return made


@pytest.fixture
def driver(tensorrt, monkeypatch):
    made = GraphDriver(tensorrt)
    monkeypatch.setattr(ctypes, "CDLL", lambda name: made)
    return made


@pytest.fixture
def served(tensorrt):
    spec = importlib.util.spec_from_file_location("served_engine_under_test", SOURCE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def plan(tmp_path):
    path = tmp_path / "model.plan"
    path.write_bytes(fake_tensorrt.plan_of(small_yolo.SmallYolo().model().SerializeToString(), largest=4))
    return path


def wanted(frames):
    (answer,) = onnx_graph.run(onnx_graph.session(small_yolo.SmallYolo().model()), frames)
    return answer


def test_batches_of_any_size_come_back_as_they_are(served, driver, plan):
    engine, frames = served.ServedEngine(plan), small_yolo.frames(4)
    (name,), (told,) = engine.inputs, engine.outputs
    for batch in (1, 4, 3):
        answer = engine.run({name: frames[:batch]})[told]
        assert np.abs(answer - wanted(frames[:batch])).max() < 1e-3
    assert driver.launches == 0
    engine.close()
    assert (driver.held, driver.streams) == ({}, set()), "all is given back"


def test_only_the_chosen_batches_are_graphs_and_answer_alike(served, driver, plan):
    engine, frames = served.ServedEngine(plan, graph_batches=[1, 4]), small_yolo.frames(4)
    (name,), (told,) = engine.inputs, engine.outputs
    for batch, launches in ((4, 1), (2, 1), (1, 2), (4, 3)):
        answer = engine.run({name: frames[::-1][:batch]})[told]
        assert np.abs(answer - wanted(frames[::-1][:batch])).max() < 1e-3
        assert driver.launches == launches
    engine.close()
    assert driver.graphs == {}


def test_an_answer_is_the_callers_to_keep(served, driver, plan):
    engine, frames = served.ServedEngine(plan), small_yolo.frames(2)
    (name,), (told,) = engine.inputs, engine.outputs
    first = engine.run({name: frames[:1]})[told]
    kept = first.copy()
    engine.run({name: frames[1:]})
    assert (first == kept).all()


def test_what_does_not_fit_is_said(served, driver, plan, tensorrt):
    engine, frames = served.ServedEngine(plan), small_yolo.frames(5)
    (name,) = engine.inputs
    with pytest.raises(ValueError, match=r"images is \(5, .*1 to 4"):
        engine.run({name: frames})
    with pytest.raises(ValueError, match="images is"):
        engine.run({name: frames[:1, :, ::2]})
    tensorrt.runs = False
    with pytest.raises(RuntimeError, match="did not take the batch"):
        engine.run({name: frames[:1]})
    driver.fails = {"cuMemAllocHost_v2": 2}
    with pytest.raises(RuntimeError, match="cuMemAllocHost_v2 gave error 2"):
        served.ServedEngine(plan)


def test_a_plan_of_another_version_is_refused(served, driver, tmp_path):
    (tmp_path / "model.plan").write_bytes(b"something else")
    with pytest.raises(ValueError, match="TensorRT refuses it"):
        served.ServedEngine(tmp_path / "model.plan")

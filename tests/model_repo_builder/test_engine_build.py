"""From ONNX to an engine that passed its gate, with ONNX Runtime playing the engine: what is compiled and refused."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from model_repo_builder import cuda_device, cuda_memory, engine_build, engine_gate, onnx_calibration, quantization_lint
from model_repo_builder.cuda_device import CudaDevice
from model_repo_builder.errors import Failed, Refused
from model_repo_builder.gates import Bars
from model_repo_builder.heads import Head
from tests.model_repo_builder import fake_tensorrt, small_yolo
from tests.model_repo_builder.fake_cuda import FakeDriver
from yolofleet.api.recipe import Recipe

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.compare import Comparison

DEVICE = CudaDevice("NVIDIA H200", "9.0", 132, 143771)


def recipe(precision: str) -> Recipe:
    told = {"weights": "builtin:small", "backend": "TensorRT", "precision": precision, "maxBatchSize": 4}
    size = {"height": small_yolo.SIZE, "width": small_yolo.SIZE}
    calibration = "pvc:frames x8" if precision == "INT8" else None
    more = {"imageSize": size, "calibration": calibration, "task": "Detect", "endpoints": ["Ultralytics"]}
    return Recipe.model_validate({**told, **more})


@pytest.fixture
def built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    onnx.save(small_yolo.SmallYolo().model(), str(tmp_path / "model.onnx"))
    (tmp_path / "1").mkdir()

    def build(precision: str = "FP16", *, blank: bool = False, **how: Any) -> Comparison:
        monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module(**how))
        monkeypatch.setattr(cuda_device, "look", lambda: DEVICE)
        monkeypatch.setattr(cuda_memory.ctypes, "CDLL", lambda name: FakeDriver())
        asked = engine_build.Asked(
            recipe=recipe(precision),
            target=None,
            head=Head(task="Classify" if blank else "Detect", classes=small_yolo.CLASSES),
            frames=small_yolo.frames(8),
            batches=onnx_calibration.batched(small_yolo.frames(8)),
        )
        _, seen = engine_build.write(
            tmp_path / "model.onnx", tmp_path / "1" / "model.plan", asked, build=silent, compare=silent
        )
        return seen

    return build


def silent(_fraction: float, _words: str) -> None:
    return


def compiled(folder: Path) -> onnx.ModelProto:
    """The graph that TensorRT was given."""
    return onnx.load_from_string((folder / "1" / "model.plan").read_bytes().partition(b"\n")[2])


def kinds(model: onnx.ModelProto) -> set[int]:
    return {
        tensor.data_type for tensor in model.graph.initializer if "weight" in tensor.name and "dfl" not in tensor.name
    }


def test_fp16_is_compiled_from_a_graph_that_says_so_and_sees_the_same(built: Any, tmp_path: Path) -> None:
    seen = built("FP16")
    assert kinds(compiled(tmp_path)) == {onnx.TensorProto.FLOAT16}
    assert "0 seen by one only" in seen.boxes
    assert seen.frames == 8
    assert json.loads((tmp_path / "1" / "gate.json").read_text())["boxes"] > 40
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["1", "model.onnx"], "the graph that was compiled is gone"


def test_fp32_is_compiled_from_the_graph_as_it_is(built: Any, tmp_path: Path) -> None:
    built("FP32")
    assert kinds(compiled(tmp_path)) == {onnx.TensorProto.FLOAT}


def test_int8_is_compiled_from_a_typed_graph_with_scales(
    built: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Random weights see boxes that hardly differ, and a few change places: the trained ones' bars are not theirs."""
    with pytest.raises(Failed, match=r"seen by one of the two only, allowed 3\.3"):
        built("INT8")
    monkeypatch.setitem(engine_gate.BARS, "INT8", Bars(box_iou=0.7, score_slack=0.15, lost_share=0.1))
    seen = built("INT8")
    graph = compiled(tmp_path)
    assert quantization_lint.problems(graph) == []
    assert onnx.TensorProto.FLOAT not in kinds(graph)
    assert any(node.op_type == "QuantizeLinear" for node in graph.graph.node)
    assert seen.max_absolute > 0


def test_fp8_is_refused_until_it_is_seen_to_gain(built: Any) -> None:
    with pytest.raises(Refused, match="no FP8 engines yet"):
        built("FP8")


@pytest.mark.parametrize(
    ("sees", "words"),
    [
        (lambda answer: answer * 0, "does not see what ONNX Runtime sees: .* seen by one of the two only"),
        (lambda answer: answer * np.float32("nan"), "values that are no numbers"),
        (lambda answer: answer + np.where(np.arange(24) < 4, 6, 0)[:, None], "does not see"),
    ],
)
def test_an_engine_that_sees_something_else_is_not_published(built: Any, sees: Any, words: str) -> None:
    with pytest.raises(Failed, match=words):
        built("FP16", sees=sees)


def test_without_boxes_values_are_compared(built: Any) -> None:
    assert built("FP16", blank=True).boxes == ""
    with pytest.raises(Failed, match="does not see"):
        built("FP16", blank=True, sees=lambda answer: answer * 1.05)

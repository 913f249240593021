"""A user's own ONNX file: size fixed, batch freed where it can be, told where it can't; and the gate that compares."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from model_repo_builder import boxes, compare, frames, onnx_graph
from model_repo_builder.errors import Failed
from model_repo_builder.heads import Head
from model_repo_builder.progress import Board
from model_repo_builder.repository import model_of
from tests.model_repo_builder.making import Bench, TinyYolo, names, pvc, request
from yolofleet.api.build import ServeRequest
from yolofleet.api.recipe import ImageSize

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.store import Stored

SIZE = ImageSize(height=64, width=64)


def publish(bench: Bench, tiny: TinyYolo | onnx.ModelProto, **wanted: Any) -> Stored:
    model = tiny.model() if isinstance(tiny, TinyYolo) else tiny
    (bench.source / "m.onnx").write_bytes(model.SerializeToString())
    asked = request(pvc("m.onnx"), **wanted)
    result = bench.build(asked)
    assert result.outcome == "Published", result
    stored = bench.store.find(asked.key)
    assert stored is not None
    assert result.artifact == stored.artifact
    assert bench.leftovers() == []
    return stored


def loaded(stored: Stored) -> onnx.ModelProto:
    return onnx.load(str(stored.folder / "model.onnx"))


@pytest.mark.parametrize("batch", ["batch", 1])
@pytest.mark.parametrize("size", [(64, 64), ("height", "width"), ("height", 64)])
def test_the_engine_has_a_fixed_size_and_a_free_batch(batch: int | str, size: Any, bench: Bench) -> None:
    original = TinyYolo(batch=batch, size=size)
    stored = publish(bench, original)
    (images,), (boxes,) = onnx_graph.inputs_of(loaded(stored)), onnx_graph.outputs_of(loaded(stored))
    assert images.dims == (-1, 3, 64, 64)
    assert boxes.dims == (-1, 6, 4)
    assert stored.manifest.max_batch_size == 8
    batchful = np.random.default_rng(3).random((5, 3, 64, 64), np.float32)
    together = onnx_graph.run(onnx_graph.session(loaded(stored)), batchful)[0]
    reference = onnx_graph.session(original.model())
    alone = [onnx_graph.run(reference, frame[np.newaxis])[0] for frame in batchful]
    np.testing.assert_allclose(together, np.concatenate(alone), atol=1e-5)


def test_the_inputs_are_left_as_they_are(bench: Bench) -> None:
    """The client takes the input's name from the config."""
    assert publish(bench, TinyYolo()).manifest.inputs[0].name == "images"


def mixing(model: onnx.ModelProto) -> onnx.ModelProto:
    """Add to every output what depends on the batch as a whole, so that a free batch says something else."""
    model.graph.node[-1].output[0] = "before"
    axes = numpy_helper.from_array(np.array([0], np.int64), "axes")
    model.graph.initializer.append(axes)
    model.graph.node.append(helper.make_node("ReduceSum", ["features", "axes"], ["all"], keepdims=0))
    model.graph.node.append(helper.make_node("ReduceSum", ["all"], ["sum"], keepdims=0))
    model.graph.node.append(helper.make_node("Add", ["before", "sum"], ["output0"]))
    return model


def test_a_batch_that_cant_be_freed_is_kept_and_said(bench: Bench) -> None:
    board = Board()
    said: list[str] = []
    board.listeners = (lambda progress: said.append(progress.message),)
    (bench.source / "m.onnx").write_bytes(mixing(TinyYolo(batch=1).model()).SerializeToString())
    asked = request(pvc("m.onnx"))
    assert bench.build(asked, board=board).outcome == "Published"
    stored = bench.store.find(asked.key)
    assert stored is not None
    assert stored.manifest.max_batch_size == 1
    assert stored.manifest.inputs[0].dims == [1, 3, 64, 64]
    assert any("maxBatchSize 1" in message for message in said)
    assert "maxBatchSize 1" in stored.manifest.provenance["notes"]
    served = model_of(stored.manifest, ServeRequest(key=asked.key, model_name="m", max_batch_size=8))
    assert served.max_batch_size == 0
    assert served.inputs[0].dims == (1, 3, 64, 64)


def test_metadata_of_the_file_reaches_manifest_file_and_onnx(bench: Bench) -> None:
    stored = publish(bench, TinyYolo())
    assert stored.manifest.metadata["names"] == {"0": "thing 0", "1": "thing 1"}
    assert json.loads((stored.folder / "metadata.json").read_text()) == stored.manifest.metadata
    props = {prop.key: prop.value for prop in loaded(stored).metadata_props}
    assert props["names"] == str(names(2))
    assert props["task"] == "detect"


def test_a_file_without_metadata_gets_numbered_classes(bench: Bench) -> None:
    stored = publish(bench, TinyYolo(channels=7, metadata=None))
    assert stored.manifest.metadata["names"] == {"0": "class0", "1": "class1", "2": "class2"}
    assert "no class names" in stored.manifest.provenance["notes"]


def test_boxes_come_before_prototypes_whatever_they_are_called(bench: Bench) -> None:
    told = {"task": "segment", "names": names(2), "stride": 32}
    tiny = TinyYolo(channels=10, protos=True, metadata=told, output_names=("zz_boxes", "aa_protos"))
    stored = publish(bench, tiny, task="Segment")
    assert [(output.name, output.dims) for output in stored.manifest.outputs] == [
        ("output0", [-1, 10, 4]),
        ("output1", [-1, 4, 16, 16]),
    ]


def test_outputs_that_sort_well_keep_their_names(bench: Bench) -> None:
    told = {"task": "segment", "names": names(2), "stride": 32}
    tiny = TinyYolo(channels=10, protos=True, metadata=told, output_names=("boxes", "protos"))
    assert [output.name for output in publish(bench, tiny, task="Segment").manifest.outputs] == ["boxes", "protos"]


@pytest.mark.parametrize(
    ("task", "tiny"),
    [
        ("Pose", TinyYolo(channels=4 + 1 + 6, metadata={"task": "pose", "names": names(1), "kpt_shape": [2, 3]})),
        ("OBB", TinyYolo(channels=4 + 2 + 1, metadata={"task": "obb", "names": names(2)})),
        ("Classify", TinyYolo(channels=3, classify=True, metadata={"task": "classify", "names": names(3)})),
    ],
)
def test_the_other_tasks(task: str, tiny: TinyYolo, bench: Bench) -> None:
    stored = publish(bench, tiny, task=task)
    assert stored.manifest.metadata["task"] == task.lower()
    assert ("kpt_shape" in stored.manifest.metadata) == (task == "Pose")


def test_infinities_are_a_failure_with_the_reason(bench: Bench) -> None:
    model = TinyYolo().model()
    weights = model.graph.initializer[0]
    weights.CopyFrom(numpy_helper.from_array(np.full((6, 3, 32, 32), 1e38, np.float32), "weights"))
    (bench.source / "m.onnx").write_bytes(model.SerializeToString())
    result = bench.build(request(pvc("m.onnx")))
    assert result.outcome == "Failed"
    assert result.failure is not None
    assert "infinities or NaN" in result.failure.message
    assert bench.leftovers() == []


def test_a_newer_ir_is_written_as_one_that_servers_read(bench: Bench) -> None:
    model = TinyYolo().model()
    model.ir_version = 12
    assert loaded(publish(bench, model)).ir_version == onnx_graph.IR_VERSION


def traced(size: int = 64) -> onnx.ModelProto:
    """A graph as a tracer writes it: the reshape's target computed from the batch."""
    model = TinyYolo(size=(size, size)).model()
    model.graph.initializer.append(numpy_helper.from_array(np.array([0], np.int64), "zero"))
    model.graph.initializer.append(numpy_helper.from_array(np.array([6, -1], np.int64), "rest"))
    shape = helper.make_node("Shape", ["images"], ["shape"])
    first = helper.make_node("Gather", ["shape", "zero"], ["first"])
    target = helper.make_node("Concat", ["first", "rest"], ["computed"], axis=0)
    for index, node in enumerate((shape, first, target)):
        model.graph.node.insert(1 + index, node)
    model.graph.node[-1].input[1] = "computed"
    return model


def test_shapes_computed_from_the_batch_become_constants() -> None:
    model = traced()
    assert onnx_graph.fold_shapes(model, SIZE) == 1
    assert set(onnx_graph.operators(model)) == {"Conv", "Reshape"}
    both = [onnx_graph.session(made) for made in (model, traced())]
    batchful = np.random.default_rng(4).random((3, 3, 64, 64), np.float32)
    got, wanted = (onnx_graph.run(session, batchful)[0] for session in both)
    np.testing.assert_array_equal(got, wanted)


def test_a_graph_without_computed_shapes_is_left_alone() -> None:
    model = TinyYolo().model()
    before = model.SerializeToString()
    assert onnx_graph.fold_shapes(model, SIZE) == 0
    assert model.SerializeToString() == before


def with_noise(relative: float) -> tuple[list[Any], Any, Head]:
    """Outputs of a detect head, the same with one channel's error, and the head."""
    wanted = np.concatenate([np.full((1, 4, 9), 300.0), np.full((1, 2, 9), 0.5)], axis=1).astype(np.float32)
    got = wanted.copy()
    got[0, 5, 3] += relative
    return [wanted], [got], Head(task="Detect", classes=2)


@given(st.floats(2e-3, 1.0))
@settings(max_examples=20)
def test_large_boxes_do_not_hide_wrong_scores(error: float) -> None:
    """Errors are relative to their own channel."""
    wanted, got, head = with_noise(error)
    assert compare._errors(wanted, got, head)[1] > compare.TOLERANCE


def test_tied_scores_may_change_places_in_an_end_to_end_head() -> None:
    rows = np.array([[[0, 0, 9, 9, 0.9, 1], [5, 5, 8, 8, 0.9, 1], [1, 1, 2, 2, 0.1, 0]]], np.float32)
    head = Head(task="Detect", classes=2, end_to_end=True)
    assert compare._errors([rows], [rows[:, ::-1]], head)[1] == 0
    moved = rows.copy()
    moved[0, 0, 0] = 4
    assert compare._errors([rows], [moved], head)[1] > compare.TOLERANCE


@pytest.mark.parametrize("wrong", [np.full((1, 6, 4), np.nan, np.float32), np.zeros((1, 6, 5), np.float32)])
def test_nan_and_other_shapes_never_pass_the_gate(wrong: Any) -> None:
    wanted = np.zeros((1, 6, 4), np.float32)
    assert compare._errors([wanted], [wrong], Head(task="Detect", classes=2))[1] == np.inf


def test_the_gate_says_its_numbers(tmp_path: Path) -> None:
    path = str(TinyYolo().save(tmp_path / "m.onnx"))
    session = onnx_graph.session(path)
    trial = frames.trial_frames(SIZE, 3)
    head = Head(task="Detect", classes=2)
    seen = compare.against(lambda x: onnx_graph.run(session, x), path, trial, head=head, report=lambda *_: None)
    gate = seen.gate()
    assert (gate.reference, gate.frames, gate.unmatched_boxes, gate.lowest_iou) == ("torch", len(trial), 0, "1")
    assert gate.boxes == sum(map(len, boxes.from_raw(onnx_graph.run(session, trial), head, boxes.Thresholds())))
    assert seen.max_relative < 1e-5
    with pytest.raises(Failed, match=r"largest error .* allowed 0\.001"):
        compare.against(
            lambda x: [output + 0.5 for output in onnx_graph.run(session, x)],  # type: ignore[operator]
            path,
            trial,
            head=head,
            report=lambda *_: None,
        )


@pytest.mark.parametrize("channels", [1, 3, 4, 6])
def test_trial_frames_have_the_models_channels(channels: int) -> None:
    trial = frames.trial_frames(ImageSize(height=64, width=96), channels)
    assert trial.shape[1:] == (channels, 64, 96)
    assert trial.dtype == np.float32
    assert 0 <= trial.min() <= trial.max() <= 1


def test_letterboxing_keeps_the_aspect_on_grey(tmp_path: Path) -> None:
    from PIL import Image

    Image.new("RGB", (200, 100), (255, 0, 0)).save(tmp_path / "red.png")
    boxed = frames.letterboxed(tmp_path / "red.png", SIZE)
    grey = frames.PADDING / 255
    np.testing.assert_allclose(boxed[0, 0], [grey] * 3, atol=1e-6)
    np.testing.assert_allclose(boxed[32, 32], [1, 0, 0], atol=1e-6)
    np.testing.assert_allclose(boxed[15, 0], [grey] * 3, atol=1e-6)
    np.testing.assert_allclose(boxed[16, 0], [1, 0, 0], atol=1e-6)


def test_half_precision_models_are_served_as_such(bench: Bench) -> None:
    images = helper.make_tensor_value_info("images", TensorProto.FLOAT16, ["batch", 3, 64, 64])
    output = helper.make_tensor_value_info("output0", TensorProto.FLOAT16, ["batch", 6, 4])
    weights = numpy_helper.from_array(np.full((6, 3, 32, 32), 1e-3, np.float16), "weights")
    target = numpy_helper.from_array(np.array([-1, 6, 4], np.int64), "target")
    nodes = [
        helper.make_node("Conv", ["images", "weights"], ["features"], kernel_shape=[32, 32], strides=[32, 32]),
        helper.make_node("Reshape", ["features", "target"], ["output0"]),
    ]
    graph = helper.make_graph(nodes, "half", [images], [output], [weights, target])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    stored = publish(bench, model)
    assert stored.manifest.inputs[0].data_type == "FP16"


def test_onnx_runtime_keeps_no_book_and_calls_nobody(tmp_path: Path) -> None:
    """From 1.29 on it writes an identifier under HOME and sends usage data, unless told before it is imported."""
    program = "import model_repo_builder.onnx_graph, onnxruntime, time; time.sleep(0.5)"
    environment = {key: value for key, value in os.environ.items() if key != "ORT_DISABLE_TELEMETRY"}
    here = {"HOME": str(tmp_path), "TMPDIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    subprocess.run([sys.executable, "-c", program], env=environment | here, check=True, cwd=tmp_path, timeout=120)
    assert [path.name for path in tmp_path.rglob("*")] == []

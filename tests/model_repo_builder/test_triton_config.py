"""config.pbtxt: golden files, Triton's own protobuf both ways, and the client's rules."""

from __future__ import annotations

import ast
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_repo_builder.heads import Head
from model_repo_builder.metadata import Facts, triton_metadata
from model_repo_builder.triton_config import TritonModel, TritonTensor, config_of, parse, text_of
from tests.golden import assert_golden
from yolofleet.api.recipe import ImageSize

GOLDEN = Path(__file__).parent / "golden"
IMAGES = TritonTensor("images", "FP32", (-1, 3, 640, 640))
BOXES = TritonTensor("output0", "FP32", (-1, 84, 8400))


def metadata(head: Head, *names: str) -> dict[str, Any]:
    return triton_metadata(Facts(head=head, names=names), ImageSize())


DETECT = TritonModel(
    name="gate-cameras",
    backend="ONNXRuntime",
    max_batch_size=8,
    inputs=(IMAGES,),
    outputs=(BOXES,),
    metadata=metadata(Head(task="Detect", classes=2), "person", "bicycle"),
    queue_delay_microseconds=500,
)
SEGMENT = Head(task="Segment", classes=1, masks=32)
POSE = Head(task="Pose", classes=1, keypoints=(17, 3))
CASES = {
    "detect": DETECT,
    "one-frame-at-a-time": replace(DETECT, max_batch_size=1),
    "fixed-batch": replace(
        DETECT,
        max_batch_size=0,
        inputs=(replace(IMAGES, dims=(1, 3, 640, 640)),),
        outputs=(replace(BOXES, dims=(1, 84, 8400)),),
    ),
    "segment": replace(
        DETECT,
        outputs=(
            TritonTensor("output0", "FP32", (-1, 37, 8400)),
            TritonTensor("output1", "FP32", (-1, 32, 160, 160)),
        ),
        metadata=metadata(SEGMENT, 'it\'s a "crate"\n\\ ünïcödé'),
    ),
    "pose": replace(
        DETECT, outputs=(TritonTensor("output0", "FP32", (-1, 56, 8400)),), metadata=metadata(POSE, "person")
    ),
    "tensorrt": replace(
        DETECT, backend="TensorRT", max_batch_size=32, instances=2, inputs=(replace(IMAGES, data_type="FP16"),)
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_golden(name: str) -> None:
    assert_golden(GOLDEN / f"{name}.pbtxt", text_of(config_of(CASES[name])))


def test_every_golden_file_has_its_case() -> None:
    assert {path.stem for path in GOLDEN.glob("*.pbtxt")} == set(CASES)


DIMS = st.lists(st.integers(1, 4096), min_size=1, max_size=3)


@st.composite
def tensors(draw: st.DrawFn, name: str) -> TritonTensor:
    return TritonTensor(name, draw(st.sampled_from(["FP32", "FP16"])), (-1, *draw(DIMS)))


@st.composite
def models(draw: st.DrawFn) -> TritonModel:
    names = draw(st.lists(st.text(max_size=20), min_size=1, max_size=5))
    return TritonModel(
        name=draw(st.from_regex(r"\A[a-z][a-z0-9_-]{0,20}\Z")),
        backend=draw(st.sampled_from(["ONNXRuntime", "TensorRT"])),
        max_batch_size=draw(st.integers(1, 1024)),
        inputs=(draw(tensors("images")),),
        outputs=tuple(draw(tensors(f"output{index}")) for index in range(draw(st.integers(1, 2)))),
        metadata=metadata(Head(task="Detect", classes=len(names)), *names),
        instances=draw(st.integers(1, 64)),
        queue_delay_microseconds=draw(st.integers(0, 1_000_000)),
    )


@given(models())
def test_what_is_written_is_what_triton_reads(model: TritonModel) -> None:
    """The text parses back to the same protobuf."""
    config = config_of(model)
    assert parse(text_of(config)) == config


@given(models())
def test_the_client_finds_what_it_needs(model: TritonModel) -> None:
    """U2 and U3: outputs in the order of their names, and metadata that ast.literal_eval reads."""
    read = parse(text_of(config_of(model)))
    names = [output.name for output in read.output]
    assert names == sorted(names)
    assert ast.literal_eval(read.parameters["metadata"].string_value) == model.metadata
    assert [list(tensor.dims) for tensor in read.input] == [list(tensor.dims[1:]) for tensor in model.inputs]


@given(models())
def test_engines_run_on_gpus_and_onnx_on_cpus(model: TritonModel) -> None:
    config = config_of(model)
    kind = config.instance_group[0].Kind.Name(config.instance_group[0].kind)
    assert kind == ("KIND_GPU" if model.backend == "TensorRT" else "KIND_CPU")
    assert (config.platform == "tensorrt_plan") == (model.backend == "TensorRT")
    assert config.instance_group[0].count == model.instances


@given(models())
def test_only_batches_are_queued(model: TritonModel) -> None:
    """A queue delay without batching would only be a delay; preferred sizes and queue policies stall."""
    config = config_of(model)
    assert config.HasField("dynamic_batching") == (model.max_batch_size > 1)
    assert not config.dynamic_batching.preferred_batch_size
    assert not config.dynamic_batching.HasField("default_queue_policy")


def test_outputs_out_of_order_are_a_bug() -> None:
    with pytest.raises(ValueError, match="order of their names"):
        config_of(replace(DETECT, outputs=(replace(BOXES, name="protos"), replace(BOXES, name="boxes"))))

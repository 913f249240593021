"""Assembling a Triton model: every byte verified, nothing half, the client's config."""

from __future__ import annotations

import ast
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest

from model_repo_builder.endpoint_models import tuned_model
from model_repo_builder.errors import Damaged, Failed, Refused
from model_repo_builder.repository import ByHand, assemble
from model_repo_builder.triton_config import config_of, parse
from tests.model_repo_builder.making import Bench, TinyYolo, pvc, request
from tests.model_repo_builder.test_store import DAMAGES
from tests.model_repo_builder.test_triton_config import DETECT
from yolofleet.api.build import ServeRequest
from yolofleet.api.curve import Curve
from yolofleet.api.tuning import ModelTuning

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def key(bench: Bench) -> str:
    TinyYolo().save(bench.source / "m.onnx")
    wanted = request(pvc("m.onnx"))
    assert bench.build(wanted).outcome == "Published"
    return wanted.key


def serve(key: str, **more: object) -> ServeRequest:
    return ServeRequest.model_validate({"key": key, "modelName": "gate", "maxBatchSize": 4, **more})


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_model_is_assembled(key: str, bench: Bench) -> None:
    models = bench.root / "models"
    folder = assemble(bench.store, serve(key, instances=2, queueDelayMicroseconds=300), models)
    assert folder == models / "gate"
    assert files(models) == ["gate/1/model.onnx", "gate/config.pbtxt"]
    assert (folder / "1/model.onnx").read_bytes() == (bench.root / "store" / key / "model.onnx").read_bytes()
    config = parse((folder / "config.pbtxt").read_text())
    assert (config.name, config.max_batch_size, config.instance_group[0].count) == ("gate", 4, 2)
    assert config.dynamic_batching.max_queue_delay_microseconds == 300
    metadata = ast.literal_eval(config.parameters["metadata"].string_value)
    assert metadata["names"] == {0: "thing 0", 1: "thing 1"}
    assert metadata["batch"] == 1


def test_the_batch_is_never_larger_than_what_was_built(key: str, bench: Bench) -> None:
    folder = assemble(bench.store, serve(key, maxBatchSize=64), bench.root / "models")
    assert parse((folder / "config.pbtxt").read_text()).max_batch_size == 8


TUNING = {"endpoint": "Ultralytics", "maxBatchSize": 4, "instances": 2, "queueDelayMicroseconds": 700}


def test_what_the_operator_tuned_goes_before_the_requests_own_numbers(key: str, bench: Bench) -> None:
    asked = serve(key, maxBatchSize=8, tuning=[TUNING, TUNING | {"endpoint": "Frames", "instances": 9}])
    config = parse((assemble(bench.store, asked, bench.root / "models") / "config.pbtxt").read_text())
    assert (config.max_batch_size, config.instance_group[0].count) == (4, 2)
    assert config.dynamic_batching.max_queue_delay_microseconds == 700


def test_a_person_tunes_by_a_curve_and_never_beyond_what_was_built(key: str, bench: Bench) -> None:
    point = {"endpoint": "Ultralytics", "instances": 1, "p50Microseconds": 1000}
    points = [point | {"batch": b, "framesPerSecond": 100 * b, "p99Microseconds": 1000 * b} for b in (1, 4, 8, 16)]
    place = {"source": "Measured", "product": "CPU", "profile": "gpu", "smCount": 1, "points": points}
    for p99_ms, batch in ((100.0, 8), (5.0, 4), (0.5, 8)):
        by = ByHand(Curve.model_validate(place), p99_ms)
        folder = assemble(bench.store, serve(key, maxBatchSize=64), bench.root / "models", by=by)
        assert parse((folder / "config.pbtxt").read_text()).max_batch_size == batch


def test_a_tuned_engine_records_its_graphs_before_frames_come() -> None:
    told = ModelTuning.model_validate(TUNING | {"maxBatchSize": 16, "cudaGraphBatches": [1, 2, 4, 8, 16]})
    gpu = replace(DETECT, backend="TensorRT", max_batch_size=32)
    config = config_of(tuned_model(gpu, told))
    assert (config.max_batch_size, config.instance_group[0].count) == (16, 2)
    assert [spec.batch_size for spec in config.optimization.cuda.graph_spec] == [1, 2, 4, 8, 16]
    assert {each.batch_size for each in config.model_warmup} == {1, 2, 4, 8, 16}
    assert tuned_model(gpu, None) == gpu
    small = tuned_model(replace(gpu, max_batch_size=4), told)
    assert (small.max_batch_size, small.graph_batches) == (4, (1, 2, 4))


def test_pictures_alone_tune_the_graph_that_finds_their_boxes() -> None:
    told = serve("0" * 64, tuning=[TUNING | {"endpoint": "JPEG"}])
    assert told.tuning_of("Frames", "JPEG") == ModelTuning.model_validate(TUNING | {"endpoint": "JPEG"})
    assert told.tuning_of("Ultralytics") is None


def test_a_restarted_init_container_does_it_again(key: str, bench: Bench) -> None:
    models = bench.root / "models"
    (models / ".gate.partial" / "1").mkdir(parents=True)
    (models / "gate").mkdir()
    (models / "gate" / "stale").write_text("x")
    assemble(bench.store, serve(key), models)
    assemble(bench.store, serve(key), models)
    assert files(models) == ["gate/1/model.onnx", "gate/config.pbtxt"]


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_engine_is_never_served(name: str, key: str, bench: Bench) -> None:
    folder = bench.root / "store" / key
    DAMAGES[name](folder)
    with pytest.raises(Damaged) as caught:
        assemble(bench.store, serve(key), bench.root / "models")
    assert "the operator has it built again" in caught.value.remedy
    assert not (bench.root / "models" / "gate").exists()


def test_an_engine_that_is_not_there_is_told(bench: Bench) -> None:
    with pytest.raises(Failed, match="no engine is published") as caught:
        assemble(bench.store, serve("0" * 64), bench.root / "models")
    assert caught.value.value == "0" * 64


@pytest.mark.parametrize("name", ["..", "a/b", ".hidden", "a b", "-x", "é"])
def test_a_name_that_leads_elsewhere_is_refused(name: str, key: str, bench: Bench) -> None:
    with pytest.raises(Refused) as caught:
        assemble(bench.store, serve(key, modelName=name), bench.root / "models")
    assert (caught.value.field, caught.value.value) == ("modelName", name)


def test_a_volume_that_is_not_there_is_told(key: str, bench: Bench) -> None:
    (bench.root / "a-file").write_text("x")
    with pytest.raises(Failed, match="can't be written"):
        assemble(bench.store, serve(key), bench.root / "a-file")


@pytest.mark.parametrize("name", DAMAGES)
def test_a_damaged_engine_is_built_again_by_the_next_build(name: str, bench: Bench) -> None:
    TinyYolo().save(bench.source / "m.onnx")
    wanted = request(pvc("m.onnx"))
    first = bench.build(wanted)
    DAMAGES[name](bench.root / "store" / wanted.key)
    again = bench.build(wanted)
    assert again == first
    assert bench.build(wanted).outcome == "Cached"
    assemble(bench.store, serve(wanted.key), bench.root / "models")

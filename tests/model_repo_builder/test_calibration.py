"""INT8 on a user's own pictures: what is taken of an archive, what is refused of it, and whole builds with it."""

from __future__ import annotations

import hashlib
import io
import sys
import zipfile
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from PIL import Image

from model_repo_builder import calibration_set, cuda_device, cuda_memory, engine_gate, onnx_graph, picture_archive
from model_repo_builder.__main__ import main
from model_repo_builder.cuda_device import CudaDevice
from model_repo_builder.errors import Failed, Origin
from model_repo_builder.gates import Bars
from model_repo_builder.http_source import Fetched
from model_repo_builder.settings import Limits
from tests.model_repo_builder import fake_tensorrt, small_yolo
from tests.model_repo_builder.fake_cuda import FakeDriver
from tests.model_repo_builder.making import Bench, TinyYolo, pvc, request
from yolofleet.api.build import BuildRequest, BuildResult, Calibration, Labelled
from yolofleet.api.recipe import ImageSize
from yolofleet.api.sources import Source
from yolofleet.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

FIELD = "spec.engine.calibration.source.pvc.path"
SIZE = ImageSize(height=64, width=64)
LOOSE = Bars(box_iou=0.5, score_slack=0.5, lost_share=0.5)
"""Random weights see boxes that hardly differ: a trained model's bars are not theirs."""


def drawn(seed: int, kind: str = "PNG") -> bytes:
    target = io.BytesIO()
    pixels = (small_yolo.frames(1, seed)[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)
    Image.fromarray(pixels).save(target, kind)
    return target.getvalue()


def archive(path: Path, count: int = 12, *, first: int = 0, **more: bytes | str) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for number in range(first, first + count):
            made.writestr(f"crossing/{number:03d}.png", drawn(number))
        for name, content in more.items():
            made.writestr(name, content)
    return path


def opened(path: Path, images: int = 100) -> Any:
    got = Fetched(path, "a" * 64, path.stat().st_size)
    return calibration_set.opened(got, Origin(FIELD, path.name), images=images, size=SIZE, channels=3)


def silent(_fraction: float, _words: str) -> None:
    return


def asked(path: str = "frames.zip", images: int = 12, **more: Any) -> Calibration:
    return Calibration(source=Source.model_validate(pvc(path, **more)), images=images)


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Folders with weights and twelve pictures."""
    monkeypatch.setitem(engine_gate.BARS, "INT8", LOOSE)
    made = Bench(tmp_path)
    onnx.save(small_yolo.SmallYolo().model(), str(made.source / "m.onnx"))
    archive(made.root / "calibration" / "frames.zip")
    return made


def wanted(calibration: Calibration | None = None, **more: Any) -> BuildRequest:
    return request(pvc("m.onnx"), calibration=calibration or asked(), **more)


# Which pictures


def test_frames_come_a_few_at_a_time_as_the_model_takes_them(tmp_path: Path) -> None:
    with opened(archive(tmp_path / "a.zip")) as told:
        batches = list(told.batches(silent, at_once=5))
    assert [batch.shape for batch in batches] == [(5, 3, 64, 64), (5, 3, 64, 64), (2, 3, 64, 64)]
    assert np.abs(np.concatenate(batches)[7] - small_yolo.frames(1, 7)[0]).max() < 1 / 255


@pytest.mark.parametrize(("count", "most"), [(1, 8), (12, 12), (12, 8), (100, 7), (513, 512)])
def test_pictures_are_spread_evenly_and_in_order(count: int, most: int) -> None:
    found = [int(name) for name in calibration_set.spread([str(number) for number in range(count)], most)]
    steps = np.diff(found)
    assert len(found) == min(count, most)
    assert len(steps) == 0 or steps.min() >= 1
    assert len(steps) == 0 or steps.max() - steps.min() <= 1


def test_of_a_data_set_the_training_pictures_are_taken(tmp_path: Path) -> None:
    path = tmp_path / "set.zip"
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("data.yaml", "train: images/train\nval: images/val\n")
        for number in range(16):
            made.writestr(f"images/{'train' if number % 2 else 'val'}/{number}.jpg", drawn(number, "JPEG"))
    with opened(path) as told:
        assert {name.split("/")[1] for name in told.names} == {"train"}
        assert len(told.names) == 8


# What is refused of an archive


def spoilt(path: Path) -> None:
    """Change a byte of a picture that is stored as it is."""
    content = bytearray(path.read_bytes())
    content[content.index(b"crossing/003.png") + 60] ^= 0xFF
    path.write_bytes(bytes(content))


@pytest.mark.parametrize(
    ("content", "message", "remedy"),
    [
        (b"", "not a zip archive", "pictures"),
        (b"<html>404</html>", "a web page, not a zip archive", "pictures"),
        ({"count": 0}, "the archive has no picture", "pictures"),
        ({"count": 7}, "too few pictures to take scales from: 7, and 8 are needed", "few hundred"),
        ({"crossing/a.png": b"<html>"}, "crossing/a.png is no picture", "take it out"),
        ({"crossing/a.png": b""}, "crossing/a.png is no picture", "take it out"),
        ({"crossing/a.png": b"%!PS-Adobe-3.0 EPSF-3.0\n"}, "crossing/a.png is no picture", "take it out"),
        ({"crossing/a.png": drawn(1)[:50]}, "crossing/a.png is no picture", "take it out"),
        ({"data.yaml": "train: ["}, "no YAML", "mend it"),
        ({"data.yaml": "train: nowhere"}, "no picture in nowhere", "pictures"),
    ],
)
def test_what_is_no_archive_of_pictures_is_refused_and_nothing_published(
    content: Any, message: str, remedy: str, bench: Bench
) -> None:
    path = bench.root / "calibration" / "frames.zip"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        archive(path, **({"count": 12} | content))
    all_of_them = wanted(asked(images=100))
    made = bench.in_pod(all_of_them)
    assert made.failure is not None
    assert (made.outcome, made.failure.field, made.failure.value) == ("Refused", FIELD, "frames.zip")
    assert message in made.failure.message
    assert remedy in made.failure.remedy
    assert bench.store.find(all_of_them.key) is None


def test_a_damaged_picture_is_refused_by_its_name(tmp_path: Path) -> None:
    spoilt(path := archive(tmp_path / "a.zip"))
    with opened(path) as told, pytest.raises(Refused, match=r"crossing/003\.png can't be read"):
        list(told.batches(silent, at_once=4))


def test_a_picture_that_unfolds_into_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_archive, "MOST_PIXELS", 64 * 64 - 1)
    with opened(archive(tmp_path / "a.zip")) as told, pytest.raises(Refused, match=r"64 x 64 pixels .*scale it down"):
        told.some()


def test_what_takes_too_long_ends_with_a_number_that_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibration_set, "LIMIT_S", -1.0)
    with opened(archive(tmp_path / "a.zip")) as told, pytest.raises(Failed) as caught:
        list(told.batches(silent, at_once=4))
    assert (caught.value.field, caught.value.value) == ("spec.engine.calibration.images", "12")
    assert "set spec.engine.calibration.images to 8" in caught.value.remedy


@pytest.mark.parametrize(
    ("calibration", "field", "words"),
    [
        (asked("framez.zip"), FIELD, "no such file on the volume"),
        (asked("."), FIELD, "not a regular file"),
        (asked(sha256="b" * 64), "spec.engine.calibration.source.pvc.sha256", "the file's sha256 is"),
        (Calibration(source=Source(builtin="coco")), "spec.engine.calibration.source.builtin", "does not fetch"),
        (
            Calibration.model_validate({"source": {"http": {"url": "http://127.0.0.1:1/a.zip", "sha256": "b" * 64}}}),
            "spec.engine.calibration.source.http.url",
            "loopback",
        ),
    ],
)
def test_pictures_that_cannot_be_had_name_their_field(
    calibration: Calibration, field: str, words: str, bench: Bench
) -> None:
    from model_repo_builder.addresses import AddressRules

    made = bench.in_pod(wanted(calibration), settings=bench.settings(rules=AddressRules()))
    assert made.failure is not None
    assert (made.outcome, made.failure.field) == ("Refused", field)
    assert words in made.failure.message
    assert made.failure.remedy


def test_an_archive_that_is_too_large_is_refused(bench: Bench) -> None:
    settings = bench.settings()
    model = (bench.source / "m.onnx").stat().st_size
    pictures = bench.root / "calibration" / "frames.zip"
    with pictures.open("ab") as file:
        file.write(b"\0" * 2 * model)
    limits = Limits(max_bytes=model + 1)
    made = bench.in_pod(wanted(), settings=type(settings)(places=settings.places, limits=limits))
    assert made.failure is not None
    assert (made.outcome, made.failure.field) == ("Refused", FIELD)
    assert f"{model + 1} are allowed" in made.failure.message


# Requests that make no sense


@pytest.mark.parametrize(
    ("made", "field", "words"),
    [
        (request(pvc("m.onnx"), precision="INT8"), "spec.engine.calibration", "scales are taken from pictures"),
        (wanted(precision="FP32"), "spec.engine.calibration", "scales are taken from pictures"),
        (wanted(task="Classify"), "spec.engine.precision", "a classifier has none"),
        (wanted(precision="FP8"), "spec.engine.precision", "FP32 and INT8"),
        (wanted().model_copy(update={"calibration": asked(images=9)}), "spec.engine.calibration", "the recipe is for"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_fetched(
    made: BuildRequest, field: str, words: str, bench: Bench
) -> None:
    told = bench.in_pod(made)
    assert told.failure is not None
    assert (told.outcome, told.failure.field) == ("Refused", field)
    assert words in told.failure.message


# Whole builds


def test_a_pod_quantises_what_one_process_quantises_and_the_store_remembers(bench: Bench, tmp_path: Path) -> None:
    made = bench.in_pod(wanted())
    assert made.outcome == "Published", made.failure
    assert made.gate is not None
    assert (made.gate.reference, made.gate.frames) == ("the FP32 graph", 12)
    assert made.gate.boxes is not None
    assert made.gate.boxes > 0
    stored = bench.store.find(wanted().key)
    assert stored is not None
    told = stored.manifest
    pictures = hashlib.sha256((bench.root / "calibration" / "frames.zip").read_bytes()).hexdigest()
    assert told.provenance["calibrationSHA256"] == pictures
    assert "from 12 pictures" in told.provenance["notes"]
    assert {file.path for file in told.files} == {"model.onnx", "metadata.json", "gate.json"}, (
        "drawn frames stay behind"
    )
    graph = onnx.load(str(stored.folder / "model.onnx"))
    assert any(node.op_type == "QuantizeLinear" for node in graph.graph.node)
    assert bench.in_pod(wanted()) == made.model_copy(update={"outcome": "Cached"})
    (tmp_path / "alone").mkdir()
    alone = Bench(tmp_path / "alone")
    onnx.save(small_yolo.SmallYolo().model(), str(alone.source / "m.onnx"))
    archive(alone.root / "calibration" / "frames.zip")
    assert alone.build(wanted()).gate == made.gate


def test_other_pictures_are_another_engine() -> None:
    keys = {
        wanted(told).key
        for told in (asked(), asked(images=9), asked("other.zip"), asked(sha256="b" * 64), asked(sha256="c" * 64))
    }
    assert len(keys) == 5


def test_an_engine_that_sees_something_else_is_refused(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(engine_gate.BARS, "INT8", Bars(box_iou=0.99, score_slack=0.0001, lost_share=0.0))
    made = bench.in_pod(wanted())
    assert made.failure is not None
    assert (made.outcome, made.failure.field, made.failure.value) == ("Refused", "spec.engine.precision", "INT8")
    assert "does not see what FP32 sees in 12 of the pictures: " in made.failure.message
    assert "calibrate on more pictures" in made.failure.remedy
    assert bench.store.find(wanted().key) is None


def test_a_graph_with_nothing_to_quantise_is_refused(bench: Bench) -> None:
    TinyYolo().save(bench.source / "m.onnx")
    made = bench.in_pod(wanted())
    assert made.failure is not None
    assert (made.outcome, made.failure.field) == ("Refused", "spec.engine.precision")
    assert "nothing to quantise" in made.failure.message


def test_a_fixed_batch_is_calibrated_frame_by_frame(bench: Bench) -> None:
    model = small_yolo.SmallYolo().model()
    for tensor in (*model.graph.input, *model.graph.output):
        tensor.type.tensor_type.shape.dim[0].dim_value = 1
    for initializer in model.graph.initializer:
        if initializer.name in {"to_bins", "to_sides", "to_flat"}:
            values = onnx.numpy_helper.to_array(initializer).copy()
            values[0] = 1
            initializer.CopyFrom(onnx.numpy_helper.from_array(values, initializer.name))
    onnx.save(model, str(bench.source / "m.onnx"))
    made = bench.in_pod(wanted())
    assert made.outcome == "Published", made.failure


def test_the_labelled_set_is_asked_of_both_graphs(bench: Bench) -> None:
    with zipfile.ZipFile(bench.root / "dataset" / "val.zip", "w") as made:
        for number in range(3):
            made.writestr(f"images/{number}.png", drawn(number))
            made.writestr(f"labels/{number}.txt", "0 0.5 0.5 0.25 0.25\n")
    labelled = Labelled(source=Source.model_validate(pvc("val.zip")), images=3)
    told = bench.in_pod(wanted(labelled=labelled))
    assert told.outcome == "Published", told.failure
    assert told.gate is not None
    assert told.gate.accuracy is not None
    assert told.gate.accuracy.onnx_map50_to95 is not None


def test_frames_are_found_by_the_quantised_graph_too(bench: Bench) -> None:
    asked_for = wanted(endpoints=["Ultralytics", "Frames"])
    made = bench.in_pod(asked_for)
    assert made.outcome == "Published", made.failure
    stored = bench.store.find(asked_for.key)
    assert stored is not None
    graph = onnx.load(str(stored.folder / "frames.onnx"))
    assert any(node.op_type == "QuantizeLinear" for node in graph.graph.node)
    assert onnx_graph.session(graph) is not None


@pytest.fixture
def tensorrt(monkeypatch: pytest.MonkeyPatch) -> None:
    """ONNX Runtime, playing the compiler and its engine."""
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module())
    monkeypatch.setattr(cuda_device, "look", lambda: CudaDevice("NVIDIA H200", "9.0", 132, 143771))
    monkeypatch.setattr(cuda_memory.ctypes, "CDLL", lambda name: FakeDriver())


@pytest.mark.usefixtures("tensorrt")
def test_a_pod_with_a_slice_compiles_the_pictures_scales(bench: Bench) -> None:
    asked_for = wanted(backend="TensorRT", maxBatchSize=4)
    made = bench.in_pod(asked_for)
    assert made.outcome == "Published", made.failure
    assert made.gate is not None
    assert (made.gate.reference, made.gate.frames) == ("ONNX Runtime", 12)
    stored = bench.store.find(asked_for.key)
    assert stored is not None
    graph = onnx.load_from_string((stored.folder / "model.plan").read_bytes().partition(b"\n")[2])
    assert any(node.op_type == "QuantizeLinear" for node in graph.graph.node)


def test_a_person_calibrates_by_the_same_code(bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    last = tmp_path / "last"
    last.touch()
    model, pictures = bench.source / "m.onnx", bench.root / "calibration" / "frames.zip"
    arguments = ["build", "--model", str(model), "--image-size", "64x64", "--out", str(tmp_path / "shelf")]
    arguments += ["--precision", "INT8", "--termination-log", str(last)]
    assert main([*arguments, "--calibration", str(pictures), "--calibration-images", "10"]) == 0
    gate = BuildResult.model_validate_json(last.read_bytes()).gate
    assert gate is not None
    assert gate.frames == 10
    assert main(arguments) == 42
    assert main([*arguments, "--calibration", str(pictures), "--calibration-images", "3"]) == 42
    failure = BuildResult.model_validate_json(last.read_bytes()).failure
    assert failure is not None
    assert (failure.field, failure.value) == ("spec.engine.calibration.images", "3")

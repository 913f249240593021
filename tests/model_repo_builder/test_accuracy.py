"""mAP on a user's own labelled set: what is right is counted right, and what does not fit is refused by its name."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from model_repo_builder import accuracy, cuda_device, cuda_memory, handover, labelled_set, picture_archive
from model_repo_builder.__main__ import main
from model_repo_builder.cuda_device import CudaDevice
from model_repo_builder.errors import Failed, Origin
from model_repo_builder.heads import Head
from model_repo_builder.http_source import Fetched
from model_repo_builder.metadata import Facts
from tests.model_repo_builder import fake_tensorrt, small_yolo
from tests.model_repo_builder.fake_cuda import FakeDriver
from tests.model_repo_builder.making import Bench, TinyYolo, pvc, request
from yolofleet.api.build import Accuracy, BuildResult, Labelled
from yolofleet.api.recipe import ImageSize
from yolofleet.api.sources import Source
from yolofleet.errors import Refused

FACTS = Facts(head=Head(task="Detect", classes=2, end_to_end=True), names=("thing 0", "thing 1"))
SIZE = ImageSize(height=64, width=128)
DATA = "train: images/train\nval: images/val\nnames: {0: thing 0, 1: thing 1}\n"
LABELS = "0 0.5 0.5 0.5 0.5\n1 0.25 0.25 0.25 0.25\n"
FIELD = "spec.engine.accuracyGate.dataset.pvc.path"
Members = dict[str, "str | bytes"]


def picture(width: int = 64, height: int = 64) -> bytes:
    target = io.BytesIO()
    Image.new("RGB", (width, height), (9, 9, 9)).save(target, "PNG")
    return target.getvalue()


GOOD: Members = {
    "data.yaml": DATA,
    "images/train/0.png": picture(),
    "labels/train/0.txt": "7 0.5 0.5 1 1\n",
    "images/val/1.png": picture(),
    "labels/val/1.txt": LABELS,
    "images/val/2.png": picture(64, 128),
    "labels/val/2.txt": "1 0.5 0.5 0.5 0.5\n",
    "images/val/3.png": picture(),
}


def archive(path: Path, members: Members) -> Path:
    with zipfile.ZipFile(path, "w") as made:
        for name, content in members.items():
            made.writestr(name, content)
    return path


def measured(path: Path, run: Any, *, images: int = 100, size: ImageSize = SIZE, facts: Facts = FACTS) -> Accuracy:
    got = Fetched(path, "a" * 64, path.stat().st_size)
    with labelled_set.opened(got, Origin(FIELD, path.name)) as told:
        return accuracy.measured(run, told, facts, size, images=images, report=lambda *_: None)


def seeing(*frames: list[tuple[float, ...]]) -> Any:
    """Return a detector that sees these rows (x1, y1, x2, y2, score, class), one frame after the other."""
    left = iter(frames)

    def run(given: np.ndarray) -> list[np.ndarray]:
        assert given.shape == (1, 3, 64, 128)
        rows = np.zeros((1, 300, 6), np.float32)
        for index, row in enumerate(next(left)):
            rows[0, index] = row
        return [rows]

    return run


FIRST = [(48.0, 16.0, 80.0, 48.0, 0.9, 0.0), (40.0, 8.0, 56.0, 24.0, 0.8, 1.0)]
SECOND = [(56.0, 16.0, 72.0, 48.0, 0.7, 1.0)]
"""A square picture lies in the middle of a frame twice as wide, a tall one too, at half its size."""


def test_boxes_where_the_labels_say_are_all_right(tmp_path: Path) -> None:
    found = measured(archive(tmp_path / "a.zip", GOOD), seeing(FIRST, SECOND, []))
    assert (found.map50, found.map50_to95) == ("1.0000", "1.0000")
    assert (found.images, found.objects, found.dataset_sha256) == (3, 3, "a" * 64)
    assert found.sentence() == "mAP50 1.0000, mAP50-95 1.0000 (3 objects in 3 labelled pictures)"


def test_a_class_that_is_never_found_halves_it_and_a_shifted_box_costs_the_strict_overlaps(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", GOOD)
    assert measured(path, seeing(FIRST[:1], [], [])).map50 == "0.5000"
    shifted = [(50.0, 16.0, 82.0, 48.0, 0.9, 0.0), FIRST[1]]  # two of 32 pixels: an overlap of 30/34
    found = measured(path, seeing(shifted, SECOND, []))
    assert (found.map50, found.map50_to95) == ("1.0000", "0.9000")


def test_only_so_many_pictures_are_looked_at_the_first_by_name(tmp_path: Path) -> None:
    assert measured(archive(tmp_path / "a.zip", GOOD), seeing(FIRST), images=1).images == 1


def test_polygons_count_as_the_boxes_around_them(tmp_path: Path) -> None:
    members = GOOD | {"labels/val/1.txt": "0 0.25 0.25 0.75 0.3 0.5 0.75\n1 0.25 0.25 0.25 0.25\n"}
    assert measured(archive(tmp_path / "a.zip", members), seeing(FIRST, SECOND, [])).map50_to95 == "1.0000"


@pytest.mark.parametrize(
    ("picture_name", "label_name"),
    [
        ("images/val/a.b.jpg", "labels/val/a.b.txt"),
        ("set/images/images/a.jpg", "set/images/labels/a.txt"),
        ("set/a.jpg", "set/a.txt"),
        ("images.jpg", "images.txt"),
    ],
)
def test_labels_lie_where_ultralytics_looks_for_them(picture_name: str, label_name: str) -> None:
    assert labelled_set.label_of(picture_name) == label_name


BAD: dict[str, tuple[Members, str, str]] = {
    "no picture": ({"data.yaml": DATA}, "no picture in images/val", "images/val/*.jpg"),
    "nothing at all": ({"readme": "x"}, "no picture", "images/val/*.jpg"),
    "no label": ({"images/1.png": picture()}, "none of the 1 pictures has a label", "accuracyGate.images"),
    "another class": (GOOD | {"labels/val/2.txt": "2 0.5 0.5 1 1"}, "name class 2, and the model has 2", "trained for"),
    "other names": (GOOD | {"data.yaml": "names: [cat, dog]"}, "'cat' in data.yaml and 'thing 0'", "trained for"),
    "names with a gap": (GOOD | {"data.yaml": "names: {0: a, 2: b}"}, "without a gap", "names: {0: person"),
    "no YAML": (GOOD | {"data.yaml": "names: ["}, "no YAML", "mend it"),
    "YAML without end": (GOOD | {"data.yaml": "[" * 100_000}, "no YAML", "mend it"),
    "a date that is none": (GOOD | {"data.yaml": "made: 2026-13-45"}, "no YAML", "mend it"),
    "a program's picture": (GOOD | {"images/val/1.png": b"%!PS-Adobe-3.0 EPSF-3.0\n"}, "is no picture", "make the"),
    "val is a list of files": (GOOD | {"data.yaml": "val: val.txt"}, "val is 'val.txt'", "one folder"),
    "words": (GOOD | {"labels/val/1.txt": "cat 0 0 1 1"}, "labels/val/1.txt line 1 is 'cat 0 0 1 1'", "x y width"),
    "pixels": (GOOD | {"labels/val/1.txt": LABELS + "0 320 240 20 20"}, "line 3 is '0 320", "fractions"),
    "four numbers": (GOOD | {"labels/val/1.txt": "0 0.5 0.5 1"}, "line 1", "x y width"),
    "an endless class": (GOOD | {"labels/val/1.txt": "inf 0.5 0.5 1 1"}, "line 1", "x y width"),
    "not a number": (GOOD | {"labels/val/1.txt": "0 nan 0.5 1 1"}, "line 1", "x y width"),
    "no picture inside": (GOOD | {"images/val/1.png": b"<html>"}, "images/val/1.png is no picture", "make the archive"),
    "half a picture": (GOOD | {"images/val/1.png": picture()[:60]}, "images/val/1.png is no picture", "make the"),
    "labels without end": (GOOD | {"labels/val/1.txt": "0 0 0 1 1\n" * 200_000}, "more than 1048576 bytes", "smaller"),
}


@pytest.mark.parametrize(("members", "message", "remedy"), BAD.values(), ids=BAD.keys())
def test_a_set_that_does_not_fit_is_refused_by_field_and_member(
    members: Members, message: str, remedy: str, tmp_path: Path
) -> None:
    path = archive(tmp_path / "bad.zip", members)
    with pytest.raises(Refused) as caught:
        measured(path, lambda _: [np.zeros((1, 300, 6), np.float32)])
    assert (caught.value.field, caught.value.value) == (FIELD, "bad.zip")
    assert message in caught.value.message
    assert remedy in caught.value.remedy


@pytest.mark.parametrize("content", [b"", b"<html>404</html>", b"\x1f\x8b not a zip"])
def test_what_is_no_archive_is_called_by_its_name(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "val.tar.gz"
    path.write_bytes(content)
    with pytest.raises(Refused, match="not a zip archive"):
        measured(path, seeing())


def test_a_damaged_archive_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.zip", GOOD)
    content = bytearray(path.read_bytes())
    content[content.index(b"images/val/1.png") + 40] ^= 0xFF
    path.write_bytes(bytes(content))
    with pytest.raises(Refused, match=r"images/val/1\.png"):
        measured(path, seeing(FIRST, SECOND, []))


def test_a_picture_that_unfolds_into_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(picture_archive, "MOST_PIXELS", 64 * 64 - 1)
    with pytest.raises(Refused, match="64 x 64 pixels"):
        measured(archive(tmp_path / "a.zip", GOOD), seeing(FIRST, SECOND, []))


def test_a_model_without_names_is_measured_by_numbers(tmp_path: Path) -> None:
    facts = Facts(head=FACTS.head, names=("class0", "class1"))
    assert measured(archive(tmp_path / "a.zip", GOOD), seeing(FIRST, SECOND, []), facts=facts).map50 == "1.0000"


def test_what_takes_too_long_ends_with_a_number_that_would_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accuracy, "LIMIT_S", -1.0)
    with pytest.raises(Failed) as caught:
        measured(archive(tmp_path / "a.zip", GOOD), seeing(FIRST))
    assert (caught.value.field, caught.value.value) == ("spec.engine.accuracyGate.images", "3")
    assert "set spec.engine.accuracyGate.images to 1 or less" in caught.value.remedy


# Whole builds


@pytest.fixture
def wanted(bench: Bench) -> Any:
    TinyYolo().save(bench.source / "m.onnx")
    archive(bench.root / "dataset" / "val.zip", GOOD)
    return request(pvc("m.onnx"), labelled=labelled())


def labelled(path: str = "val.zip", images: int = 2) -> Labelled:
    return Labelled(source=Source.model_validate(pvc(path)), images=images)


def test_a_pod_measures_what_one_process_measures_and_the_store_remembers(bench: Bench, wanted: Any, tmp_path) -> None:
    (tmp_path / "alone").mkdir()
    alone = Bench(tmp_path / "alone")
    TinyYolo().save(alone.source / "m.onnx")
    archive(alone.root / "dataset" / "val.zip", GOOD)
    made = bench.in_pod(wanted)
    assert made.outcome == "Published", made.failure
    assert made.gate == alone.build(wanted).gate
    assert made.gate is not None
    assert made.gate.accuracy is not None
    assert (made.gate.accuracy.images, made.gate.accuracy.objects) == (2, 3)
    assert "mAP50-95" in made.gate.sentence()
    assert bench.in_pod(wanted) == made.model_copy(update={"outcome": "Cached"})


def test_a_set_that_is_not_there_names_its_field(bench: Bench) -> None:
    TinyYolo().save(bench.source / "m.onnx")
    made = bench.in_pod(request(pvc("m.onnx"), labelled=labelled("vall.zip")))
    assert (made.outcome, made.failure and made.failure.field) == ("Refused", FIELD)


def test_another_set_than_the_digest_says_is_refused(bench: Bench, wanted: Any) -> None:
    told = Labelled(source=Source.model_validate(pvc("val.zip", sha256="b" * 64)), images=2)
    made = bench.in_pod(request(pvc("m.onnx"), labelled=told))
    assert (made.outcome, made.failure and made.failure.field) == (
        "Refused",
        "spec.engine.accuracyGate.dataset.pvc.sha256",
    )


def test_sources_and_tasks_that_are_not_measured_are_refused(bench: Bench) -> None:
    TinyYolo().save(bench.source / "m.onnx")
    builtin = Labelled(source=Source(builtin="coco"), images=2)
    made = bench.in_pod(request(pvc("m.onnx"), labelled=builtin))
    assert made.failure is not None
    assert (made.failure.field, made.failure.remedy) == (
        "spec.engine.accuracyGate.dataset.builtin",
        "use http or pvc",
    )
    made = bench.in_pod(request(pvc("m.onnx"), task="Segment", labelled=labelled()))
    assert made.failure is not None
    assert made.failure.sentence().startswith("spec.engine.accuracyGate: mAP is measured for task Detect only")


def test_a_recipe_of_another_set_is_no_request(bench: Bench, wanted: Any) -> None:
    made = bench.build(wanted.model_copy(update={"labelled": labelled(images=3)}))
    assert (made.outcome, made.failure and made.failure.field) == ("Refused", "spec.engine.accuracyGate")


@pytest.mark.parametrize("lie", [None, {"datasetSHA256": "b" * 64}])
def test_publish_takes_no_figures_of_another_set(bench: Bench, wanted: Any, lie: dict[str, str] | None) -> None:
    def between(name: str) -> None:
        if name == "publish":
            draft = bench.root / "engine" / handover.DRAFT
            told = json.loads(draft.read_text())
            told["gate"]["accuracy"] = None if lie is None else told["gate"]["accuracy"] | lie
            draft.write_text(json.dumps(told))

    made = bench.in_pod(wanted, between=between)
    assert made.outcome == "Failed"
    assert made.failure is not None
    assert "its gate.accuracy" in made.failure.message


def test_a_person_measures_by_the_same_code(tmp_path: Path) -> None:
    model, data = TinyYolo().save(tmp_path / "m.onnx"), archive(tmp_path / "val.zip", GOOD)
    arguments = ["build", "--model", str(model), "--image-size", "64x64", "--out", str(tmp_path / "store")]
    last = tmp_path / "last"
    last.touch()
    more = ["--labelled", str(data), "--labelled-images", "2", "--termination-log", str(last)]
    assert main([*arguments, *more]) == 0
    gate = BuildResult.model_validate_json(last.read_bytes()).gate
    assert gate is not None
    assert gate.accuracy is not None
    assert (gate.accuracy.images, gate.accuracy.objects) == (2, 3)
    assert main([*arguments, "--labelled", str(tmp_path / "other.zip"), "--termination-log", str(last)]) == 42
    failure = BuildResult.model_validate_json(last.read_bytes()).failure
    assert failure is not None
    assert failure.field == FIELD


def test_a_tensorrt_engine_is_asked_itself_and_not_what_it_was_made_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With ONNX Runtime playing the engine."""
    raw, plan = tmp_path / "model.onnx", tmp_path / "model.plan"
    onnx.save(small_yolo.SmallYolo().model(), str(raw))
    plan.write_bytes(fake_tensorrt.plan_of(raw.read_bytes(), largest=4))
    monkeypatch.setattr(cuda_memory.ctypes, "CDLL", lambda name: FakeDriver())
    frames = small_yolo.frames(1)
    (wanted,) = accuracy.runner(raw, "ONNXRuntime")(frames)
    raw.unlink()
    for sees, factor in ((lambda answer: answer, 1.0), (lambda answer: answer * 0.5, 0.5)):
        monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module(sees=sees))
        (got,) = accuracy.runner(plan, "TensorRT")(frames)
        assert np.abs(got - factor * wanted).max() < 1e-3


def test_an_engine_is_measured_beside_the_file_that_it_was_compiled_from(
    bench: Bench, wanted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", fake_tensorrt.module())
    monkeypatch.setattr(cuda_device, "look", lambda: CudaDevice("NVIDIA H200", "9.0", 132, 143771))
    monkeypatch.setattr(cuda_memory.ctypes, "CDLL", lambda name: FakeDriver())
    asked = request(pvc("m.onnx"), labelled=labelled(), backend="TensorRT", precision="FP32")
    made = bench.in_pod(asked)
    assert made.outcome == "Published", made.failure
    assert made.gate is not None
    assert made.gate.accuracy is not None
    assert made.gate.accuracy.onnx_map50_to95 == made.gate.accuracy.map50_to95
    plain = bench.in_pod(wanted)
    assert plain.gate is not None
    assert plain.gate.accuracy is not None
    assert plain.gate.accuracy.onnx_map50 is None

"""Stories of the builder with real parts: torch, ultralytics and ONNX Runtime of its image, uid 1000, no network."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from e2e import images
from e2e.builder import EXPECTED
from model_repo_builder.__main__ import main
from tests.model_repo_builder.making import TinyYolo
from yolofleet.api.build import MODELS_PATH, SERVE_ENV, STORE_PATH, ServeRequest

ROOT = Path(__file__).parents[1]
pytestmark = pytest.mark.e2e


@cache
def _told(name: str) -> tuple[int, str, str]:
    """Run one story in the builder image, once, also when it fails; exit code, report and log."""
    image = images.build_images(["builder"])["builder"]
    done = images.run(
        image,
        ["python3", "-W", "ignore", "-m", "e2e.builder.inside", name],
        binds={ROOT / "e2e": "/repo/e2e"},
        env={"PYTHONPATH": "/repo"},
        timeout_s=600,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def story(name: str) -> Any:
    """Return a story's report."""
    code, report, log = _told(name)
    assert code == 0, log[-4000:]
    return json.loads(report.splitlines()[-1])


@pytest.mark.parametrize("name", EXPECTED)
def test_every_family_and_task_is_exported_fixed_in_size_and_free_in_batch(name: str) -> None:
    seen, (shape, outputs) = story("tasks")[name], EXPECTED[name]
    assert seen["outcome"] == "Published"
    assert seen["input"] == ["batch", 3, *shape]
    assert seen["outputs"] == outputs
    assert seen["output_names"] == ["output0", "output1"][: len(outputs)]
    assert seen["batches"] == [1, 7]


@pytest.mark.parametrize("name", EXPECTED)
def test_every_engine_says_what_torch_says(name: str) -> None:
    """Against the unfused model, run by torch: fusing layers alone costs about 1e-6."""
    assert story("tasks")[name]["error"] < 1e-4


@pytest.mark.parametrize("name", EXPECTED)
def test_the_ultralytics_client_takes_every_model_as_its_own(name: str) -> None:
    """Names arrive, requests are single frames, and results are those of the checkpoint itself."""
    client = story("tasks")[name]["client"]
    assert client["names"] == {"yolo26n-cls": 1000, "yolov8n-pose": 1}.get(name, 80)
    assert set(client["batches"]) == {1}
    assert client["kind"]
    assert client["results"] > 0
    assert client["difference"] == 0


def test_the_bundled_model_finds_the_shapes_that_were_drawn() -> None:
    report = story("shapes")
    assert report["outcomes"] == ["Published", "Cached"]
    assert report["found"] >= 0.95 * report["drawn"]
    assert report["boxes"] <= 1.1 * report["drawn"]
    assert [name for name in report["kept"] if not name.startswith(".")] != []


@pytest.mark.slow
def test_what_is_found_of_what_is_labelled_is_what_ultralytics_validates() -> None:
    """One class to a box, as clients see it, costs a little where weights are bad; COCO's curve is another one."""
    told = story("accuracy")
    print(told)
    good, shaken = told["good"], told["shaken"]
    assert good["ours"] == pytest.approx(good["theirs"], abs=0.01)
    assert shaken["ours"] == pytest.approx(shaken["theirs"], abs=0.05)
    assert good["ours"][1] > shaken["ours"][1] + 0.3


def test_a_second_build_ends_in_about_a_second() -> None:
    assert story("shapes")["seconds"][1] < 1.0


def test_the_same_weights_give_the_same_engine() -> None:
    one, two = story("again")["digests"]
    assert one == two


def test_a_checkpoint_with_the_end_to_end_head_alone_is_served_as_it_is() -> None:
    report = story("end_to_end")
    assert report["outcome"] == "Published"
    assert report["outputs"] == [[189, 6]]
    assert report["end2end"] is True
    assert report["boxes"] > 0


EXPORTED: dict[str, tuple[list[Any], list[list[int]], bool]] = {
    "fixed": (["batch", 3, 96, 96], [[116, 189], [32, 24, 24]], False),
    "free": (["batch", 3, 96, 96], [[135, 189]], False),
    "end-to-end": (["batch", 3, 96, 96], [[189, 7]], True),
    "kept": ([1, 3, 96, 96], [[84, 189]], False),
}


@pytest.mark.parametrize("name", EXPORTED)
def test_what_ultralytics_itself_exports_is_served(name: str) -> None:
    """A fixed batch is freed (YOLO12's attention can't be: it is kept at 1), a free size is fixed."""
    seen, (shape, outputs, end_to_end) = story("exports")[name], EXPORTED[name]
    assert seen["input"] == shape
    assert seen["outputs"] == outputs
    assert seen["error"] < 1e-4
    assert seen["end2end"] is end_to_end
    assert seen["client"]["names"] == 80
    assert set(seen["client"]["batches"]) == {1}
    assert seen["client"]["difference"] == 0


ASSEMBLE = """
import os, sys
from model_repo_builder.__main__ import main
code = main(["assemble"])
heavy = {"torch", "ultralytics", "onnx", "onnxruntime", "tensorrt"}
from importlib.util import find_spec
print([name for name in sorted(heavy) if find_spec(name)], os.getuid())
sys.exit(code)
"""


def test_the_operators_image_assembles_and_has_nothing_heavy(tmp_path: Path) -> None:
    """As the init container of a serving pod: the store read-only, the models in an emptyDir."""
    store, models, source = tmp_path / "store", tmp_path / "models", tmp_path / "tiny.onnx"
    TinyYolo().save(source)
    assert main(["build", "--model", str(source), "--image-size", "64x64", "--out", str(store)]) == 0
    (key,) = [path.name for path in store.iterdir() if not path.name.startswith(".")]
    models.mkdir()
    models.chmod(0o777)
    wanted = ServeRequest(key=key, model_name="gate", max_batch_size=4)
    done = images.run(
        images.build_images(["operator"])["operator"],
        ["python3", "-c", ASSEMBLE],
        binds={store: STORE_PATH, models: MODELS_PATH},
        env={SERVE_ENV: wanted.model_dump_json(by_alias=True)},
    )
    assert done.stdout.splitlines()[-1] == "[] 1000"
    assert sorted(str(path.relative_to(models)) for path in models.rglob("*") if path.is_file()) == [
        "gate/1/model.onnx",
        "gate/config.pbtxt",
    ]


REFUSED = {
    "another task": ("spec.model.task", "Segment", "does Detect", "set spec.model.task: Detect"),
    "a stride of 64": ("spec.engine.imageSize", "96x96", "stride is 64", "multiples of 64"),
    "harm": ("spec.model.pvc.path", "harmful.pt", "exec", "to ONNX"),
    "a layer called": ("spec.model.pvc.path", "call.pt", "calls", ".onnx"),
    "weights only": ("spec.model.pvc.path", "plain.pt", "no YOLO model", "Ultralytics .pt"),
    "a transformer": ("spec.model.pvc.path", "rtdetr.pt", "RTDETRDecoder", "five tasks"),
    "semantic": ("spec.model.pvc.path", "semantic.pt", "SemanticSegment", "five tasks"),
    "a state dict": ("spec.model.pvc.path", "state.pt", "no model", "best.pt"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_checkpoints_that_must_not_be_taken_are_refused_and_not_run(name: str) -> None:
    field, value, message, remedy = REFUSED[name]
    failure = story("refusals")[name]
    assert (failure["field"], failure["value"]) == (field, value)
    assert message in failure["message"]
    assert remedy in failure["remedy"]

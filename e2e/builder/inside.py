"""Runs in the builder image: builds real YOLOs, assembles them, and compares with torch and the Ultralytics client.

Prints one JSON object. Only what the image holds is imported, and e2e.shapes from the repository.
"""

from __future__ import annotations

import contextlib
import json
import resource
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import torch

import model_repo_builder
from e2e.builder import client
from model_repo_builder.__main__ import main
from model_repo_builder.frames import trial_frames
from yolofleet.api.build import BuildResult, Failure
from yolofleet.api.recipe import ImageSize, Task

WORK = Path("/tmp/build")
STORE, MODELS = WORK / "store", WORK / "models"
MODELS_OF_TASKS: dict[str, tuple[Task, int, int]] = {
    "yolo26n": ("Detect", 96, 160),
    "yolo26n-seg": ("Segment", 96, 160),
    "yolo26n-pose": ("Pose", 96, 64),
    "yolo26n-obb": ("OBB", 96, 96),
    "yolo26n-cls": ("Classify", 64, 64),
    "yolo11n": ("Detect", 160, 96),
    "yolo11n-seg": ("Segment", 64, 96),
    "yolo12n": ("Detect", 96, 96),
    "yolov8n-pose": ("Pose", 96, 96),
    "yolov9t": ("Detect", 64, 64),
    "yolov10n": ("Detect", 96, 96),
}
"""Of each task the newest family, of each family one: with random weights, at odd sizes."""


def random_model(name: str) -> Any:
    """Return a model of ultralytics' YAML with random weights that nevertheless see something."""
    from ultralytics import RTDETR, YOLO

    torch.manual_seed(0)
    model = RTDETR(f"{name}.yaml").model if "detr" in name else YOLO(f"{name}.yaml", verbose=False).model
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):  # fresh ones are the identity: nothing would differ after fusing
            part.running_mean.uniform_(-0.1, 0.1)
            part.running_var.uniform_(0.8, 1.2)
    return model


def saved(model: Any, name: str, **more: Any) -> Path:
    """Save a checkpoint as training does."""
    path = WORK / f"{name}.pt"
    torch.save({"model": model.half(), "ema": None, "train_args": {"data": "/home/me/coco.yaml"}, **more}, path)
    model.float()
    return path


def build(path: Path | str, task: str, height: int, width: int, *more: str) -> tuple[BuildResult, float]:
    """Run the builder's own command line; return its result and the seconds that it took."""
    last = WORK / "termination-log"
    last.write_bytes(b"")
    began = time.monotonic()
    arguments = ["build", "--model", str(path), "--task", task, "--image-size", f"{height}x{width}"]
    with contextlib.redirect_stdout(sys.stderr):
        main([*arguments, *more, "--out", str(STORE), "--termination-log", str(last)])
    return BuildResult.model_validate_json(last.read_bytes()), time.monotonic() - began


def assemble(key: str, name: str, *more: str) -> Path:
    """Assemble a published engine; return the model's folder."""
    folders = ["--store", str(STORE), "--models", str(MODELS), "--name", name]
    with contextlib.redirect_stdout(sys.stderr):
        assert main(["assemble", "--key", key, *folders, *more]) == 0
    return MODELS / name


def key_of(result: BuildResult) -> str:
    """Return the key that a result published."""
    assert result.artifact is not None, result
    return result.artifact.uri.rpartition("/")[2]


def torch_outputs(path: Path, frames: Any) -> list[Any]:
    """Run the checkpoint as ultralytics itself does, unfused and unexported: the yardstick."""
    module = torch.load(str(path), map_location="cpu")["model"].float().eval()
    if hasattr(module, "end2end"):
        module.end2end = False
    with torch.no_grad():
        answer = module(torch.from_numpy(frames))
    first = answer[0] if isinstance(answer, (tuple, list)) else answer
    return [part.numpy() for part in (first if isinstance(first, tuple) else (first,))]


def relative_error(wanted: list[Any], got: list[Any]) -> float:
    """Return the largest error relative to its channel."""
    errors = []
    for a, b in zip(wanted, got, strict=True):
        axes = (0, *range(2, a.ndim))
        errors.append(float((np.abs(a - b).max(axis=axes) / np.maximum(np.abs(a).max(axis=axes), 1)).max()))
    return max(errors)


def one_task(name: str) -> dict[str, Any]:
    """Build a model of one family; report how its engine compares, and what the client makes of it."""
    task, height, width = MODELS_OF_TASKS[name]
    path = saved(random_model(name), name)
    result, seconds = build(path, task, height, width)
    folder = assemble(key_of(result), name)
    session = ort.InferenceSession(str(folder / "1/model.onnx"))
    frames = trial_frames(ImageSize(height=height, width=width), 3)
    answers = {batch: session.run(None, {"images": np.tile(frames[:1], (batch, 1, 1, 1))}) for batch in (1, 7)}
    return {
        "outcome": result.outcome,
        "seconds": round(seconds, 2),
        "input": session.get_inputs()[0].shape,
        "outputs": [list(output.shape[1:]) for output in session.get_outputs()],
        "output_names": [output.name for output in session.get_outputs()],
        "error": relative_error(torch_outputs(path, frames), session.run(None, {"images": frames})),
        "batches": [answer[0].shape[0] for answer in answers.values()],
        "client": client.look(folder, task),
    }


def shapes() -> dict[str, Any]:
    """Build the bundled model twice, and let the client look at scenes whose shapes are known."""
    from e2e.shapes.scene import draw_scene

    first, cold = build("yolo26n-shapes", "Detect", 640, 640)
    command = [sys.executable, "-m", "model_repo_builder", "build", "--model", "yolo26n-shapes", "--out", str(STORE)]
    second = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    warm = used.ru_utime + used.ru_stime  # of the processor, not of the clock: others may use it too
    folder = assemble(key_of(first), "shapes")
    scenes = [draw_scene(seed=12345, index=index) for index in range(3)]
    found = [client.boxes(folder, scene.image) for scene in scenes]
    return {
        "outcomes": [first.outcome, second.partition(":")[0]],
        "seconds": [round(cold, 2), round(warm, 2)],
        "drawn": sum(len(scene.boxes) for scene in scenes),
        "found": sum(
            client.hits(boxes, scene.boxes, scene.classes) for boxes, scene in zip(found, scenes, strict=True)
        ),
        "boxes": sum(map(len, found)),
        "weights": first.weights_sha256,
        "kept": sorted(path.name for path in STORE.iterdir()),
    }


def shaken(path: Path) -> Path:
    """Save the bundled weights with noise on the head's parameters, as bad training would leave them."""
    told = torch.load(str(Path(model_repo_builder.__file__).parent / "weights/yolo26n-shapes.pt"), map_location="cpu")
    torch.manual_seed(0)
    for part in told["model"].model[-1].parameters():
        part.data += (0.3 * part.data.float().abs().mean() * torch.randn(part.shape)).to(part.dtype)
    torch.save(told, path)
    return path


def accuracy() -> dict[str, Any]:
    """Measure good and shaken weights on scenes of shapes; Ultralytics' own validator is the yardstick."""
    from ultralytics import YOLO

    from e2e.shapes.generate import write_dataset

    data = write_dataset(WORK / "scenes", train=0, val=24, seed=11, imgsz=640)
    files = [path for path in sorted(data.parent.rglob("*")) if path.is_file()]
    with zipfile.ZipFile(WORK / "scenes.zip", "w") as made:
        for path in files:
            made.write(path, path.relative_to(data.parent))
    told: dict[str, Any] = {}
    for name, model in (("good", "yolo26n-shapes"), ("shaken", shaken(WORK / "shaken.pt"))):
        plain = build(model, "Detect", 640, 640)[1]
        result, seconds = build(model, "Detect", 640, 640, "--labelled", str(WORK / "scenes.zip"))
        assert result.gate is not None, result
        assert result.gate.accuracy is not None, result
        with contextlib.redirect_stdout(sys.stderr):
            seen = YOLO(STORE / key_of(result) / "model.onnx", task="detect").val(data=data, batch=1, rect=False).box
        found = result.gate.accuracy
        told[name] = {
            "ours": [float(found.map50), float(found.map50_to95)],
            "theirs": [round(float(seen.map50), 4), round(float(seen.map), 4)],
            "seconds": [round(plain, 1), round(seconds, 1)],
            "objects": found.objects,
        }
    return told


def again() -> dict[str, Any]:
    """Build one checkpoint into two stores: the same bytes come out."""
    path = saved(random_model("yolo11n"), "yolo11n")
    digests = []
    for name in ("one", "two"):
        global STORE  # noqa: PLW0603 - the helpers' store, swapped for this story
        STORE = WORK / name
        digests.append(build(path, "Detect", 64, 64)[0].artifact.sha256)  # type: ignore[union-attr]
    return {"digests": digests}


def end_to_end() -> dict[str, Any]:
    """A checkpoint whose fusion left the end-to-end head only is served as it is, and says so."""
    model = random_model("yolo26n").eval()
    model.end2end = True
    path = saved(model.fuse(verbose=False), "fused")
    result, _ = build(path, "Detect", 96, 96)
    folder = assemble(key_of(result), "fused")
    session = ort.InferenceSession(str(folder / "1/model.onnx"))
    return {
        "outcome": result.outcome,
        "outputs": [list(output.shape[1:]) for output in session.get_outputs()],
        "end2end": client.metadata(folder)["end2end"],
        "boxes": len(client.boxes(folder, np.zeros((96, 96, 3), np.uint8), confidence=0.0)),
    }


def exports() -> dict[str, Any]:
    """Give the builder what ultralytics' own exporter writes: fixed batches, free sizes, end-to-end heads."""
    from ultralytics import YOLO

    told: dict[str, Any] = {}
    for name, (model, task, options) in EXPORTS.items():
        path = saved(random_model(model), name)
        file = YOLO(str(path)).export(format="onnx", imgsz=96, simplify=False, verbose=False, **options)
        result, _ = build(file, task, 96, 96)
        folder = assemble(key_of(result), name)
        session = ort.InferenceSession(str(folder / "1/model.onnx"))
        frames = trial_frames(ImageSize(height=96, width=96), 3)
        reference = ort.InferenceSession(str(file))
        errors = [
            relative_error(reference.run(None, {"images": frame}), session.run(None, {"images": frame}))
            for frame in np.split(frames, len(frames))
        ]
        told[name] = {
            "input": session.get_inputs()[0].shape,
            "outputs": [list(output.shape[1:]) for output in session.get_outputs()],
            "error": max(errors),
            "end2end": client.metadata(folder)["end2end"],
            "client": client.look(folder, task),
        }
    return told


def refusals() -> dict[str, Failure | None]:
    """Give the builder checkpoints that it must not take, some of which would do harm if they were run."""
    import collections

    class Harm:
        def __reduce__(self) -> tuple[Any, ...]:
            return (exec, (f"open({str(WORK / 'harm')!r}, 'w')",))

    class Call:
        def __reduce__(self) -> tuple[Any, ...]:
            return (torch.nn.Linear, (3, 4))

    detect = random_model("yolo11n")
    files = {
        "another task": (saved(detect, "task"), "Segment", 64),
        "a stride of 64": (saved(random_model("yolo26n-p6"), "p6"), "Detect", 96),
        "harm": (saved(detect, "harmful", optimizer=Harm()), "Detect", 64),
        "a layer called": (saved(detect, "call", optimizer=Call()), "Detect", 64),
        "weights only": (saved(torch.nn.Identity(), "plain", model_state=detect.state_dict()), "Detect", 64),
        "a transformer": (saved(random_model("rtdetr-l"), "rtdetr"), "Detect", 64),
        "semantic": (saved(random_model("yolo26n-sem"), "semantic"), "Segment", 64),
    }
    state = WORK / "state.pt"
    torch.save(collections.OrderedDict(detect.state_dict()), state)
    files["a state dict"] = (state, "Detect", 64)
    told = {name: build(path, task, size, size)[0] for name, (path, task, size) in files.items()}
    assert all(result.outcome == "Refused" for result in told.values()), told
    assert not (WORK / "harm").exists()
    return {name: result.failure for name, result in told.items()}


EXPORTS: dict[str, tuple[str, Task, dict[str, Any]]] = {
    "fixed": ("yolo11n-seg", "Segment", {"dynamic": False}),
    "free": ("yolo26n-pose", "Pose", {"dynamic": True}),
    "end-to-end": ("yolo26n-obb", "OBB", {"dynamic": False, "nms": False}),
    "kept": ("yolo12n", "Detect", {"dynamic": False}),
}
STORIES = {
    "exports": exports,
    "shapes": shapes,
    "accuracy": accuracy,
    "again": again,
    "end_to_end": end_to_end,
    "refusals": refusals,
}


def run(story: str) -> Any:
    """Run one story, or build one model of each family."""
    WORK.mkdir(parents=True)
    STORE.mkdir()
    MODELS.mkdir()
    if story == "tasks":
        return {name: one_task(name) for name in MODELS_OF_TASKS}
    return STORIES[story]()


if __name__ == "__main__":
    print(json.dumps(run(sys.argv[1]), default=lambda value: value.wire()))

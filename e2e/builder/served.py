"""Runs where the builder image and Triton are one: builds, assembles, starts tritonserver, asks it as users do.

Prints one JSON object: for each model what the Ultralytics client and the endpoints of frames say, beside what
Ultralytics says of the same ONNX file on this machine.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from tritonclient import grpc

from e2e.builder import client, inside
from model_repo_builder import served_curve
from model_repo_builder.__main__ import main
from model_repo_builder.config_lint import repository_findings
from model_repo_builder.heads import ULTRALYTICS_TASK
from model_repo_builder.manifest import decode
from model_repo_builder.seccomp import give_up_network
from model_repo_builder.triton_config import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yolofleet.api.recipe import Task

ARGUMENTS: list[str] = json.loads(os.environ.get("TRITON_ARGS", "[]"))
"""The operator's own, which the image can't ask for: it has not all of the operator."""
ADDRESS = "127.0.0.1:8001"
SIZE = 320
MODELS: dict[str, Task] = {
    "yolo11n": "Detect",
    "yolo26n-seg": "Segment",
    "yolo11n-pose": "Pose",
    "yolo26n-obb": "OBB",
    "yolov8n-cls": "Classify",
}
"""One of each task, with random weights; the bundled model, which sees something, is asked everything."""
TUNED = "yolo11n"
"""Of these, the one whose repository is tuned by a curve."""
KINDS = {"Segment": "masks", "Pose": "keypoints", "OBB": "obb", "Classify": "probs"}


@contextmanager
def triton(models: Path) -> Iterator[grpc.InferenceServerClient]:
    """Run the real server with the operator's own arguments."""
    told = [f"--model-repository={models}" if "--model-repo" in each else each for each in ARGUMENTS]
    server = subprocess.Popen(["tritonserver", *told], stdout=sys.stderr, stderr=sys.stderr)
    try:
        with grpc.InferenceServerClient(ADDRESS) as asked:
            for _ in range(600):
                if server.poll() is not None:
                    raise RuntimeError(f"tritonserver ended with {server.returncode}")
                if ready(asked):
                    break
                time.sleep(0.2)
            yield asked
    finally:
        server.terminate()
        server.wait(60)


def ready(asked: grpc.InferenceServerClient) -> bool:
    """Tell whether all models are loaded."""
    try:
        return bool(asked.is_server_ready())
    except grpc.InferenceServerException:
        return False


def made(
    name: str, task: Task, *endpoints: str, size: int = SIZE, serving: tuple[str, ...] = (), **options: str
) -> Path:
    """Build and assemble a model; return the raw one's folder."""
    path = name if name == "yolo26n-shapes" else str(inside.saved(inside.random_model(name), name))
    chosen = [part for endpoint in endpoints for part in ("--endpoint", endpoint)]
    frames = ["--frames", options["frames"]] if "frames" in options else []
    result, _ = inside.build(path, task, size, size, *chosen, *frames)
    return inside.assemble(inside.key_of(result), options.get("called", name), *chosen, *serving)


def compared(folder: Path, task: Task) -> dict[str, Any]:
    """Ask the Ultralytics client for both real pictures, over Triton and of the file here."""
    from ultralytics import YOLO
    from ultralytics.utils import ASSETS

    served = YOLO(f"grpc://{ADDRESS}/{folder.name}", task=ULTRALYTICS_TASK[task])
    local = YOLO(str(folder / "1/model.onnx"), task=ULTRALYTICS_TASK[task])
    told: dict[str, Any] = {"difference": 0.0, "results": 0}
    for picture in ("bus.jpg", "zidane.jpg"):
        arguments = {"conf": client.TINY, "verbose": False, "rect": False, "imgsz": client.metadata(folder)["imgsz"]}
        one = served(str(ASSETS / picture), conf=client.TINY, verbose=False)[0]
        other = local(str(ASSETS / picture), **arguments)[0]
        told["difference"] = max(told["difference"], difference(one, other, task))
        told["results"] += 1 if task == "Classify" else len(one)
        told["names"] = len(one.names) if one.names == other.names else -1
    return told


def difference(one: Any, other: Any, task: Task) -> float:
    """Return the largest difference of boxes, scores and classes, and of masks, keypoints, angles or probabilities."""
    if len(one) != len(other):
        return float("inf")
    kinds = [KINDS[task]] if task in KINDS else []
    kinds += ["boxes"] if task not in ("OBB", "Classify") else []
    gaps = []
    for kind in kinds:
        ours, theirs = getattr(one, kind), getattr(other, kind)
        if ours is None or theirs is None or ours.data.shape != theirs.data.shape:
            return float("inf")
        gaps.append(float((ours.data.float() - theirs.data.float()).abs().max()))
    return max(gaps)


def asked(server: grpc.InferenceServerClient, model: str, given: dict[str, Any]) -> dict[str, Any]:
    """Send tensors, and return all outputs; `bytes` is what the inputs weigh on the wire."""
    kinds = {"uint8": "UINT8", "float32": "FP32", "int32": "INT32"}
    inputs = []
    for name, value in given.items():
        inputs.append(grpc.InferInput(name, list(value.shape), kinds[value.dtype.name]))
        inputs[-1].set_data_from_numpy(value)
    answer = server.infer(model, inputs)
    outputs = answer.get_response().outputs
    weight = sum(len(each._raw_content) for each in inputs)  # noqa: SLF001 - what the client puts on the wire
    return {each.name: answer.as_numpy(each.name) for each in outputs} | {"bytes": weight}


def reference(folder: Path, picture: Any, **options: float) -> list[tuple[int, float, Any]]:
    """Return class, score and corners as Ultralytics itself has them, with its own suppression."""
    from ultralytics import YOLO

    local = YOLO(str(folder / "1/model.onnx"), task="detect")
    size = client.metadata(folder)["imgsz"]
    found = local(picture, verbose=False, rect=False, imgsz=size, **options)[0].boxes
    return list(zip(found.cls.int().tolist(), found.conf.tolist(), found.xyxy.numpy(), strict=True))


def gap(answer: dict[str, Any], wanted: list[tuple[int, float, Any]], place: Any = None) -> dict[str, Any]:
    """Pair boxes by class and overlap; return how many there are, how many pair, and the largest differences."""
    count = int(answer["num_dets"][0, 0])
    corners = answer["boxes"][0, :count].astype(np.float64)
    if place is not None:
        scale, left, top = place
        corners = (corners - (left, top, left, top)) / scale
    pixels, scores, paired = [0.0], [0.0], 0
    for kind, score, box in wanted:
        same = np.flatnonzero(answer["classes"][0, :count] == kind)
        near = np.abs(corners[same] - box).max(axis=1) if len(same) else np.array([np.inf])
        if near.min() < 8:
            paired += 1
            pixels.append(float(near.min()))
            scores.append(abs(float(answer["scores"][0, same[near.argmin()]]) - score))
    return {"found": count, "wanted": len(wanted), "paired": paired, "pixels": max(pixels), "scores": max(scores)}


def pictures() -> dict[str, Any]:
    """Return two scenes and the two real pictures, BGR."""
    from ultralytics.utils import ASSETS

    from e2e.shapes.scene import draw_scene

    scenes = {f"scene{index}": draw_scene(seed=12345, index=index).image for index in range(2)}
    return scenes | {name: cv2.imread(str(ASSETS / f"{name}.jpg")) for name in ("bus", "zidane")}


def letterboxed(picture: Any, size: int) -> tuple[Any, tuple[float, float, float]]:
    """Return a picture as a camera of the network's size would send it, RGB, and where it lies."""
    from ultralytics.data.augment import LetterBox

    frame = LetterBox((size, size), auto=False)(image=picture)
    scale = min(size / picture.shape[0], size / picture.shape[1])
    left, top = (round((size - round(side * scale)) / 2 - 0.1) for side in (picture.shape[1], picture.shape[0]))
    return np.ascontiguousarray(frame[:, :, ::-1]), (scale, left, top)


def nv12(frame: Any) -> Any:
    """Return an RGB frame as a decoder leaves it."""
    height, width = frame.shape[:2]
    planes = cv2.cvtColor(frame, cv2.COLOR_RGB2YUV_I420)
    return np.concatenate([planes[:height], planes[height:].reshape(2, -1).T.reshape(height // 2, width)])


def shapes(server: grpc.InferenceServerClient, folder: Path) -> dict[str, Any]:
    """Ask every endpoint of the bundled model about every picture, with its own thresholds and with others."""
    told: dict[str, Any] = {}
    for name, picture in pictures().items():
        frame, place = letterboxed(picture, 640)
        jpeg = np.frombuffer(cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 80])[1], np.uint8)
        decoded = cv2.imdecode(jpeg, cv2.IMREAD_COLOR)
        yuv = nv12(frame)
        back = cv2.cvtColor(yuv, cv2.COLOR_YUV2BGR_NV12)
        chosen = {
            "confidence": np.array([[0.5]], np.float32),
            "iou": np.array([[0.3]], np.float32),
            "max_detections": np.array([[9]], np.int32),
        }
        rgb = asked(server, "shapes_frames", {"frames": frame[np.newaxis]})
        strict = asked(server, "shapes_frames", {"frames": frame[np.newaxis], **chosen})
        planes = asked(server, "planes_frames", {"frames": yuv[np.newaxis]})
        packed = asked(server, "shapes_jpeg", {"jpeg": jpeg[np.newaxis]})
        told[name] = {
            "frames": gap(rgb, reference(folder, picture), place),
            "chosen": gap(strict, reference(folder, picture, conf=0.5, iou=0.3, max_det=9), place),
            "nv12": gap(planes, reference(folder, back)),
            "jpeg": gap(packed, reference(folder, decoded)),
            "bytes": {
                "frames": rgb["bytes"] / FLOATS,
                "nv12": planes["bytes"] / FLOATS,
                "jpeg": packed["bytes"] / FLOATS,
                "picture": list(picture.shape[:2]),
            },
        }
    return told


FLOATS = 640 * 640 * 3 * 4
"""Bytes of one frame as the Ultralytics client sends it."""


def refused(server: grpc.InferenceServerClient) -> dict[str, str]:
    """Ask what can't be answered; return the server's words."""
    told = {}
    given = {
        "no jpeg": ("shapes_jpeg", {"jpeg": np.frombuffer(b"hello, world", np.uint8)[np.newaxis]}),
        "wrong size": ("shapes_frames", {"frames": np.zeros((1, 32, 32, 3), np.uint8)}),
    }
    for name, (model, tensors) in given.items():
        try:
            asked(server, model, tensors)
        except grpc.InferenceServerException as error:
            told[name] = str(error.message())
    return told


def loaded(server: grpc.InferenceServerClient) -> dict[str, str]:
    """Return what the server says of every model: its state, and whether it keeps our configuration as it is."""
    told = {}
    for each in server.get_model_repository_index().models:
        written = parse((inside.MODELS / each.name / "config.pbtxt").read_text())
        kept = server.get_model_config(each.name).config
        told[each.name] = each.state if _numbers(kept) == _numbers(written) else "CHANGED"
    return told


def _numbers(config: Any) -> tuple[Any, ...]:
    instances = [group.count for group in config.instance_group]
    delay = config.dynamic_batching.max_queue_delay_microseconds
    return [one.name for one in config.input], config.max_batch_size, instances, delay


def tuned() -> tuple[str, ...]:
    """Return the arguments that tune a repository by a curve: two instances, batches of four, a delay."""
    point = {"batch": 4, "instances": 2, "framesPerSecond": 100, "p50Microseconds": 30_000, "p99Microseconds": 40_000}
    points = [point | {"endpoint": endpoint} for endpoint in ("Ultralytics", "Frames")]
    place = {"source": "Measured", "product": "CPU", "profile": "gpu", "smCount": 1, "points": points}
    path = inside.WORK / "given.json"
    path.write_text(json.dumps(place))
    return "--curve", str(path), "--objective-ms", "100"


def traps() -> list[str]:
    """Return what the lint finds in what is served."""
    folders = sorted(inside.MODELS.glob("*/config.pbtxt"))
    configs = [parse(path.read_text()) for path in folders]
    named = {path.parent.name for path in folders if not path.parent.name.endswith(("_frames", "_jpeg", "_decode"))}
    return [str(each) for name in sorted(named) for each in repository_findings(configs, ultralytics=name)]


def measured() -> dict[str, Any]:
    """Measure the graph of frames as a user does: a curve, and the model as it was before."""
    out = inside.WORK / "curve.json"
    told = ["--url", ADDRESS, "--model", "shapes_frames", "--endpoint", "Frames", "--batch", "1", "--batch", "2"]
    place = ["--product", "CPU", "--sm-count", "1", "--budget", "4", "--objective-ms", "60000", "--out", str(out)]
    began = time.monotonic()
    with contextlib.redirect_stdout(sys.stderr):
        code = main(["measure", *told, *place])
    return {"code": code, "seconds": time.monotonic() - began, "curve": json.loads(out.read_text())}


def measured_in_a_build() -> list[Any] | str:
    """Measure an engine as a build on a slice does: through a server of its own, without a network; the last of all."""
    give_up_network()
    told = {path.parent: decode(path.read_bytes()) for path in sorted(inside.STORE.glob("*/manifest.json"))}
    draft = next(
        served_curve.Draft(made, folder) for folder, made in told.items() if "Ultralytics" in made.recipe.endpoints
    )
    scratch = inside.WORK / "measured"
    scratch.mkdir()
    asked = served_curve.Asked(budget_s=2, batches=(1, 2), instances=(1,))
    found = served_curve.points(draft, scratch, asked, lambda *_: None)
    return found if isinstance(found, str) else [point.wire() for point in found]


def run() -> dict[str, Any]:
    """Build, serve, ask, tell."""
    for folder in (inside.WORK, inside.STORE, inside.MODELS):
        folder.mkdir(parents=True)
    tasks = {name: tuned() if name == TUNED else () for name in MODELS}
    folders = {name: made(name, task, "Ultralytics", "Frames", serving=tasks[name]) for name, task in MODELS.items()}
    bundled = made("yolo26n-shapes", "Detect", "Ultralytics", "Frames", "JPEG", size=640, called="shapes")
    made("yolo26n-shapes", "Detect", "Frames", size=640, frames="NV12", called="planes")
    with triton(inside.MODELS) as server:
        told = {
            "loaded": loaded(server),
            "tuned": _numbers(server.get_model_config(TUNED).config)[1:],
            "tasks": {name: compared(folder, MODELS[name]) for name, folder in folders.items()},
            "shapes": shapes(server, bundled),
            "refused": refused(server),
            "traps": traps(),
            "curve": measured(),
        }
    return told | {"built": measured_in_a_build()}


if __name__ == "__main__":
    print(json.dumps(run()))

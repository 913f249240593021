"""The command line: what a pod runs, and the same code for a person without a cluster."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from pydantic import ValidationError

from model_repo_builder.convert import installed
from model_repo_builder.errors import Refused
from model_repo_builder.request import refusal_of
from model_repo_builder.settings import Places
from yolofleet.api.build import (
    CALIBRATION_PATH,
    DATASET_PATH,
    ENGINE_PATH,
    FETCHED_PATH,
    MODELS_PATH,
    PROGRESS_PORT,
    SOURCE_PATH,
    STORE_PATH,
    WEIGHTS_PATH,
    BuildRequest,
    Calibration,
    Labelled,
    ServeRequest,
)
from yolofleet.api.curve import Curve
from yolofleet.api.recipe import Backend, Builder, Endpoint, Precision, Recipe, Target, Task, engine_key, engine_name
from yolofleet.api.sources import Source

if TYPE_CHECKING:
    from collections.abc import Sequence

TERMINATION_LOG = "/dev/termination-log"
PHASES_DO = {
    "fetch": "bring the weights, unopened",
    "convert": "make an engine of the weights",
    "publish": "bring the engine into the store",
}
"""The containers of a build pod; YOLOFLEET_BUILD tells each what is built."""


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(prog="python -m model_repo_builder", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    build = verbs.add_parser("build", help="make an engine and publish it")
    build.add_argument("--model", required=True, help="a built-in name, a URL, or a file")
    build.add_argument("--sha256", help="digest of the file behind a URL (needed), or of a local file")
    build.add_argument("--task", choices=get_args(Task), default="Detect")
    build.add_argument("--backend", choices=get_args(Backend), default="ONNXRuntime")
    build.add_argument("--precision", choices=get_args(Precision), help="default: FP16 for TensorRT, else FP32")
    build.add_argument("--optimization-level", type=int, choices=range(6), default=3, help="of TensorRT's builder")
    build.add_argument("--pictures", type=Path, help="a folder of pictures: what a TensorRT engine is compared on")
    build.add_argument("--labelled", help="a labelled set to measure mAP on: a URL, or a .zip in YOLO's layout")
    build.add_argument("--labelled-sha256", help="digest of the set behind a URL (needed), or of a local file")
    build.add_argument("--labelled-images", type=int, default=500, metavar="N", help="the first by name (default 500)")
    build.add_argument("--calibration", help="pictures that INT8 takes its scales from: a URL, or a .zip")
    build.add_argument("--calibration-sha256", help="digest of the archive behind a URL (needed), or of a local file")
    build.add_argument("--calibration-images", type=int, default=512, metavar="N", help="evenly spread (default 512)")
    build.add_argument("--measure", type=int, metavar="SECONDS", help="through tritonserver on this GPU, for so long")
    build.add_argument("--image-size", default="640x640", metavar="HxW", help="height x width, multiples of 32")
    build.add_argument("--max-batch-size", type=int, default=8, metavar="N")
    build.add_argument("--endpoint", choices=get_args(Endpoint), action="append", help="repeatable (Ultralytics)")
    build.add_argument("--frames", default="RGB", metavar="FORMAT[:HxW]", help="RGB or NV12, and the cameras' own size")
    build.add_argument("--timings-of", metavar="KEY", help="begin with the kernel timings of this engine in the store")
    build.add_argument("--out", type=Path, help="the store's folder (default %(default)s)", default=Path(STORE_PATH))
    assemble = verbs.add_parser("assemble", help="write a Triton model from a published engine")
    assemble.add_argument("--key", help="the engine's key; without it the request is read from YOLOFLEET_SERVE")
    assemble.add_argument("--name", default="yolo", help="the model's name in Triton")
    assemble.add_argument("--max-batch-size", type=int, default=8, metavar="N")
    assemble.add_argument("--instances", type=int, default=1, metavar="N")
    assemble.add_argument("--queue-delay-microseconds", type=int, default=0, metavar="N")
    assemble.add_argument("--endpoint", choices=get_args(Endpoint), action="append", help="repeatable (Ultralytics)")
    for name, told in (("confidence", "0.25"), ("iou", "0.7"), ("max-detections", "300")):
        assemble.add_argument(f"--{name}", default=told, metavar="N", help="of who sends none (default %(default)s)")
    assemble.add_argument("--curve", type=Path, help="what `measure` wrote: batch, delay and instances come from it")
    assemble.add_argument("--objective-ms", type=int, default=100, metavar="MS", help="p99 to tune for (default 100)")
    assemble.add_argument("--store", type=Path, default=Path(STORE_PATH))
    assemble.add_argument("--models", type=Path, default=Path(MODELS_PATH), help="the repository's folder")
    _estimate(verbs.add_parser("estimate", help="write a curve for a model that was never measured"))
    _measure(
        verbs.add_parser("measure", help="write the curve of a model that a Triton serves (load control: explicit)")
    )
    pod = [verbs.add_parser(phase, help=f"{does}: a container of a build pod") for phase, does in PHASES_DO.items()]
    for verb in pod:
        _in_pod(verb)
    for verb in (build, assemble, *pod):
        verb.add_argument("--termination-log", type=Path, default=Path(TERMINATION_LOG), help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _in_pod(verb: argparse.ArgumentParser) -> None:
    told = {"out": STORE_PATH, "source": SOURCE_PATH, "weights": WEIGHTS_PATH, "fetched": FETCHED_PATH}
    for name, path in (
        told | {"engine": ENGINE_PATH, "dataset": DATASET_PATH, "calibration": CALIBRATION_PATH}
    ).items():
        verb.add_argument(f"--{name}", type=Path, default=Path(path), help=argparse.SUPPRESS)
    verb.add_argument("--progress-port", type=int, default=PROGRESS_PORT, help=argparse.SUPPRESS)


def places(asked: argparse.Namespace) -> Places:
    """Return the folders of a build pod's container."""
    return Places(
        store=asked.out,
        source=asked.source,
        dataset=asked.dataset,
        calibration=asked.calibration,
        weights=asked.weights,
        fetched=asked.fetched,
        engine=asked.engine,
    )


def _estimate(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--model", type=Path, required=True, help="an ONNX file of the size that is served")
    verb.add_argument("--product", required=True, help="GPU product, as nodes are labelled: NVIDIA-H200")
    verb.add_argument("--profile", default="gpu", help="MIG profile, or gpu: the whole one")
    verb.add_argument("--sm-count", type=int, metavar="N", help="of the slice; default: of the whole GPU")
    verb.add_argument("--endpoint", choices=("Ultralytics", "Frames"), default="Ultralytics")
    verb.add_argument("--batch", type=int, action="append", metavar="N", help="repeatable; default 1, 4, 8, 16, 32")
    rates = "where the product's are not known (python -m e2e.gpu.roofline rates)"
    verb.add_argument("--tflops", type=float, help=f"the whole GPU's FP16 rate, {rates}")
    verb.add_argument("--gb-s", type=float, help=f"the whole GPU's copy rate, {rates}")
    verb.add_argument("--gpu-sms", type=int, help=f"the whole GPU's SMs, {rates}")
    verb.add_argument("--out", type=Path, help="where the curve goes; default: standard output")


def _measure(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--url", default="127.0.0.1:8001", help="Triton's gRPC address (default %(default)s)")
    verb.add_argument("--model", required=True, help="the model's name in Triton")
    verb.add_argument("--endpoint", choices=("Ultralytics", "Frames"), default="Ultralytics")
    verb.add_argument("--batch", type=int, action="append", metavar="N", help="repeatable; default 1, 2, 4 … max")
    verb.add_argument("--instances", type=int, action="append", metavar="N", help="repeatable; default 1 and 2")
    verb.add_argument("--budget", type=float, default=90.0, metavar="SECONDS", help="for all points (default 90)")
    verb.add_argument("--product", help="GPU product; default: the device that this machine has")
    verb.add_argument("--profile", default="gpu", help="MIG profile, or gpu: the whole one")
    verb.add_argument("--sm-count", type=int, metavar="N", help="default: the device's")
    verb.add_argument("--objective-ms", type=float, metavar="MS", help="print what the curve tunes Triton to, and why")
    verb.add_argument("--out", type=Path, help="where the curve goes; default: standard output")


def build_request(asked: argparse.Namespace) -> tuple[BuildRequest, Places]:
    """Return the request that a person's arguments mean, and the folders that local files are read from."""
    source, folder = _source(asked.model, asked.sha256)
    labelled, dataset = _labelled(asked)
    calibration, pictures = _calibration(asked)
    try:
        recipe = Recipe.model_validate(
            {
                "weights": source.identity,
                "task": asked.task,
                "backend": asked.backend,
                "precision": asked.precision or ("FP16" if asked.backend == "TensorRT" else "FP32"),
                "imageSize": image_size(asked.image_size),
                "maxBatchSize": asked.max_batch_size,
                "endpoints": asked.endpoint or ["Ultralytics"],
                "frames": frames(asked.frames),
                "dataset": labelled.identity if labelled else None,
                "calibration": calibration.identity if calibration else None,
            }
        )
    except ValidationError as error:
        raise refusal_of(error, variable="arguments", part="recipe") from None
    target, tensorrt = _here() if asked.backend == "TensorRT" else (None, None)
    builder = Builder(image="none", version=installed("yolofleet") or "unknown", tensorrt_version=tensorrt)
    key = engine_key(recipe=recipe, target=target, builder=builder)
    told = {"key": key, "name": engine_name(key), "source": source, "recipe": recipe, "builder": builder}
    places = Places(store=asked.out, source=folder, dataset=dataset, calibration=pictures)
    more = {"target": target, "timings_of": asked.timings_of, "measureSeconds": asked.measure}
    more |= {"labelled": labelled, "calibration": calibration}
    return BuildRequest.model_validate(told | more), places


def _here() -> tuple[Target | None, str | None]:
    """Return what an engine that is built on this machine is for; nothing where no GPU is, and the build says so."""
    from model_repo_builder import cuda_device, engine_from_onnx

    device = cuda_device.look()
    if device is None:
        return None, engine_from_onnx.installed_version()
    target = Target(
        compute_capability=device.compute_capability, sm_count=device.sm_count, memory_mib=device.memory_mib
    )
    return target, engine_from_onnx.installed_version()


def serve_request(asked: argparse.Namespace) -> ServeRequest:
    """Return the request that a person's arguments mean."""
    told = {
        "key": asked.key,
        "modelName": asked.name,
        "maxBatchSize": asked.max_batch_size,
        "instances": asked.instances,
        "queueDelayMicroseconds": asked.queue_delay_microseconds,
        "endpoints": asked.endpoint,
        "postprocess": {
            "confidence": asked.confidence,
            "iou": asked.iou,
            "maxDetections": int(asked.max_detections) if asked.max_detections.isdecimal() else asked.max_detections,
        },
    }
    try:
        return ServeRequest.model_validate(told)
    except ValidationError as error:
        raise refusal_of(error, variable="arguments") from None


def curve_of(asked: argparse.Namespace) -> Curve | None:
    """Return the curve that a person gives; Refused where the file holds none."""
    if asked.curve is None:
        return None
    try:
        return Curve.model_validate_json(asked.curve.read_bytes())
    except OSError as error:
        raise Refused(
            field="--curve",
            value=str(asked.curve),
            message=f"it can't be read: {error.strerror}",
            remedy="name what `measure` or `estimate` wrote",
        ) from None
    except ValidationError as error:
        raise refusal_of(error, variable="--curve") from None


def frames(text: str) -> dict[str, Any] | None:
    """Read `FORMAT` or `FORMAT:HEIGHTxWIDTH`; None for what is meant anyway."""
    format_, _, size = text.partition(":")
    if text == "RGB":
        return None
    return {"format": format_, **({"sourceSize": image_size(size, option="--frames")} if size else {})}


def image_size(text: str, *, option: str = "--image-size") -> dict[str, int]:
    """Read `HEIGHTxWIDTH`."""
    height, _, width = text.lower().partition("x")
    if not (height.isdecimal() and width.isdecimal()):
        raise Refused(
            field=option, value=text, message="not a size", remedy="write height x width, for example 640x640"
        )
    return {"height": int(height), "width": int(width)}


def _labelled(asked: argparse.Namespace) -> tuple[Labelled | None, Path]:
    if asked.labelled is None:
        return None, Path(DATASET_PATH)
    source, folder = _source(asked.labelled, asked.labelled_sha256, option="--labelled")
    try:
        return Labelled(source=source, images=asked.labelled_images), folder
    except ValidationError as error:
        raise refusal_of(error, variable="--labelled-images", part="labelled") from None


def _calibration(asked: argparse.Namespace) -> tuple[Calibration | None, Path]:
    if asked.calibration is None:
        return None, Path(CALIBRATION_PATH)
    source, folder = _source(asked.calibration, asked.calibration_sha256, option="--calibration")
    try:
        return Calibration(source=source, images=asked.calibration_images), folder
    except ValidationError as error:
        raise refusal_of(error, variable="--calibration-images", part="calibration") from None


def _source(model: str, sha256: str | None, option: str = "--model") -> tuple[Source, Path]:
    """A URL, a file that is there (or looks like a path), else a built-in name."""
    told: dict[str, Any]
    folder = Path(SOURCE_PATH)
    path = Path(model)
    if model.startswith(("http://", "https://")):
        told = {"http": {"url": model, "sha256": sha256 or ""}}
    elif path.is_file() or "/" in model or path.suffix in {".pt", ".onnx", ".zip"}:
        if not (path.name.isascii() and path.name.isprintable()) or " " in path.name:
            raise Refused(
                field=option,
                value=model,
                message="the file's name has a space or the like",
                remedy="rename the file",
            )
        folder = path.absolute().parent
        told = {"pvc": {"claimName": "local", "path": path.name, "sha256": sha256 or _digest(path)}}
    else:
        told = {"builtin": model}
    try:
        return Source.model_validate(told), folder
    except ValidationError as error:
        raise refusal_of(error, variable=option, part="source") from None


def _digest(path: Path) -> str | None:
    """A local file is known by its digest, so that a changed file of the same name is another engine."""
    from model_repo_builder.store import hashed

    return hashed(path) if path.is_file() else None

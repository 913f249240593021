"""The real Ultralytics client against an assembled model: Triton's side is answered from its files by ONNX Runtime."""

from __future__ import annotations

import ast
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import onnxruntime as ort
from google.protobuf import json_format

from model_repo_builder.heads import ULTRALYTICS_TASK
from model_repo_builder.triton_config import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

    from yolofleet.api.recipe import Task

TINY = 1e-6
"""Random weights are sure of nothing: everything counts."""


class Server:
    """What the client calls of tritonclient.grpc, answered from a model's folder."""

    def __init__(self, folder: Path) -> None:
        self.config = parse((folder / "config.pbtxt").read_text(encoding="utf-8"))
        self.session = ort.InferenceSession(str(folder / "1/model.onnx"))
        self.batches: list[int] = []

    def get_model_config(self, name: str, *, as_json: bool) -> dict[str, Any]:
        """Answer as the gRPC client does: the protobuf as JSON, names as in the file."""
        assert as_json
        assert name == self.config.name
        return {"config": json_format.MessageToDict(self.config, preserving_proto_field_name=True)}

    def infer(self, *, model_name: str, inputs: list[Any], outputs: list[Any]) -> Any:
        """Answer as Triton does: shapes must be those of the config."""
        assert model_name == self.config.name
        (given,) = inputs
        array = np.frombuffer(given._raw_content, np.float32).reshape(given.shape())  # noqa: SLF001
        dims = list(array.shape[1:] if self.config.max_batch_size else array.shape)
        assert dims == list(self.config.input[0].dims), array.shape
        self.batches.append(len(array))
        names = [output.name() for output in outputs]
        answers = dict(zip(names, self.session.run(names, {given.name(): array}), strict=True))
        return SimpleNamespace(as_numpy=answers.__getitem__)


@contextmanager
def serving(folder: Path) -> Iterator[Server]:
    """Stand in for tritonclient.grpc's client while the block runs."""
    server = Server(folder)
    with mock.patch("tritonclient.grpc.InferenceServerClient", return_value=server):
        yield server


def metadata(folder: Path) -> dict[str, Any]:
    """Return the metadata as the client reads it."""
    config = parse((folder / "config.pbtxt").read_text(encoding="utf-8"))
    told: dict[str, Any] = ast.literal_eval(config.parameters["metadata"].string_value)
    return told


def predicted(server: Server, picture: Any, task: Task, confidence: float) -> Any:
    """Ask the client, the way its users do."""
    from ultralytics import YOLO

    model = YOLO(f"grpc://triton/{server.config.name}", task=ULTRALYTICS_TASK[task])
    return model(picture, conf=confidence, verbose=False)[0]


def boxes(folder: Path, picture: Any, *, confidence: float = 0.25) -> list[tuple[int, Any]]:
    """Return class and corners of the boxes that the client finds."""
    with serving(folder) as server:
        found = predicted(server, picture, "Detect", confidence).boxes
    return [(int(kind), corners) for kind, corners in zip(found.cls.numpy(), found.xyxy.numpy(), strict=True)]


def hits(found: list[tuple[int, Any]], drawn: Any, kinds: Any) -> int:
    """Count the drawn shapes that a found box of their class covers with an IoU of 0.5 or more."""
    return sum(
        any(kind == int(wanted) and _iou(corners, box) >= 0.5 for kind, corners in found)
        for box, wanted in zip(drawn, kinds, strict=True)
    )


def _iou(a: Any, b: Any) -> float:
    common = float(np.prod(np.clip(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0, None)))
    return common / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


def look(folder: Path, task: Task) -> dict[str, Any]:
    """Compare what the client says over Triton with what it says of the same ONNX file on this machine.

    Not of the checkpoint: random weights are equally sure of hundreds of boxes, and which one survives the client's
    non-maximum suppression then hangs on the last bit. That the outputs are torch's is looked at where they leave.
    """
    from ultralytics import YOLO
    from ultralytics.utils import ASSETS

    picture = str(ASSETS / "bus.jpg")
    with serving(folder) as server:
        remote = predicted(server, picture, task, TINY)
    local = YOLO(str(folder / "1/model.onnx"), task=ULTRALYTICS_TASK[task])
    same = local(picture, conf=TINY, verbose=False, rect=False, imgsz=metadata(folder)["imgsz"])[0]
    kinds = {"Segment": "masks", "Pose": "keypoints", "OBB": "obb", "Classify": "probs"}
    return {
        "names": len(remote.names),
        "first": remote.names[0],
        "batches": server.batches,
        "results": len(remote) if task != "Classify" else 1,
        "kind": task == "Detect" or getattr(remote, kinds[task]) is not None,
        "difference": _difference(remote, same, task),
    }


def _difference(remote: Any, local: Any, task: Task) -> float:
    """Return the largest difference of two results, in pixels or in scores; infinite where counts differ."""
    if task == "Classify":
        return float((remote.probs.data - local.probs.data).abs().max())
    one, other = (result.obb if task == "OBB" else result.boxes for result in (remote, local))
    if len(one) != len(other) or not len(one):
        return float("inf")
    return float((one.data - other.data).abs().max())

"""Turns an Ultralytics checkpoint into ONNX; the only module that may import torch and ultralytics.

The graph has a fixed height and width, a free batch axis and the raw head, so that a client's own confidence and IoU
hold. Ultralytics' exporter is not used: its `dynamic=True` frees height and width too, and it installs packages.
"""

from __future__ import annotations

import inspect
import os
import pickle
import warnings
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

import onnx

from model_repo_builder import metadata, onnx_graph, pickles
from model_repo_builder.fetch import task_mismatch
from model_repo_builder.heads import Head, mismatch
from model_repo_builder.restricted_unpickler import in_place_of_pickle

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import torch

    from model_repo_builder.errors import Origin, Refused
    from model_repo_builder.fetch import Weights
    from model_repo_builder.metadata import Facts
    from model_repo_builder.onnx_graph import Array, Dims
    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import ImageSize, Task

OPSET = 17
"""The newest that torch 1.13 writes, and one that every ONNX Runtime and TensorRT in use reads."""
INPUT = "images"
LOAD_ERRORS = (
    AttributeError,
    EOFError,
    ImportError,
    IndexError,
    KeyError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)
"""What a damaged or foreign checkpoint makes of torch.load and of the layers that it fills."""


@dataclass(frozen=True)
class YoloModel:
    """A checkpoint's model, fused and switched to the raw head, for frames of one size."""

    module: torch.nn.Module
    facts: Facts
    size: ImageSize
    versions: dict[str, str]

    def run(self, frames: Array) -> list[Array]:
        """Return what torch makes of frames (N, C, H, W), float32 from 0 to 1."""
        import torch

        with torch.no_grad():
            return [output.numpy() for output in _flat(self.module(torch.from_numpy(frames)))]

    def shapes(self) -> tuple[Dims, ...]:
        """Return the outputs' axes without the batch."""
        return tuple(output.shape[1:] for output in self.run(self._frames(1)))

    def _frames(self, batch: int) -> Array:
        frame = onnx_graph.Tensor(INPUT, "FP32", (-1, self.facts.channels))
        return onnx_graph.zeros(frame, self.size, batch)

    def export(self, target: Path) -> None:
        """Write the ONNX file."""
        import torch

        shapes = tuple(output.shape[1:] for output in self.run(self._frames(2)))  # heads keep anchors by batch size
        names = [f"output{index}" for index in range(len(shapes))]
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # the tracer warns of every shape that it takes for a constant, as it should
            torch.onnx.export(
                self.module,
                torch.from_numpy(self._frames(2)),
                str(target),
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=names,
                dynamic_axes={name: {0: "batch"} for name in (INPUT, *names)},
                **({"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}),
            )
        model = onnx.load(str(target))
        onnx_graph.fold_shapes(model, self.size)
        onnx_graph.set_outputs(model, [("batch", *shape) for shape in shapes])
        onnx.checker.check_model(model, full_check=True)
        onnx.save(model, str(target))


def prepare(weights: Weights, scratch: Path, *, report: Report) -> dict[str, str]:
    """Refuse a pickle that names what it may not, then import torch and ultralytics; their versions.

    The imports are done while the door is still open, as newer torches start a program to find their libraries.
    `scratch` takes the settings files that ultralytics and matplotlib insist on writing.
    """
    pickles.check(weights.path, weights.origin)
    report(0.1, "loading torch and ultralytics")
    return _libraries(scratch)


def load(weights: Weights, versions: dict[str, str], *, task: Task, size: ImageSize, report: Report) -> YoloModel:
    """Load a prepared checkpoint; refuses what is no YOLO model, does another task, or needs another size."""
    report(0.4, "opening the weights")
    checkpoint = _read(weights.path, weights.origin)
    module, arguments = _model_of(checkpoint, weights.origin)
    found = _task_of(module, weights.origin)
    if found != task:
        raise task_mismatch(task, found, weights.origin)
    _fits(module, size)
    report(0.6, "fusing layers")
    facts = _facts(module, arguments, versions, task)
    return _prepared(module, facts, size, versions, weights.origin)


def _libraries(scratch: Path) -> dict[str, str]:
    """Import torch and ultralytics, with all that reaches out switched off; return their versions."""
    os.environ |= {"YOLO_OFFLINE": "true", "YOLO_AUTOINSTALL": "false", "YOLO_VERBOSE": "false"}
    os.environ |= dict.fromkeys(("YOLO_CONFIG_DIR", "MPLCONFIGDIR", "TORCH_HOME"), str(scratch))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import torch
        import ultralytics
    return {"torch": str(torch.__version__), "ultralytics": str(ultralytics.__version__)}


def _read(path: Path, origin: Origin) -> dict[str, Any]:
    import torch

    try:
        with in_place_of_pickle(torch.serialization) as restricted:
            checkpoint = torch.load(str(path), map_location="cpu", pickle_module=restricted, weights_only=False)
    except LOAD_ERRORS as error:
        raise _unreadable(origin, error) from error
    if not isinstance(checkpoint, dict):
        raise origin.refused("the file holds no checkpoint", "give the best.pt that ultralytics' training wrote")
    return checkpoint


def _model_of(checkpoint: dict[str, Any], origin: Origin) -> tuple[torch.nn.Module, dict[str, Any]]:
    import torch

    module = checkpoint.get("ema") or checkpoint.get("model")
    if not isinstance(module, torch.nn.Module):
        raise origin.refused(
            "the checkpoint holds no model, at most its weights (a state_dict)",
            "give the best.pt that ultralytics' training wrote",
        )
    if checkpoint.get("modelopt"):
        raise origin.refused("the model was trained for quantization (QAT)", "give the float model, or an .onnx")
    arguments = checkpoint.get("train_args")
    return module.float().eval(), arguments if isinstance(arguments, dict) else {}


def _task_of(module: torch.nn.Module, origin: Origin) -> Task:
    """Return the task by the head, which can't lie; only the heads that the five tasks' clients read are served."""
    from ultralytics.nn.modules import head as heads

    by_class: tuple[tuple[type, Task], ...] = (
        (heads.Segment, "Segment"),
        (heads.Pose, "Pose"),
        (heads.OBB, "OBB"),
        (heads.Detect, "Detect"),
        (heads.Classify, "Classify"),
    )
    head = _head(module, origin)
    if "World" in type(head).__name__ or "YOLOE" in type(head).__name__:
        raise origin.refused(
            f"models with the head {type(head).__name__} take text too", "export it with fixed classes"
        )
    found = next((task for kind, task in by_class if isinstance(head, kind)), None)
    if found is None:
        raise origin.refused(
            f"models with the head {type(head).__name__} are not served", "give a YOLO of the five tasks"
        )
    return found


def _head(module: torch.nn.Module, origin: Origin) -> Any:
    try:
        return module.model[-1]
    except (AttributeError, IndexError, TypeError):
        raise origin.refused(f"{type(module).__name__} is no YOLO model", "give an Ultralytics .pt") from None


def _fits(module: torch.nn.Module, size: ImageSize) -> None:
    from model_repo_builder.errors import Refused

    stride = int(max(getattr(module, "stride", [32])))
    if size.height % stride or size.width % stride:
        raise Refused(
            field="spec.engine.imageSize",
            value=f"{size.height}x{size.width}",
            message=f"this model's largest stride is {stride}",
            remedy=f"use multiples of {stride}",
        )


def _prepared(
    module: torch.nn.Module, facts: Facts, size: ImageSize, versions: dict[str, str], origin: Origin
) -> YoloModel:
    try:
        _switch_to_raw(module)
        model = YoloModel(module, facts, size, versions)
        shapes = model.shapes()
    except LOAD_ERRORS as error:
        raise _unreadable(origin, error) from error
    masks = shapes[1][0] if len(shapes) > 1 else 0
    head = replace(facts.head, masks=masks, end_to_end=bool(getattr(module, "end2end", False)))
    if reason := mismatch(head, shapes):
        raise origin.refused(f"its outputs are not those of its task: {reason}", "give an unmodified Ultralytics model")
    return replace(model, facts=replace(facts, head=head))


def _switch_to_raw(module: Any) -> None:
    """Fuse layers and choose the head: one-to-many, unless a checkpoint has only the end-to-end one left."""
    import torch
    from ultralytics.nn.modules import C2f, Classify, Detect

    for parameter in module.parameters():
        parameter.requires_grad = False
    for part in module.modules():
        if isinstance(part, torch.nn.Upsample) and not hasattr(part, "recompute_scale_factor"):
            part.recompute_scale_factor = None
    if hasattr(module, "end2end"):
        module.end2end = False
    module.fuse(verbose=False)
    for part in module.modules():
        if isinstance(part, (Detect, Classify)):
            part.export, part.format = True, "onnx"
        if isinstance(part, Detect):
            part.dynamic, part.shape = False, None
        elif isinstance(part, C2f):
            part.forward = part.forward_split  # writes Split, where the default writes two Slices


def _facts(module: Any, arguments: dict[str, Any], versions: dict[str, str], task: Task) -> Facts:
    head = module.model[-1]
    names = metadata.class_names(module.names)
    yaml = getattr(module, "yaml", {}) or {}
    data = PurePath(str(arguments.get("data") or "")).name  # the name only: the folder is the trainer's own affair
    return metadata.Facts(
        head=Head(
            task=task,
            classes=len(names),
            keypoints=metadata.keypoint_shape(head.kpt_shape) if task == "Pose" else None,
        ),
        names=names,
        stride=int(max(getattr(module, "stride", [32]))),
        channels=int(yaml.get("channels", 3)),
        keypoint_names=metadata.keypoint_names(getattr(module, "kpt_names", None)),
        head_class=type(head).__name__,
        texts={
            "description": f"Ultralytics {yaml.get('yaml_file', 'YOLO')} model"
            + (f" trained on {data}" if data else ""),
            "author": "Ultralytics",
            "version": versions["ultralytics"],
            "license": "AGPL-3.0 License (https://ultralytics.com/license)",
        },
    )


def _flat(outputs: Any) -> Sequence[torch.Tensor]:
    return list(outputs) if isinstance(outputs, (tuple, list)) else [outputs]


def _unreadable(origin: Origin, error: Exception) -> Refused:
    return origin.refused(
        f"the checkpoint can't be loaded ({type(error).__name__}: {error})",
        "check that this ultralytics reads it, or give an .onnx",
    )

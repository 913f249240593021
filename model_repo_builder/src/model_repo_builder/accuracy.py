"""How much of what is labelled an engine finds: mAP on a user's own set, bounded in pictures and in time."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from model_repo_builder import boxes, gates
from model_repo_builder.errors import Failed, clip
from model_repo_builder.frames import fitted, with_channels
from yolofleet.api.build import Accuracy

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from model_repo_builder.frames import Place
    from model_repo_builder.labelled_set import LabelledSet, Objects
    from model_repo_builder.metadata import Facts
    from model_repo_builder.onnx_graph import Array
    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import Backend, ImageSize

Run: TypeAlias = "Callable[[Array], list[Array]]"
"""Takes frames (1, C, H, W), gives the head's raw outputs."""
LOW = boxes.Thresholds(confidence=0.001, iou=0.7, max_detections=300, candidates=3000)
"""What Ultralytics validates with, but for the bound on candidates: the surest 3,000 hold every box that counts."""
LIMIT_S = 900.0
"""A build has an hour (builds.deadlineSeconds), and more to do than this."""
IMAGES = "spec.engine.accuracyGate.images"


def runner(engine: Path, backend: Backend) -> Run:
    """Return an engine as a function of frames, run by what serves it."""
    if backend == "TensorRT":
        from model_repo_builder.engine_runner import EngineRunner

        return EngineRunner(engine).run
    from model_repo_builder import onnx_graph

    loaded = onnx_graph.session(str(engine))
    return lambda frames: onnx_graph.run(loaded, frames)


def measured(
    run: Run,
    told: LabelledSet,
    facts: Facts,
    size: ImageSize,
    *,
    images: int,
    report: Report,
) -> Accuracy:
    """Run an engine on the set's first pictures and return its mAP; refuses a set that does not fit the model."""
    names = told.pictures(images)
    check_names(told, facts)
    seen, labels, began = [], [], time.monotonic()
    for index, name in enumerate(names):
        if (spent := time.monotonic() - began) > LIMIT_S:
            raise _too_slow(index, len(names), spent)
        report(index / len(names), f"picture {index + 1} of {len(names)}")
        pixels, place = fitted(told.picture(name), size)
        labels.append(_labels(told, name, place, facts))
        frame = with_channels(pixels.transpose(2, 0, 1)[None], facts.channels)
        seen += boxes.from_raw(run(np.ascontiguousarray(frame)), facts.head, LOW)
    objects = sum(len(one.classes) for one in labels)
    if not objects:
        remedy = "label some, or raise spec.engine.accuracyGate.images if they come later by name"
        raise told.refused(f"none of the {len(names)} pictures has a label: mAP says nothing", remedy)
    found = gates.mean_average_precision(seen, labels)
    return Accuracy(
        dataset_sha256=told.sha256,
        images=len(names),
        objects=objects,
        map50=f"{found.map50:.4f}",
        map50_to95=f"{found.map50_95:.4f}",
    )


def check_names(told: LabelledSet, facts: Facts) -> None:
    """Refuse a set whose classes are others than the model's: its numbers would mean something else."""
    pairs = zip(told.names(), facts.names, strict=False)
    wrong = next((triple for triple in ((i, a, b) for i, (a, b) in enumerate(pairs)) if triple[1] != triple[2]), None)
    if wrong is not None and not _anonymous(facts):
        number, theirs, ours = wrong
        raise told.refused(
            f"class {number} is {clip(theirs, 60)!r} in data.yaml and {clip(ours, 60)!r} in the model",
            "give the set that the model was trained for, its classes numbered as the model has them",
        )


def _anonymous(facts: Facts) -> bool:
    """Tell whether a model says nothing of its classes: an ONNX file of another exporter."""
    return facts.names == tuple(f"class{index}" for index in range(len(facts.names)))


def _labels(told: LabelledSet, name: str, place: Place, facts: Facts) -> gates.Labels:
    """Return what is labelled, in pixels of the frame."""
    corners, classes = _fitting(told, name, facts)
    left, top, width, height = place
    scale, shift = np.array([width, height] * 2), np.array([left, top] * 2)
    return gates.Labels(corners=corners * scale + shift, classes=classes)


def _fitting(told: LabelledSet, name: str, facts: Facts) -> Objects:
    corners, classes = told.objects(name)
    most = facts.head.classes
    if len(classes) and int(classes.max()) >= most:
        raise told.refused(
            f"the labels of {name} name class {int(classes.max())}, and the model has {most}, numbered from 0",
            "give the set that the model was trained for, its classes numbered as the model has them",
        )
    return corners, classes


def _too_slow(done: int, count: int, spent: float) -> Failed:
    return Failed(
        field=IMAGES,
        value=str(count),
        message=f"{done} pictures took {spent:.0f} s, and {LIMIT_S:.0f} s are allowed for all",
        remedy=f"set {IMAGES} to {max(1, done * 9 // 10)} or less, or give builds.resources more CPU",
    )

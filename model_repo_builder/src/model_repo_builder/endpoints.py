"""Writes the graph of the endpoints of frames beside a raw one, and looks whether it says the same."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from model_repo_builder import frames, frames_graph, onnx_graph
from model_repo_builder.boxes import Boxes, Thresholds, from_raw
from model_repo_builder.errors import Failed, Refused
from model_repo_builder.frame_layout import FrameFormat, defaults, frame_format, layout_of
from model_repo_builder.heads import BOX
from model_repo_builder.manifest import FRAMES_FILE, FramesGraph, TensorSpec

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import onnxruntime as ort

    from model_repo_builder.heads import Head
    from model_repo_builder.onnx_graph import Array, Tensor
    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import ImageSize, Recipe

MANY = 60
"""Boxes of a trial frame that are compared, about: fewer would prove little, thousands are noise."""
SURE = 0.25
PIXELS, SCORES = 0.5, 1e-3
"""One graph in one runtime: only rounding differs."""


def write(raw: Path, recipe: Recipe, head: Head, *, free_batch: bool, report: Report) -> FramesGraph:
    """Write the graph of frames into the raw graph's folder, compared with it; return its entry for the manifest."""
    if not free_batch:
        raise Refused(
            field="spec.endpoints",
            value=", ".join(recipe.endpoints),
            message="the model's batch is fixed at 1, and the graph of frames serves cameras together",
            remedy="export it with dynamic=True, or set spec.endpoints: [Ultralytics]",
        )
    report(0.0, "writing the graph of frames")
    format_ = frame_format(recipe.frames)
    model = frames_graph.wrap(onnx.load(str(raw)), head, size=recipe.image_size, frames=format_)
    target = raw.parent / FRAMES_FILE["ONNXRuntime"]
    onnx.save(model, str(target))
    optional = {each.name for each in frames_graph.optional_inputs(head)}
    inputs = onnx_graph.inputs_of(model)
    _compare(raw, target, recipe.image_size, head, format_)
    report(1.0, "the graph of frames says what the model says")
    return FramesGraph(
        inputs=[_spec(each) for each in inputs if each.name not in optional],
        optional_inputs=[_spec(each) for each in inputs if each.name in optional],
        outputs=[_spec(each) for each in onnx_graph.outputs_of(model)],
    )


def _spec(tensor: Tensor) -> TensorSpec:
    return TensorSpec(name=tensor.name, data_type=tensor.data_type, dims=list(tensor.dims))


def _compare(raw: Path, target: Path, size: ImageSize, head: Head, format_: FrameFormat) -> None:
    """Compare boxes on trial pictures where the graph takes frames of the network's size; else see that it runs."""
    loaded = onnx_graph.session(str(target))
    layout = layout_of(size, format_)
    if head.task == "Classify" or format_ != FrameFormat():
        _sane(loaded, np.zeros((2, *layout.dims), np.uint8), head, format_, size)
        return
    pictures = np.round(frames.trial_frames(size, 3) * 255).astype(np.uint8)
    outputs = onnx_graph.run(onnx_graph.session(str(raw)), pictures.astype(np.float32) / np.float32(255))
    told = Thresholds(confidence=_confidence(outputs, head))
    wanted_boxes = from_raw(outputs, head, told)
    limits = (size.width, size.height, size.width, size.height)
    cut = [b if b.rotated else replace(b, corners=np.clip(b.corners, 0, limits)) for b in wanted_boxes]
    got = _answered(loaded, np.ascontiguousarray(pictures.transpose(0, 2, 3, 1)), head, told, size)
    strays = sum(_strays(one, other, told.confidence) for one, other in zip(cut, got, strict=True))
    if strays:
        raise Failed(
            message=f"the graph of frames does not say what the model says: {strays} boxes differ",
            remedy="report this model; set spec.endpoints: [Ultralytics] until then",
        )


def _strays(one: Boxes, other: Boxes, confidence: float) -> int:
    """Count boxes that have no twin, unless their score is so near to the confidence that rounding decides."""
    gaps = np.abs(one.corners[:, None] - other.corners[None]).max(axis=2, initial=0.0)
    twins = gaps < PIXELS
    twins &= np.abs(one.scores[:, None] - other.scores[None]) < SCORES
    twins &= one.classes[:, None] == other.classes[None]
    alone = (~twins.any(axis=1) & (one.scores > confidence + SCORES)).sum()
    return int(alone + (~twins.any(axis=0) & (other.scores > confidence + SCORES)).sum())


def _confidence(outputs: Sequence[Array], head: Head) -> float:
    """A model that is sure of some boxes is asked as users do; else the surest are compared, however unsure."""
    first = outputs[0].astype(np.float64)
    scores = first[:, :, BOX] if head.end_to_end else first[:, BOX : BOX + head.classes].max(axis=1)
    if 0 < int((scores > SURE).sum(axis=1).max()) <= MANY:
        return SURE
    return max(float(np.sort(scores, axis=1)[:, -min(MANY, scores.shape[1])].max()), 0.0)


def _answered(
    loaded: ort.InferenceSession, pictures: Array, head: Head, told: Thresholds, size: ImageSize
) -> list[Boxes]:
    layout = layout_of(size, FrameFormat())
    limits = defaults(layout, confidence=told.confidence, iou=told.iou, most=told.max_detections)
    feed = {name: np.array([values], np.float32) for name, values in limits.items()}
    feed["max_detections"] = feed["max_detections"].astype(np.int32)
    names = [output.name for output in loaded.get_outputs()]
    answer = dict(zip(names, loaded.run(None, {"frames": pictures, **feed}), strict=True))
    return [boxes_of(answer, index, head) for index in range(len(pictures))]


def boxes_of(answer: dict[str, Array], index: int, head: Head) -> Boxes:
    """Return what an answer of the graph of frames says of one frame."""
    count = int(answer["num_dets"][index, 0])
    name = {"Segment": "mask_coefficients", "Pose": "keypoints", "OBB": "angles"}.get(head.task)
    extra = answer[name][index, :count].reshape(count, -1) if name else np.zeros((count, 0))
    return Boxes(
        corners=answer["boxes"][index, :count].astype(np.float64),
        scores=answer["scores"][index, :count].astype(np.float64),
        classes=answer["classes"][index, :count].astype(np.int64),
        extra=extra.astype(np.float64),
        rotated=head.task == "OBB",
    )


def _sane(loaded: ort.InferenceSession, pictures: Array, head: Head, format_: FrameFormat, size: ImageSize) -> None:
    feed = {"frames": pictures}
    if head.task != "Classify":
        limits = defaults(layout_of(size, format_), confidence=SURE, iou=0.7, most=300)
        feed |= {name: np.array([values], np.float32) for name, values in limits.items()}
        feed["max_detections"] = feed["max_detections"].astype(np.int32)
    for output in loaded.run(None, feed):
        if not np.isfinite(output).all():
            raise Failed(message="the graph of frames answers with infinities or NaN", remedy="report this model")

"""Checks a user's own ONNX file and makes it servable: fixed height and width, a free batch if it can have one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from google.protobuf.message import DecodeError

from model_repo_builder import metadata, onnx_graph
from model_repo_builder.errors import Refused
from model_repo_builder.fetch import task_mismatch
from model_repo_builder.heads import Head, derived, mismatch

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.errors import Origin
    from model_repo_builder.fetch import Weights
    from model_repo_builder.metadata import Facts
    from model_repo_builder.onnx_graph import Array, Dims, Tensor
    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import ImageSize, Task

NCHW = 4
MAX_CHANNELS = 64
CLOSE = 1e-3
SERVED_TYPES = ("FP32", "FP16")
EXPORT_AGAIN = "export it again, for example with ultralytics: model.export(format='onnx')"


@dataclass(frozen=True, kw_only=True)
class UserModel:
    """A user's model, ready to serve; `notes` say what was changed or could not be."""

    facts: Facts
    shapes: tuple[Dims, ...]
    free_batch: bool
    notes: tuple[str, ...]


def convert(weights: Weights, target: Path, *, task: Task, size: ImageSize, report: Report) -> UserModel:
    """Check an ONNX file and write its servable form to `target`."""
    report(0.1, "checking the graph")
    model = _checked(weights)
    first = _only_input(model, weights.origin)
    _check_size(first, size)
    report(0.4, "fixing the image size")
    fixed_batch = first.dims[0] > 0
    onnx_graph.set_input(model, first.name, ("batch" if not fixed_batch else 1, first.dims[1], size.height, size.width))
    shapes = _shapes(model, first, size, weights.origin)
    facts = _facts(model, shapes, task, weights.origin)
    _in_role_order(model, shapes)
    report(0.6, "freeing the batch axis")
    freed = _freed(model, first, size) if fixed_batch else model
    served = freed or model
    axis = "batch" if freed else 1
    onnx_graph.set_outputs(served, [(axis, *shape) for shape in sorted(shapes, key=len)])
    served.ir_version = min(served.ir_version, onnx_graph.IR_VERSION)
    onnx.save(served, str(target))
    return UserModel(
        facts=facts,
        shapes=tuple(sorted(shapes, key=len)),
        free_batch=freed is not None,
        notes=_notes(facts, fixed=fixed_batch, freed=freed is not None),
    )


def _checked(weights: Weights) -> onnx.ModelProto:
    origin = weights.origin
    try:
        model = onnx.load(str(weights.path), load_external_data=False)
    except DecodeError as error:
        raise origin.refused(f"the ONNX file can't be read ({error})", "fetch it again; compare its digest") from None
    if any(constant.data_location == onnx.TensorProto.EXTERNAL for constant in model.graph.initializer):
        raise origin.refused("its weights lie in another file (external data)", "save them inside (one .onnx file)")
    try:
        onnx.checker.check_model(onnx.shape_inference.infer_shapes(model), full_check=True)
        onnx_graph.session(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, onnx_graph.GraphError) as error:
        raise origin.refused(
            f"the ONNX model is not valid: {str(error).strip().splitlines()[0]}", EXPORT_AGAIN
        ) from None
    return model


def _only_input(model: onnx.ModelProto, origin: Origin) -> Tensor:
    inputs = onnx_graph.inputs_of(model)
    if len(inputs) != 1:
        names = ", ".join(tensor.name for tensor in inputs)
        raise origin.refused(f"the model has {len(inputs)} inputs ({names}), a YOLO has one", EXPORT_AGAIN)
    first = inputs[0]
    if first.data_type not in SERVED_TYPES:
        raise origin.refused(
            f"the input {first.name} is {first.data_type}; the client sends normalised {' or '.join(SERVED_TYPES)}",
            "export it with a float input",
        )
    if len(first.dims) != NCHW or not 1 <= first.dims[1] <= MAX_CHANNELS:
        raise origin.refused(
            f"the input {first.name} has the axes {list(first.dims)}, not (batch, channels, height, width)",
            "export it with channels first and a fixed number of channels",
        )
    if first.dims[0] > 1:
        raise origin.refused(
            f"the batch is fixed at {first.dims[0]}, and the client sends single frames",
            "export it with dynamic=True or batch=1",
        )
    return first


def _check_size(first: Tensor, size: ImageSize) -> None:
    height, width = first.dims[2:]
    if (height > 0 and height != size.height) or (width > 0 and width != size.width):
        has = f"{height if height > 0 else 'any'}x{width if width > 0 else 'any'}"
        raise Refused(
            field="spec.engine.imageSize",
            value=f"{size.height}x{size.width}",
            message=f"the ONNX model is fixed to {has} (height x width)",
            remedy=f"set imageSize to {has}, or export the model at {size.height}x{size.width}",
        )


def _shapes(model: onnx.ModelProto, first: Tensor, size: ImageSize, origin: Origin) -> tuple[Dims, ...]:
    """Run one frame through the model; return the outputs' axes without the batch."""
    try:
        onnx_graph.forget_shapes(model)
        outputs = onnx_graph.run(onnx_graph.session(model), _noise(first, size, 1))
    except onnx_graph.GraphError as error:
        raise Refused(
            field="spec.engine.imageSize",
            value=f"{size.height}x{size.width}",
            message=f"the ONNX model does not run at this size: {error.message}",
            remedy="use a size that the model was exported for",
        ) from None
    if any(output.ndim < 2 or output.shape[0] != 1 for output in outputs):  # noqa: PLR2004
        raise origin.refused("an output has no batch axis", EXPORT_AGAIN)
    return tuple(output.shape[1:] for output in outputs)


def _noise(first: Tensor, size: ImageSize, batch: int) -> Array:
    shape = (batch, first.dims[1], size.height, size.width)
    return np.random.default_rng(0).random(shape, np.float32)


def _facts(model: onnx.ModelProto, shapes: tuple[Dims, ...], task: Task, origin: Origin) -> Facts:
    """Return what the metadata says, else what the shapes say; refuse another task than the one asked for."""
    ordered = tuple(sorted(shapes, key=len))
    try:
        told = metadata.parse_props({prop.key: prop.value for prop in model.metadata_props})
        if "names" not in told or "task" not in told:
            return metadata.anonymous(_derived(task, ordered))
        facts = metadata.facts_from(told, masks=ordered[1][0] if len(ordered) > 1 else 0)
    except metadata.BadMetadataError as error:
        raise origin.refused(f"the ONNX file's metadata is wrong: {error}", EXPORT_AGAIN) from None
    if facts.head.task != task:
        raise task_mismatch(task, facts.head.task, origin)
    if reason := mismatch(facts.head, ordered):
        raise origin.refused(f"the ONNX model's outputs are not those of its task: {reason}", EXPORT_AGAIN)
    return facts


def _derived(task: Task, shapes: tuple[Dims, ...]) -> Head:
    head = derived(task, shapes)
    if head is None:
        raise Refused(
            field="spec.model.task",
            value=task,
            message=f"the ONNX file has no metadata, and its outputs {list(shapes)} are not those of {task}",
            remedy="set the task that the model does, or export it with ultralytics, which writes metadata",
        )
    return head


def _in_role_order(model: onnx.ModelProto, shapes: tuple[Dims, ...]) -> None:
    """Put boxes before prototypes, under names that sort that way, as the client sorts by name."""
    ranked = sorted(zip(shapes, model.graph.output, strict=True), key=lambda pair: len(pair[0]))
    infos = [onnx.ValueInfoProto.FromString(info.SerializeToString()) for _, info in ranked]
    del model.graph.output[:]
    model.graph.output.extend(infos)
    names = [info.name for info in infos]
    if names != sorted(names):
        onnx_graph.rename_outputs(model, [f"output{index}" for index in range(len(names))])


def _freed(model: onnx.ModelProto, first: Tensor, size: ImageSize) -> onnx.ModelProto | None:
    """Return the model with a free batch axis, or None where it then says something else."""
    freed = onnx.ModelProto()
    freed.CopyFrom(model)
    onnx_graph.set_input(freed, first.name, ("batch", first.dims[1], size.height, size.width))
    onnx_graph.free_reshapes(freed)
    frames, loaded = _noise(first, size, 2), onnx_graph.session(model)
    try:
        together = onnx_graph.run(onnx_graph.session(freed), frames)
    except onnx_graph.GraphError:
        return None
    alone = [onnx_graph.run(loaded, frame[np.newaxis]) for frame in frames]
    good = all(_close(both, np.concatenate(singles)) for both, *singles in zip(together, *alone, strict=True))
    return freed if good else None


def _close(got: Array, wanted: Array) -> bool:
    if not (np.isfinite(got).all() and np.isfinite(wanted).all()):
        return False
    scale = max(float(np.abs(wanted).max()), 1.0)
    return got.shape == wanted.shape and bool(np.allclose(got, wanted, rtol=0, atol=CLOSE * scale))


def _notes(facts: Facts, *, fixed: bool, freed: bool) -> tuple[str, ...]:
    notes = []
    if fixed:
        notes.append(
            "the batch axis was fixed at 1 and is free now"
            if freed
            else "the batch axis is fixed at 1 and can't be freed: served with maxBatchSize 1"
        )
    if facts.names[0] == "class0":
        notes.append("the file has no class names: they are class0, class1, …")
    return tuple(notes)

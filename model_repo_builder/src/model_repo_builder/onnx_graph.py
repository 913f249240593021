"""Reads and edits ONNX graphs: fixed height and width, a free batch axis, shapes as constants."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

from model_repo_builder.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy.typing as npt

    from yolofleet.api.recipe import ImageSize

Array: TypeAlias = "npt.NDArray[np.generic]"
Dims: TypeAlias = tuple[int, ...]
FREE = -1
LIKE_INPUT = 0
"""In a Reshape's target: the axis has the size that it has in the input."""
BATCHES = (2, 3)
"""Where a graph is watched for what moves with the batch."""
IR_VERSION = 10
"""The newest that the ONNX Runtime in today's Triton images reads."""
DTYPES: dict[int, tuple[str, type[np.generic]]] = {
    onnx.TensorProto.FLOAT: ("FP32", np.float32),
    onnx.TensorProto.FLOAT16: ("FP16", np.float16),
    onnx.TensorProto.DOUBLE: ("FP64", np.float64),
    onnx.TensorProto.UINT8: ("UINT8", np.uint8),
    onnx.TensorProto.INT8: ("INT8", np.int8),
    onnx.TensorProto.INT32: ("INT32", np.int32),
    onnx.TensorProto.INT64: ("INT64", np.int64),
    onnx.TensorProto.BOOL: ("BOOL", np.bool_),
}
"""Triton's and numpy's names of element types."""
SHAPE_INPUTS = {"Reshape": (1,), "Expand": (1,), "Split": (1,), "Slice": (1, 2, 3, 4)}
"""Inputs of operators that are int64 shapes or bounds, not data."""


@dataclass(frozen=True)
class Tensor:
    """An input or output: its name, Triton's name of its type, and all its axes (-1: free)."""

    name: str
    data_type: str
    dims: Dims


def inputs_of(model: onnx.ModelProto) -> tuple[Tensor, ...]:
    """Return the inputs that a caller must give; initialisers are not."""
    constants = {constant.name for constant in model.graph.initializer}
    return tuple(_tensor(info) for info in model.graph.input if info.name not in constants)


def outputs_of(model: onnx.ModelProto) -> tuple[Tensor, ...]:
    """Return the outputs."""
    return tuple(_tensor(info) for info in model.graph.output)


def _tensor(info: onnx.ValueInfoProto) -> Tensor:
    kind = info.type.tensor_type
    data_type = DTYPES.get(kind.elem_type, (onnx.TensorProto.DataType.Name(kind.elem_type), np.float32))[0]
    dims = tuple(dim.dim_value if dim.HasField("dim_value") else FREE for dim in kind.shape.dim)
    return Tensor(info.name, data_type, dims)


class GraphError(Failed):
    """ONNX Runtime does not load or run a model; the message is its own, first line only."""

    def __init__(self, error: Exception) -> None:
        first = next(iter(str(error).strip().splitlines()), type(error).__name__)
        super().__init__(message=f"ONNX Runtime: {first}", remedy="report this model, or give an .onnx of it")


def session(model: onnx.ModelProto | str) -> ort.InferenceSession:
    """Load a model into ONNX Runtime on the CPU."""
    options = ort.SessionOptions()
    options.log_severity_level = 3
    content = model if isinstance(model, str) else model.SerializeToString()
    try:
        return ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no base of their own
        raise GraphError(error) from None


def run(loaded: ort.InferenceSession, frames: Array) -> list[Array]:
    """Run a model on frames, cast to the type that its input has."""
    first = loaded.get_inputs()[0]
    kind = {"tensor(float16)": np.float16, "tensor(double)": np.float64}.get(first.type, np.float32)
    try:
        answer: list[Array] = loaded.run(None, {first.name: frames.astype(kind)})
    except Exception as error:  # noqa: BLE001 - onnxruntime's errors have no base of their own
        raise GraphError(error) from None
    return answer


def set_input(model: onnx.ModelProto, name: str, dims: Sequence[int | str]) -> None:
    """Write an input's axes: a number fixes one, a word frees it under that name."""
    info = next(info for info in model.graph.input if info.name == name)
    _write_dims(info, dims)


def set_outputs(model: onnx.ModelProto, shapes: Sequence[Sequence[int | str]]) -> None:
    """Write the outputs' axes, and forget what was noted of the values between."""
    for info, dims in zip(model.graph.output, shapes, strict=True):
        _write_dims(info, dims)
    del model.graph.value_info[:]


def forget_shapes(model: onnx.ModelProto) -> None:
    """Drop all that is noted of outputs and of values between, so that it follows from the inputs."""
    for info in model.graph.output:
        info.type.tensor_type.ClearField("shape")
    del model.graph.value_info[:]


def _write_dims(info: onnx.ValueInfoProto, dims: Sequence[int | str]) -> None:
    shape = info.type.tensor_type.shape
    del shape.dim[:]
    for value in dims:
        dim = shape.dim.add()
        if isinstance(value, int):
            dim.dim_value = value
        else:
            dim.dim_param = value


def rename_outputs(model: onnx.ModelProto, names: Sequence[str]) -> None:
    """Give the outputs new names, in order; the graph's values follow."""
    new = {info.name: name for info, name in zip(model.graph.output, names, strict=True)}
    for node in model.graph.node:
        node.input[:] = [new.get(name, name) for name in node.input]
        node.output[:] = [new.get(name, name) for name in node.output]
    for info in model.graph.output:
        info.name = new[info.name]


def zeros(tensor: Tensor, size: ImageSize, batch: int) -> Array:
    """Return a batch of black frames."""
    return np.zeros((batch, tensor.dims[1], size.height, size.width), np.float32)


def fold_shapes(model: onnx.ModelProto, size: ImageSize) -> int:
    """Replace computed shapes and bounds by constants; return how many were.

    A tracer writes them as arithmetic on the batch size. Their values at two batch sizes tell what moves with it:
    one axis of a Reshape may (it becomes -1), nothing else.
    """
    known = {constant.name for constant in model.graph.initializer} | _constants(model) | {""}
    uses = [
        (node, index, name)
        for node in model.graph.node
        for index, name in enumerate(node.input)
        if index in SHAPE_INPUTS.get(node.op_type, ()) and name not in known
    ]
    values = _at_two_batches(model, size, sorted({name for _, _, name in uses}))
    folded: dict[str, Array] = {}
    for node, index, name in uses:
        constant = _constant(*values[name], free_one=node.op_type == "Reshape")
        if constant is not None:
            node.input[index] = f"{name}_folded"
            folded[f"{name}_folded"] = constant
    model.graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in sorted(folded.items()))
    drop_unused(model)
    return len(folded)


def _at_two_batches(
    model: onnx.ModelProto, size: ImageSize, names: list[str]
) -> dict[str, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """Return the values, all of them int64, that the graph computes under `names` for batches of 2 and of 3."""
    if not names:
        return {}
    probe = onnx.ModelProto()
    probe.CopyFrom(model)
    probe.graph.output.extend(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.INT64, None) for name in names)
    loaded, first = session(probe), inputs_of(model)[0]
    two, three = (loaded.run(names, {first.name: zeros(first, size, batch)}) for batch in BATCHES)
    return {name: (a, b) for name, a, b in zip(names, two, three, strict=True)}


def _constant(at_two: npt.NDArray[np.int64], at_three: npt.NDArray[np.int64], *, free_one: bool) -> Array | None:
    """Return the value as a constant, its one moving axis as -1 (or as the input's batch) where allowed; else None."""
    moving = at_two != at_three
    if not moving.any():
        return at_two
    if not free_one or moving.sum() != 1:
        return None
    if (at_two > 0).all():
        return np.where(moving, FREE, at_two)
    batch_first = (int(at_two[0]), int(at_three[0])) == BATCHES
    return np.where(moving, LIKE_INPUT, at_two) if batch_first else None


def _constants(model: onnx.ModelProto) -> set[str]:
    return {node.output[0] for node in model.graph.node if node.op_type == "Constant"}


def drop_unused(model: onnx.ModelProto) -> None:
    """Remove nodes and initialisers that no output needs."""
    needed = {info.name for info in model.graph.output} - {""}
    kept: list[onnx.NodeProto] = []
    for node in reversed(model.graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= (set(node.input) | _captured(node)) - {""}
    constants = [constant for constant in model.graph.initializer if constant.name in needed]
    kept.reverse()
    _replace(model.graph.node, kept)
    _replace(model.graph.initializer, constants)


def _captured(node: onnx.NodeProto) -> set[str]:
    """Return the outer values that a node's sub-graphs (If, Loop) use."""
    inner = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return {name for graph in inner for child in graph.node for name in {*child.input, *_captured(child)}}


def _replace(field: Any, kept: list[Any]) -> None:
    copies = list(kept)
    del field[:]
    field.extend(copies)


def free_reshapes(model: onnx.ModelProto) -> None:
    """Let the first axis of every constant Reshape target that is 1 follow its input: a fixed batch of 1 made free."""
    values = {constant.name: constant for constant in model.graph.initializer}
    values |= {node.output[0]: _value(node) for node in model.graph.node if node.op_type == "Constant"}
    for node in model.graph.node:
        target = values.get(node.input[1]) if node.op_type == "Reshape" and node.input[0] not in values else None
        shape = numpy_helper.to_array(target) if target is not None else np.zeros(0)
        if target is None or shape.ndim != 1 or len(shape) < 2 or shape[0] != 1:  # noqa: PLR2004
            continue
        freed = np.array([LIKE_INPUT if FREE in shape[1:] else FREE, *shape[1:]], np.int64)
        name = f"{node.input[1]}_{node.output[0]}_free"
        model.graph.initializer.append(numpy_helper.from_array(freed, name))
        node.input[1] = name


def _value(node: onnx.NodeProto) -> onnx.TensorProto:
    return next((attribute.t for attribute in node.attribute if attribute.name == "value"), onnx.TensorProto())


def label(path: Path, told: Mapping[str, Any]) -> onnx.ModelProto:
    """Write metadata into an ONNX file as ultralytics does, so that `YOLO("model.onnx")` knows its classes too."""
    model = onnx.load(str(path))
    onnx.helper.set_model_props(model, {key: str(value) for key, value in told.items()})
    onnx.save(model, str(path))
    return model


def operators(model: onnx.ModelProto) -> Counter[str]:
    """Count the graph's operators."""
    return Counter(node.op_type for node in model.graph.node)

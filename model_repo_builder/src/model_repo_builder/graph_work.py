"""What a model's graph asks of a GPU for one frame: operations, bytes, layers."""

from __future__ import annotations

import math

import onnx

from yolofleet.api.estimate import Work

HALF_BYTES = 2
MOVES_OR_FUSES = {"Reshape", "Identity", "Constant", "Sigmoid", "Mul", "Split", "Concat", "Slice", "Transpose"}
"""What a compiler fuses into a neighbour, or makes vanish."""
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


class UncountedError(ValueError):
    """A graph of which something has no shape that is known beforehand."""


def work_of(model: onnx.ModelProto) -> Work:
    """Count a graph; a free batch counts as one frame."""
    try:
        return _counted(onnx.shape_inference.infer_shapes(model).graph)
    except onnx.shape_inference.InferenceError as error:
        raise UncountedError(str(error).partition("\n")[0]) from None
    except (KeyError, IndexError) as error:
        raise UncountedError(f"no shape of {error} is known") from None


def _counted(graph: onnx.GraphProto) -> Work:
    shapes = {info.name: _shape(info) for info in (*graph.value_info, *graph.input, *graph.output)}
    weights = {tensor.name: tuple(tensor.dims) for tensor in graph.initializer}
    operations = moved = 0.0
    for node in graph.node:
        out = math.prod(shapes.get(node.output[0], (0,)))
        if node.op_type == "Conv":
            operations += 2 * out * math.prod(weights[node.input[1]][1:])
        elif node.op_type == "MatMul":
            operations += 2 * out * shapes[node.input[0]][-1]
        if node.op_type not in MOVES_OR_FUSES:
            moved += out + sum(math.prod(shapes[name]) for name in node.input if name in shapes)
    parameters = sum(math.prod(dims) for dims in weights.values())
    return Work(
        megaflops=round(operations / 1e6),
        activation_kilobytes=round(moved * HALF_BYTES / 1e3),
        weight_kilobytes=round(parameters * HALF_BYTES / 1e3),
        layers=sum(node.op_type in LAYERS for node in graph.node),
    )


def _shape(info: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim)

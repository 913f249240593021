"""What a model's graph asks of a GPU for one frame: operations, bytes, layers."""

from __future__ import annotations

import math
from dataclasses import dataclass

import onnx

HALF_BYTES = 2
MOVES_OR_FUSES = {"Reshape", "Identity", "Constant", "Sigmoid", "Mul", "Split", "Concat", "Slice", "Transpose"}
"""What a compiler fuses into a neighbour, or makes vanish."""
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})


@dataclass(frozen=True)
class Work:
    """One frame: GFLOP; MB of activations in FP16, each read and written once; MB of weights; layers that multiply."""

    gflop: float
    activations_mb: float
    weights_mb: float
    layers: int


def work_of(model: onnx.ModelProto) -> Work:
    """Count a graph; a free batch counts as one frame."""
    graph = onnx.shape_inference.infer_shapes(model).graph
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
        gflop=round(operations / 1e9, 3),
        activations_mb=round(moved * HALF_BYTES / 1e6, 1),
        weights_mb=round(parameters * HALF_BYTES / 1e6, 1),
        layers=sum(node.op_type in LAYERS for node in graph.node),
    )


def _shape(info: onnx.ValueInfoProto) -> tuple[int, ...]:
    return tuple(dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim)

"""What TensorRT wants of a quantised graph, each rule of its parser and its guide as a function that finds breaches."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

from model_repo_builder.onnx_quantized import DEQUANTIZE, OPSET, QUANTIZE, Pair, opset_of, pairs

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

OPSETS = (OPSET, 20)
"""What TensorRT 10.6's parser reads, and where QuantizeLinear knows FP16."""
WEIGHTED = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
TYPES = frozenset({onnx.TensorProto.INT8, onnx.TensorProto.FLOAT8E4M3FN})
FLOATS = frozenset({onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16})
CHANNEL_AXIS = {"Conv": 0, "ConvTranspose": 1, "Gemm": 0, "MatMul": 1}
BIAS = 2


def problems(model: onnx.ModelProto, unquantized: Collection[str] = ()) -> list[str]:
    """Return in words what TensorRT would refuse, or would not fuse; `unquantized` layers must have stayed so."""
    graph = _Graph(model)
    return [*_versions(model), *graph.numbers(), *graph.layers(frozenset(unquantized)), *graph.sums()]


def _versions(model: onnx.ModelProto) -> Iterator[str]:
    least, most = OPSETS
    if not least <= (found := opset_of(model)) <= most:
        yield f"opset {found}: {least} to {most} are read, with scales in FP16"


class _Graph:
    """A graph with what its rules look up."""

    def __init__(self, model: onnx.ModelProto) -> None:
        graph = model.graph
        self._nodes = list(graph.node)
        self._constants = {tensor.name: tensor for tensor in graph.initializer}
        self._pairs = {pair.output: pair for pair in pairs(graph)}
        self._maker = {output: node for node in graph.node for output in node.output}
        self._users: dict[str, list[onnx.NodeProto]] = {}
        for node in graph.node:
            for name in node.input:
                self._users.setdefault(name, []).append(node)

    def numbers(self) -> Iterator[str]:
        """Scales and zero points."""
        for node in self._nodes:
            if node.op_type in (QUANTIZE, DEQUANTIZE):
                yield from (f"{node.op_type} of {node.input[0]}: {words}" for words in self._of(node))

    def _of(self, node: onnx.NodeProto) -> Iterator[str]:
        scale = self._constants.get(node.input[1])
        zero = self._constants.get(node.input[2]) if len(node.input) > BIAS else None
        if scale is None:
            yield "the scale is no constant"
            return
        steps = numpy_helper.to_array(scale)
        if scale.data_type not in FLOATS or not (np.isfinite(steps).all() and (steps > 0).all()):
            yield "the scale is not positive everywhere, or neither FP32 nor FP16"
        if zero is None or zero.data_type not in TYPES:
            yield "the zero point is not INT8 (without one ONNX means UINT8)"
        elif np.any(numpy_helper.to_array(zero).astype(np.float32)) or _size(zero) != _size(scale):
            yield "the zero point is not zero, or not as long as the scale"
        weights = self._constants.get(node.input[0])
        if weights is not None and node.op_type == QUANTIZE and weights.data_type != scale.data_type:
            yield "weights and scale differ in type"

    def layers(self, unquantized: frozenset[str]) -> Iterator[str]:
        """Layers with weights: both inputs or none, bias as it is, outputs untouched."""
        for node in (node for node in self._nodes if node.op_type in WEIGHTED):
            through = [name in self._pairs for name in node.input]
            if node.name in unquantized and any(through):
                yield f"{node.name}: quantised, and boxes are decoded from its answer"
            if any(through[:BIAS]) and not all(through[:BIAS]):
                yield f"{node.name}: only one of data and weights is quantised"
            if any(through[BIAS:]):
                yield f"{node.name}: its bias is quantised"
            for index, name in enumerate(node.input[:BIAS]):
                if name in self._pairs:
                    yield from self._steps(node, index, self._pairs[name])
            yield from self._output(node)

    def _steps(self, node: onnx.NodeProto, index: int, pair: Pair) -> Iterator[str]:
        """One scale for data; for weights one for each channel that they make, or one."""
        count = _size(self._constants[pair.scale]) if pair.scale in self._constants else 1
        weights = self._constants.get(pair.tensor)
        if index == 0 and count != 1:
            yield f"{node.name}: its data has {count} scales, TensorRT takes one"
        if index == 1 and weights is None:
            yield f"{node.name}: its weights are computed, not constant"
        if index == 1 and weights is not None and count > 1:
            wanted = CHANNEL_AXIS[node.op_type]
            if self._axis(pair) != wanted or count != weights.dims[wanted]:
                yield f"{node.name}: {count} scales on axis {self._axis(pair)} of weights {list(weights.dims)}"

    def _axis(self, pair: Pair) -> int:
        told = {each.name: each.i for each in self._nodes[pair.places[0]].attribute}
        return int(told.get("axis", 1))

    def _output(self, node: onnx.NodeProto) -> Iterator[str]:
        users = [user.op_type for user in self._users.get(node.output[0], [])]
        if QUANTIZE in users and len(users) > 1:
            yield f"{node.name}: its output is quantised before its activation, so the two do not fuse"

    def sums(self) -> Iterator[str]:
        """A sum beside a quantised layer takes its shorter way quantised."""
        quantized = {pair.tensor for pair in self._pairs.values()}
        for node in (node for node in self._nodes if node.op_type == "Add"):
            floats = sorted(quantized.intersection(node.input))
            if floats and not any(name in self._pairs for name in node.input):
                yield f"{node.name}: it takes {', '.join(floats)} in floats, quantised elsewhere"


def _size(tensor: onnx.TensorProto) -> int:
    return int(np.prod(tensor.dims)) if tensor.dims else 1

"""Makes of a calibrated graph (Q/DQ) one that TensorRT fuses: scales that FP16 holds, shared ones, residuals in INT8.

The rules are those of TensorRT's guide, "Q/DQ Layer-Placement Recommendations"; `quantization_lint` checks them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    import numpy.typing as npt

OPSET = 19
"""From here on QuantizeLinear takes FP16 values and scales, and knows FP8."""
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
MOVING = frozenset({"Concat", "Split", "Slice", "MaxPool", "Transpose", "Reshape", "Identity", "Resize"})
"""Operators that move values and make no new ones: what is quantised before them may as well be behind them."""
SMALLEST_SCALE = 2.0**-20
"""FP16 still tells such steps apart; a channel with a finer one adds nothing that FP16 would keep."""
INT8_STEPS, FP8_LARGEST = 127.0, 448.0


@dataclass(frozen=True)
class Pair:
    """One tensor on its way through Q and DQ; `places` are those of the two nodes."""

    tensor: str
    scale: str
    zero: str
    output: str
    places: tuple[int, int]


def pairs(graph: onnx.GraphProto) -> Iterator[Pair]:
    """Yield each Q with the DQ that takes its output."""
    behind = {node.input[0]: (place, node) for place, node in enumerate(graph.node) if node.op_type == DEQUANTIZE}
    for place, node in enumerate(graph.node):
        if node.op_type == QUANTIZE and node.output[0] in behind:
            other, last = behind[node.output[0]]
            yield Pair(node.input[0], node.input[1], node.input[2], last.output[0], (place, other))


def finished(model: onnx.ModelProto, unquantized: Collection[str] = ()) -> onnx.ModelProto:
    """Return the graph as TensorRT fuses it best; the nodes named `unquantized` take what they took before."""
    made = onnx.version_converter.convert_version(model, OPSET) if opset_of(model) < OPSET else model
    before = {pair.output: pair.tensor for pair in pairs(made.graph)}
    for node in made.graph.node:
        if node.name in unquantized:
            node.input[:] = [before.get(name, name) for name in node.input]
    _quantize_residuals(made.graph)
    _round_scales(made.graph, _shared(made.graph))
    return made


def opset_of(model: onnx.ModelProto) -> int:
    """Return the version of ONNX's own operators."""
    return int(max(told.version for told in model.opset_import if not told.domain))


def as_fp8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the graph with E4M3 in place of INT8; weights have one scale too, as convolutions in FP8 want it."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    values = {tensor.name: tensor for tensor in made.graph.initializer}
    for name in {pair.scale for pair in pairs(made.graph)}:
        steps = numpy_helper.to_array(values[name])
        largest = np.array(steps.max() * INT8_STEPS / FP8_LARGEST)
        values[name].CopyFrom(numpy_helper.from_array(_held(largest).astype(steps.dtype), name))
    for name in {pair.zero for pair in pairs(made.graph)}:
        zero = onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT8E4M3FN, [], [0.0])
        values[name].CopyFrom(zero)
    for node in made.graph.node:
        if node.op_type in (QUANTIZE, DEQUANTIZE):
            del node.attribute[:]
    del made.graph.value_info[:]
    return made


def _quantize_residuals(graph: onnx.GraphProto) -> None:
    """Let a sum take the quantised form of its shorter way: else the convolution before it must answer in FP16."""
    quantized = {pair.tensor: pair for pair in pairs(graph)}
    made = {output: place for place, node in enumerate(graph.node) for output in node.output}
    for node in graph.node:
        known = [index for index, name in enumerate(node.input) if name in quantized]
        if node.op_type == "Add" and known:
            first = min(known, key=lambda index: made.get(node.input[index], -1))
            node.input[first] = quantized[node.input[first]].output


def _shared(graph: onnx.GraphProto) -> Mapping[str, float]:
    """Return each scale's value, one for all tensors that only move into one another: else TensorRT quantises anew."""
    groups = _Groups()
    constants = {tensor.name for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in MOVING:
            moved = node.input if node.op_type == "Concat" else node.input[:1]
            for name in (*moved, *node.output):
                if name not in constants:
                    groups.join(node.output[0], name)
    values = {tensor.name: tensor for tensor in graph.initializer}
    largest: dict[str, float] = {}
    for pair in pairs(graph):
        if pair.tensor not in constants:
            step = float(numpy_helper.to_array(values[pair.scale]).max())
            group = groups.of(pair.tensor)
            largest[group] = max(largest.get(group, 0.0), step)
    return {pair.scale: largest[groups.of(pair.tensor)] for pair in pairs(graph) if pair.tensor not in constants}


def _round_scales(graph: onnx.GraphProto, shared: Mapping[str, float]) -> None:
    values = {tensor.name: tensor for tensor in graph.initializer}
    for name in {pair.scale for pair in pairs(graph)}:
        steps = numpy_helper.to_array(values[name])
        wanted = np.full_like(steps, shared[name]) if name in shared else steps
        values[name].CopyFrom(numpy_helper.from_array(_held(wanted).astype(np.float32), name))


def _held(steps: npt.NDArray[np.floating]) -> npt.NDArray[np.float16]:
    """Return the steps as FP16 holds them, never smaller: a smaller one would cut the largest value off."""
    floor = np.maximum(steps.astype(np.float64), SMALLEST_SCALE)
    near = floor.astype(np.float16)
    return np.where(near.astype(np.float64) < floor, np.nextafter(near, np.float16(np.inf)), near)


class _Groups:
    """Names that belong together (union-find)."""

    def __init__(self) -> None:
        self._above: dict[str, str] = {}

    def of(self, name: str) -> str:
        while (above := self._above.get(name, name)) != name:
            name = above
        return name

    def join(self, one: str, other: str) -> None:
        self._above[self.of(other)] = self.of(one)

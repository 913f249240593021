"""Writes a precision into an ONNX graph: the layers with weights in FP16, what decodes their answer in FP32.

A graph that says its own types compiles alike in TensorRT 10 and in 11, which has no precision flags any more. Boxes
are decoded in FP32 because FP16 knows pixels above 512 in halves only.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
from onnx import helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Iterable

    import numpy.typing as npt

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16
LAYERS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
FEW_WEIGHTS = 256
"""A layer with no more weights than this only decodes: the expectation over 16 bins of a box's side is one."""
KEEPS_FLOAT = {"Resize": (1, 2), "Upsample": (1,)}
"""Inputs that the operator wants in FP32 whatever its data is: regions and scales."""
KEEPS_SIZE = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""Between weights and their layer, where a graph is quantised."""
LARGEST = float(np.finfo(np.float16).max)


def half(model: onnx.ModelProto) -> onnx.ModelProto:
    """Return the model with FP16 layers and FP32 inputs, outputs and decoding."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    return _Halved(made).written()


def half_io(model: onnx.ModelProto) -> onnx.ModelProto:
    """Give a model that `half` made FP16 inputs and outputs too, in place: half of the bytes to copy."""
    graph = model.graph
    for info in graph.input:
        if info.type.tensor_type.elem_type == FLOAT:
            _take_half(graph, info)
    for info in graph.output:
        if info.type.tensor_type.elem_type == FLOAT:
            _give_half(graph, info)
    del graph.value_info[:]
    return model


def _take_half(graph: onnx.GraphProto, info: onnx.ValueInfoProto) -> None:
    """The input's own cast to FP16 goes; who needs FP32 gets a cast back."""
    info.type.tensor_type.elem_type = HALF
    gone = [node for node in graph.node if node.op_type == "Cast" and list(node.input) == [info.name]]
    same = {node.output[0]: info.name for node in gone if _attribute(node, "to") == HALF}
    wide = f"{info.name}.float"
    for node in graph.node:
        node.input[:] = [wide if name == info.name else same.get(name, name) for name in node.input]
    kept = [node for node in graph.node if node.op_type != "Cast" or node.output[0] not in same]
    if any(wide in node.input for node in kept):
        kept.insert(0, helper.make_node("Cast", [info.name], [wide], name=wide, to=FLOAT))
    del graph.node[:]
    graph.node.extend(kept)


def _give_half(graph: onnx.GraphProto, info: onnx.ValueInfoProto) -> None:
    info.type.tensor_type.elem_type = HALF
    wide = f"{info.name}.wide"
    for node in graph.node:
        for names in (node.input, node.output):
            names[:] = [wide if name == info.name else name for name in names]
    graph.node.append(helper.make_node("Cast", [wide], [info.name], name=f"{info.name}.narrowed", to=HALF))


def _attribute(node: onnx.NodeProto, name: str) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == name), 0)


def decoding(graph: onnx.GraphProto) -> set[int]:
    """Return the places of the nodes behind the last layers with weights: no such layer uses what they make."""
    sizes = {tensor.name: _elements(tensor.dims) for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type in KEEPS_SIZE and node.input[0] in sizes:
            sizes[node.output[0]] = sizes[node.input[0]]
    leads_to_layer: set[str] = set()
    found: set[int] = set()
    for place, node in reversed(list(enumerate(graph.node))):  # ONNX keeps nodes in topological order
        layer = node.op_type in LAYERS and any(sizes.get(name, 0) > FEW_WEIGHTS for name in node.input)
        if layer or any(output in leads_to_layer for output in node.output):
            leads_to_layer.update(node.input)
        else:
            found.add(place)
    return found


class _Halved:
    """One model on its way: where a float crosses between the two halves of the graph, it is cast once."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self._model = model
        inferred = onnx.shape_inference.infer_shapes(model).graph
        known = (*inferred.value_info, *inferred.input, *inferred.output)
        self._floats = {info.name for info in known if info.type.tensor_type.elem_type == FLOAT}
        self._weights = {tensor.name: tensor for tensor in model.graph.initializer if tensor.data_type == FLOAT}
        self._pinned = {name for node in model.graph.node for name in _kept_float(node)}
        self._half: set[str] = set()
        self._casts: dict[str, str] = {}
        self._nodes: list[onnx.NodeProto] = []

    def written(self) -> onnx.ModelProto:
        graph, last = self._model.graph, decoding(self._model.graph)
        outputs = {info.name for info in graph.output}
        for place, node in enumerate(graph.node):
            in_half = place not in last and not self._pinned.issuperset(node.output)
            self._take_inputs(node, in_half=in_half)
            self._nodes.append(node)
            if in_half:
                _retype(node)
                self._half.update(name for name in node.output if name in self._floats)
                self._give_outputs(node, outputs)
        del graph.node[:], graph.value_info[:]
        graph.node.extend(self._nodes)
        used = {name for node in self._nodes for name in node.input}
        kept = [tensor for tensor in graph.initializer if tensor.name in used]
        del graph.initializer[:]
        graph.initializer.extend(kept)
        return self._model

    def _take_inputs(self, node: onnx.NodeProto, *, in_half: bool) -> None:
        for index, name in enumerate(node.input):
            wanted = in_half and index not in KEEPS_FLOAT.get(node.op_type, ())
            if name in self._weights and wanted:
                node.input[index] = self._half_weights(name)
            elif name in self._floats and name not in self._weights and wanted != (name in self._half):
                node.input[index] = self._cast(name, HALF if wanted else FLOAT)

    def _half_weights(self, name: str) -> str:
        made = f"{name}.half"
        if made not in self._casts:
            values = numpy_helper.to_array(self._weights[name])
            self._model.graph.initializer.append(numpy_helper.from_array(_halved(values), made))
            self._casts[made] = made
        return made

    def _cast(self, name: str, to: int) -> str:
        made = f"{name}.{'half' if to == HALF else 'float'}"
        if made not in self._casts:
            self._nodes.append(helper.make_node("Cast", [name], [made], name=made, to=to))
            self._casts[made] = made
        return made

    def _give_outputs(self, node: onnx.NodeProto, outputs: set[str]) -> None:
        """What the graph gives away stays FP32, under its own name."""
        for index, name in enumerate(node.output):
            if name in outputs and name in self._half:
                node.output[index] = inner = f"{name}.half"
                self._half.add(inner)
                self._floats.add(inner)
                self._half.discard(name)
                self._nodes.append(helper.make_node("Cast", [inner], [name], name=f"{name}.float", to=FLOAT))


def _kept_float(node: onnx.NodeProto) -> list[str]:
    return [node.input[index] for index in KEEPS_FLOAT.get(node.op_type, ()) if index < len(node.input)]


def _retype(node: onnx.NodeProto) -> None:
    """Turn FP32 that a node carries itself into FP16: constants, and casts to FP32."""
    for attribute in node.attribute:
        if node.op_type == "Cast" and attribute.name == "to" and attribute.i == FLOAT:
            attribute.i = HALF
        elif attribute.type == onnx.AttributeProto.TENSOR and attribute.t.data_type == FLOAT:
            attribute.t.CopyFrom(numpy_helper.from_array(_halved(numpy_helper.to_array(attribute.t)), attribute.t.name))


def _halved(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float16]:
    """Return the values in FP16; what is too large becomes the largest, never infinite."""
    return np.clip(values, -LARGEST, LARGEST).astype(np.float16)


def _elements(dims: Iterable[int]) -> int:
    count = 1
    for dim in dims:
        count *= dim
    return count

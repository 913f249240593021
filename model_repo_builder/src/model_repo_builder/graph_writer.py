"""Writes ONNX nodes one after another, with the few operators whose form hangs on the opset in one place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx

AXES_ARE_AN_INPUT = 18
"""From this opset on ReduceMax takes its axes as an input."""


class GraphWriter:
    """Nodes and constants in the making; every method returns the name of what it computes."""

    def __init__(self, *, opset: int, prefix: str = "pixels/") -> None:
        self.opset = opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        self._prefix = prefix

    def op(self, kind: str, *inputs: str, to: str | None = None, **attributes: Any) -> str:
        """Add a node with one output."""
        name = to or self._name(kind)
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=f"{self._prefix}{kind}_{name}"))
        self.nodes[-1].attribute.extend(
            helper.make_attribute(key, value) for key, value in sorted(attributes.items()) if value is not None
        )
        return name

    def top(self, scores: str, count: int, axis: int) -> tuple[str, str]:
        """Return the `count` largest values along an axis, sorted, and where they were."""
        values, places = self._name("values"), self._name("places")
        self.nodes.append(
            helper.make_node("TopK", [scores, self.whole([count])], [values, places], axis=axis, largest=1, sorted=1)
        )
        return values, places

    def floats(self, values: Any) -> str:
        """Add a constant of FP32."""
        return self._constant(np.asarray(values, np.float32))

    def whole(self, values: Any) -> str:
        """Add a constant of INT64."""
        return self._constant(np.asarray(values, np.int64))

    def flags(self, values: Any) -> str:
        """Add a constant of BOOL."""
        return self._constant(np.asarray(values, np.bool_))

    def cast(self, value: str, kind: int = TensorProto.FLOAT, *, to: str | None = None) -> str:
        """Change the element type."""
        name = to or self._name("Cast")
        self.nodes.append(helper.make_node("Cast", [value], [name], name=f"{self._prefix}Cast_{name}", to=kind))
        return name

    def reshape(self, value: str, shape: Sequence[int], *, to: str | None = None) -> str:
        """Change the axes; 0 keeps an axis, -1 takes what is left."""
        return self.op("Reshape", value, self.whole(list(shape)), to=to)

    def part(self, value: str, first: int, last: int, axis: int) -> str:
        """Cut `first` to `last` (exclusive) out of an axis."""
        return self.op("Slice", value, self.whole([first]), self.whole([last]), self.whole([axis]))

    def largest(self, value: str, axis: int) -> str:
        """Return the maximum along an axis, which goes."""
        if self.opset >= AXES_ARE_AN_INPUT:
            return self.op("ReduceMax", value, self.whole([axis]), keepdims=0)
        return self.op("ReduceMax", value, axes=[axis], keepdims=0)

    def chain(self, kind: str, value: str, *others: str) -> str:
        """Apply an operator of two operands over and over: ((value + a) + b) and so on."""
        for other in others:
            value = self.op(kind, value, other)
        return value

    def _constant(self, values: Any) -> str:
        name = f"{self._prefix}constant_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(values, name))
        return name

    def _name(self, kind: str) -> str:
        return f"{self._prefix}{kind}_{len(self.nodes)}"

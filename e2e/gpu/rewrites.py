"""Exact rewrites of a graph that may suit TensorRT better; what pays on a GPU moves into the builder.

`split`: parts of a split that are joined again are the whole, so that one copy goes. `dfl`: the expectation over a
box's bins as a sum, without a transposition and a convolution. `stem`: the first convolution, of stride 2 on three
channels, as one of stride 1 on twelve.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np
import onnx
from onnx import helper, numpy_helper

Rewrite = Callable[[onnx.ModelProto], int]


def rewritten(model: onnx.ModelProto, names: Iterable[str]) -> onnx.ModelProto:
    """Return the model with the named rewrites; ValueError where one finds nothing to do."""
    made = onnx.ModelProto()
    made.CopyFrom(model)
    for name in names:
        if not REWRITES[name](made):
            raise ValueError(f"rewrite {name}: this graph has nothing of the kind")
        del made.graph.value_info[:]
    onnx.checker.check_model(made)
    return made


def split(model: onnx.ModelProto) -> int:
    """Let a Concat take the whole in place of all parts of a Split that stand side by side in it."""
    graph, found = model.graph, 0
    parts = {tuple(node.output): node for node in graph.node if node.op_type == "Split"}
    for node in graph.node:
        for outputs, source in parts.items():
            at = _place(list(node.input), list(outputs)) if node.op_type == "Concat" else None
            if at is not None and _axis(node) == _axis(source):
                node.input[:] = [*node.input[:at], source.input[0], *node.input[at + len(outputs) :]]
                found += 1
    return found


def _place(names: list[str], wanted: list[str]) -> int | None:
    places = range(len(names) - len(wanted) + 1)
    return next((at for at in places if names[at : at + len(wanted)] == wanted), None)


def _axis(node: onnx.NodeProto) -> int:
    return int(next((told.i for told in node.attribute if told.name == "axis"), 0))


def dfl(model: onnx.ModelProto) -> int:
    """Take the expectation over bins where they lie: (N, 4, bins, anchors), softmax and weighted sum over axis 2."""
    graph = model.graph
    made = {output: node for node in graph.node for output in node.output}
    values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
    values |= {node.output[0]: numpy_helper.to_array(node.attribute[0].t) for node in graph.node if _tensor(node)}
    found = 0
    for last in [node for node in graph.node if node.op_type == "Conv"]:
        weights = values.get(last.input[1])
        if weights is None or weights.shape[0] != 1 or weights.size != weights.shape[1]:
            continue
        softmax = made.get(last.input[0])
        turn = made.get(softmax.input[0]) if softmax is not None and softmax.op_type == "Softmax" else None
        if turn is None or turn.op_type != "Transpose" or list(turn.attribute[0].ints) != [0, 2, 1, 3]:
            continue
        _expectation(graph, last, softmax, turn, weights)
        found += 1
    return found


def _tensor(node: onnx.NodeProto) -> bool:
    return bool(node.op_type == "Constant" and node.attribute[0].name == "value")


def _expectation(
    graph: onnx.GraphProto,
    last: onnx.NodeProto,
    softmax: onnx.NodeProto | None,
    turn: onnx.NodeProto,
    weights: np.ndarray[tuple[int, ...], np.dtype[np.float32]],
) -> None:
    """(N, 4, bins, anchors) → (N, 4, 1, anchors), which the reshape behind takes as it took (N, 1, 4, anchors)."""
    if softmax is None:
        raise ValueError("no softmax")
    name = last.name or last.output[0]
    bins, axes = f"{name}.bins", f"{name}.axes"
    graph.initializer.append(numpy_helper.from_array(weights.reshape(1, 1, -1, 1), bins))
    graph.initializer.append(numpy_helper.from_array(np.array([2], np.int64), axes))
    nodes = [
        helper.make_node("Softmax", [turn.input[0]], [f"{name}.sure"], name=f"{name}.sure", axis=2),
        helper.make_node("Mul", [f"{name}.sure", bins], [f"{name}.weighted"], name=f"{name}.weighted"),
        helper.make_node("ReduceSum", [f"{name}.weighted", axes], list(last.output), name=f"{name}.sum", keepdims=1),
    ]
    at = next(index for index, node in enumerate(graph.node) if node.output == last.output)
    kept = [*graph.node[:at], *nodes, *graph.node[at + 1 :]]
    gone = {turn.output[0], softmax.output[0]}
    used = {taken for node in kept for taken in node.input if node.output[0] not in gone}
    left = [node for node in kept if node.output[0] not in gone or node.output[0] in used]
    del graph.node[:]
    graph.node.extend(left)


def stem(model: onnx.ModelProto) -> int:
    """Fold 2 × 2 pixels into channels: a kernel of 3 × 3 and stride 2 becomes one of 2 × 2 and stride 1."""
    graph = model.graph
    given = {told.name for told in graph.input}
    first = next((node for node in graph.node if node.op_type == "Conv" and node.input[0] in given), None)
    told = {} if first is None else {each.name: list(each.ints) for each in first.attribute}
    if first is None or (told.get("kernel_shape"), told.get("strides"), told.get("pads")) != ([3, 3], [2, 2], [1] * 4):
        return 0
    weights = next(tensor for tensor in graph.initializer if tensor.name == first.input[1])
    values = numpy_helper.to_array(weights)
    made, taken = values.shape[:2]
    folded = np.zeros((made, 4 * taken, 2, 2), values.dtype)
    for row in range(3):  # the row above is the second of the block above
        for column in range(3):
            (up, y), (side, x) = divmod(row + 1, 2), divmod(column + 1, 2)
            block = 2 * y + x
            folded[:, block * taken : (block + 1) * taken, up, side] = values[:, :, row, column]
    weights.CopyFrom(numpy_helper.from_array(folded, weights.name))
    for each in first.attribute:
        new = {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [1, 1, 0, 0]}.get(each.name)
        if new:
            each.CopyFrom(helper.make_attribute(each.name, new))
    source, first.input[0] = first.input[0], f"{first.input[0]}.folded"
    node = helper.make_node("SpaceToDepth", [source], [first.input[0]], name=first.input[0], blocksize=2)
    at = next(index for index, each in enumerate(graph.node) if each.output == first.output)
    graph.node.insert(at, node)
    return 1


REWRITES: dict[str, Rewrite] = {"split": split, "dfl": dfl, "stem": stem}

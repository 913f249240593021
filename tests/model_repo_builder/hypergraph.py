"""A graph with the operators of a YOLOv13: correlation over a hypergraph that the picture itself decides.

Written from the published description (arXiv 2506.17733): global context (mean and maximum) moves learnt prototypes of
hyperedges; by heads, pixels are as much a part of a hyperedge as they are like its prototype (softmax); pixels are
gathered into hyperedges and hyperedges back into pixels; the result is added to what was there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.model_repo_builder.making import names


@dataclass(frozen=True)
class TinyHypergraphYolo:
    """Stride 32, one hypergraph of `edges` hyperedges, `heads` heads; what exporters of others write: no metadata."""

    size: tuple[int, int] = (64, 64)
    batch: int | str = 1
    width: int = 16
    edges: int = 4
    heads: int = 2
    classes: int = 2
    metadata: bool = True

    def model(self) -> onnx.ModelProto:
        cells = (self.size[0] // 32) * (self.size[1] // 32)
        each = self.width // self.heads
        free = self.batch != 1
        constants = self._constants(cells, each, first=-1 if free else 1)
        nodes = self._nodes()
        images = helper.make_tensor_value_info("images", TensorProto.FLOAT, [self.batch, 3, *self.size])
        output = helper.make_tensor_value_info("predictions", TensorProto.FLOAT, None)
        graph = helper.make_graph(nodes, "hypergraph", [images], [output], constants)
        made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
        if self.metadata:
            told = {"task": "detect", "names": names(self.classes), "stride": 32, "imgsz": list(self.size)}
            helper.set_model_props(made, {key: str(value) for key, value in told.items()})
        return made

    def _constants(self, cells: int, each: int, *, first: int) -> list[onnx.TensorProto]:
        rng = np.random.default_rng(13)

        def learnt(*shape: int, scale: float = 0.3) -> Any:
            return rng.normal(size=shape, scale=scale).astype(np.float32)

        floats = {
            "stem": learnt(self.width, 3, 32, 32, scale=0.02),
            "context": learnt(2 * self.width, self.edges * self.width),
            "prototypes": learnt(1, self.edges, self.width),
            "query": learnt(self.width, self.width),
            "edge": learnt(self.width, self.width),
            "back": learnt(self.width, self.width),
            "root": np.float32(each**-0.5),
            "head": learnt(4 + self.classes, self.width, 1, 1),
        }
        axis = first if first == 1 else 0
        whole = {
            "to_pixels": [axis, self.width, cells],
            "to_offsets": [first, self.edges, self.width],
            "to_edge_heads": [axis, self.edges, self.heads, each],
            "to_pixel_heads": [axis, cells, self.heads, each],
            "to_map": [axis, self.width, self.size[0] // 32, self.size[1] // 32],
            "to_rows": [axis, 4 + self.classes, cells],
            "to_vector": [axis, 2 * self.width],
        }
        made = [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in floats.items()]
        return made + [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in whole.items()]

    def _nodes(self) -> list[onnx.NodeProto]:
        node = helper.make_node
        return [
            node("Conv", ["images", "stem"], ["seen"], kernel_shape=[32, 32], strides=[32, 32]),
            node("Sigmoid", ["seen"], ["gate"]),
            node("Mul", ["seen", "gate"], ["features"]),
            node("GlobalAveragePool", ["features"], ["mean"]),
            node("GlobalMaxPool", ["features"], ["most"]),
            node("Concat", ["mean", "most"], ["both"], axis=1),
            node("Reshape", ["both", "to_vector"], ["vector"]),
            node("MatMul", ["vector", "context"], ["moved"]),
            node("Reshape", ["moved", "to_offsets"], ["offsets"]),
            node("Add", ["offsets", "prototypes"], ["edges"]),
            node("Reshape", ["features", "to_pixels"], ["columns"]),
            node("Transpose", ["columns"], ["pixels"], perm=[0, 2, 1]),
            node("MatMul", ["pixels", "query"], ["asked"]),
            node("Reshape", ["asked", "to_pixel_heads"], ["pixel_heads"]),
            node("Reshape", ["edges", "to_edge_heads"], ["edge_heads"]),
            node("Einsum", ["pixel_heads", "edge_heads"], ["alike"], equation="bnhd,bmhd->bhnm"),
            node("Mul", ["alike", "root"], ["scaled"]),
            node("ReduceMean", ["scaled"], ["logits"], axes=[1], keepdims=0),
            node("Softmax", ["logits"], ["part"], axis=1),
            node("Transpose", ["part"], ["part_of"], perm=[0, 2, 1]),
            node("MatMul", ["part_of", "pixels"], ["gathered"]),
            node("MatMul", ["gathered", "edge"], ["in_edges"]),
            node("Erf", ["in_edges"], ["bent"]),
            node("MatMul", ["part", "bent"], ["spread"]),
            node("MatMul", ["spread", "back"], ["returned"]),
            node("Add", ["pixels", "returned"], ["correlated"]),
            node("Transpose", ["correlated"], ["as_columns"], perm=[0, 2, 1]),
            node("Reshape", ["as_columns", "to_map"], ["map"]),
            node("Conv", ["map", "head"], ["raw"], kernel_shape=[1, 1]),
            node("Reshape", ["raw", "to_rows"], ["predictions"]),
        ]

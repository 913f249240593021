"""A detector with every shape of a YOLO's graph that a compiler cares for, and few enough weights for a unit test.

Convolutions with SiLU, a block that splits, adds and joins, pooling that joins, upsampling, a head whose boxes are
expectations over 16 bins. Weights are random, frames make it see some boxes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE, STRIDE, CLASSES, BINS, WIDTH = 64, 8, 20, 16, 16
CELLS = SIZE // STRIDE
ANCHORS = CELLS * CELLS


def frames(count: int, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Blocks of colour, as a convolution sees more in them than in noise."""
    rng = np.random.default_rng(seed)
    coarse = rng.random((count, 3, 8, 8), np.float32)
    return np.kron(coarse, np.ones((1, 1, SIZE // 8, SIZE // 8), np.float32))


class SmallYolo:
    """Collects nodes and weights."""

    def __init__(self, seed: int = 1) -> None:
        self._rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray[Any, Any]] = {}

    def model(self) -> onnx.ModelProto:
        x = self.layer("stem", "images", 3, 8, stride=2)
        x = self.layer("down", x, 8, WIDTH, stride=2)
        x = self.layer("deep", self.block("block", x), WIDTH, WIDTH, stride=2)
        x = self.pooled(x)
        wide = self.node(
            "Resize", "up", x, "", self.constant("scales", np.array([1, 1, 2, 2], np.float32)), mode="nearest"
        )
        again = self.layer("narrow", wide, WIDTH, WIDTH, stride=2)
        x = self.node("Concat", "neck", again, x, axis=1)
        self.head(self.layer("mix", x, 2 * WIDTH, WIDTH))
        return self._written()

    def node(self, kind: str, name: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        made = [f"{name}_{index}" for index in range(outputs)]
        self.nodes.append(helper.make_node(kind, list(inputs), made, name=name, **attributes))
        return made[0]

    def constant(self, name: str, values: np.ndarray[Any, Any]) -> str:
        self.weights[name] = values
        return name

    def conv(
        self, name: str, x: str, taken: int, made: int, *, kernel: int = 3, stride: int = 1, gain: float = 1.6
    ) -> str:
        scale = gain / np.sqrt(taken * kernel * kernel)
        weights = self._rng.normal(0, scale, (made, taken, kernel, kernel)).astype(np.float32)
        bias = self._rng.normal(0, 0.1, made).astype(np.float32)
        pads, sizes = [kernel // 2] * 4, [kernel, kernel]
        return self.node(
            "Conv",
            name,
            x,
            self.constant(f"{name}.weight", weights),
            self.constant(f"{name}.bias", bias),
            pads=pads,
            kernel_shape=sizes,
            strides=[stride, stride],
        )

    def layer(self, name: str, x: str, taken: int, made: int, *, kernel: int = 3, stride: int = 1) -> str:
        x = self.conv(name, x, taken, made, kernel=kernel, stride=stride)
        return self.node("Mul", f"{name}.silu", x, self.node("Sigmoid", f"{name}.sigmoid", x))

    def block(self, name: str, x: str) -> str:
        """C3k2: one half goes on as it is, the other through a bottleneck with a residual."""
        x = self.layer(f"{name}.cv1", x, WIDTH, WIDTH, kernel=1)
        half = self.constant(f"{name}.sizes", np.array([WIDTH // 2] * 2, np.int64))
        first = self.node("Split", f"{name}.split", x, half, outputs=2, axis=1)
        second = first.replace("_0", "_1")
        y = self.layer(f"{name}.m1", second, WIDTH // 2, WIDTH // 2)
        y = self.layer(f"{name}.m2", y, WIDTH // 2, WIDTH // 2)
        y = self.node("Add", f"{name}.sum", second, y)
        joined = self.node("Concat", f"{name}.join", first, second, y, axis=1)
        return self.layer(f"{name}.cv2", joined, WIDTH * 3 // 2, WIDTH, kernel=1)

    def pooled(self, x: str) -> str:
        told = {"kernel_shape": [5, 5], "pads": [2, 2, 2, 2], "strides": [1, 1]}
        one = self.node("MaxPool", "pool1", x, **told)
        two = self.node("MaxPool", "pool2", one, **told)
        return self.layer("pooled", self.node("Concat", "pools", x, one, two, axis=1), 3 * WIDTH, WIDTH, kernel=1)

    def head(self, x: str) -> None:
        """Boxes as expectations over bins, decoded to centre and size in pixels; classes by a sigmoid."""
        sides = self.conv("box.last", self.layer("box.first", x, WIDTH, WIDTH), WIDTH, 4 * BINS, kernel=1)
        score = self.conv("cls.last", self.layer("cls.first", x, WIDTH, WIDTH), WIDTH, CLASSES, kernel=1, gain=6.0)
        flat = self.node("Reshape", "flat", sides, self.constant("to_bins", np.array([0, 4, BINS, ANCHORS], np.int64)))
        last = self.node("Transpose", "bins_first", flat, perm=[0, 2, 1, 3])
        sure = self.node("Softmax", "softmax", last, axis=1)
        bins = np.arange(BINS, dtype=np.float32).reshape(1, BINS, 1, 1)
        far = self.node("Conv", "dfl", sure, self.constant("dfl.weight", bins), kernel_shape=[1, 1])
        sides = self.node("Reshape", "sides", far, self.constant("to_sides", np.array([0, 4, ANCHORS], np.int64)))
        two = self.constant("two", np.array([2, 2], np.int64))
        near = self.node("Split", "corners", sides, two, outputs=2, axis=1)
        y, x = np.meshgrid(np.arange(CELLS) + 0.5, np.arange(CELLS) + 0.5, indexing="ij")
        cells = self.constant("cells", np.stack([x.ravel(), y.ravel()])[None].astype(np.float32))
        low, high = self.node("Sub", "low", cells, near), self.node("Add", "high", cells, near.replace("_0", "_1"))
        halves = self.constant("half", np.array(0.5, np.float32))
        centre = self.node("Mul", "centre", self.node("Add", "sum", low, high), halves)
        size = self.node("Sub", "size", high, low)
        pixels = self.constant("stride", np.array(STRIDE, np.float32))
        boxes = self.node("Mul", "boxes", self.node("Concat", "xywh", centre, size, axis=1), pixels)
        kinds = self.node("Sigmoid", "kinds", score)
        kinds = self.node(
            "Reshape", "scores", kinds, self.constant("to_flat", np.array([0, CLASSES, ANCHORS], np.int64))
        )
        self.nodes.append(helper.make_node("Concat", [boxes, kinds], ["output0"], name="output0", axis=1))

    def _written(self) -> onnx.ModelProto:
        made = helper.make_graph(
            self.nodes,
            "small",
            [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["batch", 3, SIZE, SIZE])],
            [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", 4 + CLASSES, ANCHORS])],
            [numpy_helper.from_array(values, name) for name, values in self.weights.items()],
        )
        model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
        onnx.checker.check_model(model, full_check=True)
        return model

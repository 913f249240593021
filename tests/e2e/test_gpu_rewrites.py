"""Rewrites say the same in other nodes: seen in ONNX Runtime, and counted."""

from __future__ import annotations

from collections import Counter

import numpy as np
import onnx
import pytest

from e2e.gpu import graphs, rewrites
from model_repo_builder import onnx_graph, onnx_precision
from tests.model_repo_builder import small_yolo

FRAMES = small_yolo.frames(2)


def operators(model: onnx.ModelProto) -> Counter[str]:
    return Counter(node.op_type for node in model.graph.node)


def answer(model: onnx.ModelProto) -> np.ndarray[tuple[int, ...], np.dtype[np.float32]]:
    return onnx_graph.run(onnx_graph.session(model), FRAMES)[0].astype(np.float32)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("split", {}),
        ("dfl", {"Conv": -1, "Transpose": -1, "Mul": 1, "ReduceSum": 1}),
        ("stem", {"SpaceToDepth": 1}),
    ],
)
def test_each_says_the_same(name: str, change: dict[str, int]) -> None:
    whole = small_yolo.SmallYolo().model()
    made = rewrites.rewritten(whole, [name])
    counted, before = operators(made), operators(whole)
    assert {kind: counted[kind] - before[kind] for kind in counted | before if counted[kind] != before[kind]} == change
    assert np.abs(answer(made) - answer(whole)).max() < 2e-4


def test_a_join_of_all_parts_takes_the_whole() -> None:
    made = rewrites.rewritten(small_yolo.SmallYolo().model(), ["split"])
    (join,) = (node for node in made.graph.node if node.name == "block.join")
    assert list(join.input) == ["block.cv1.silu_0", "block.sum_0"]


def test_all_together_in_fp16_at_one_batch() -> None:
    whole = small_yolo.SmallYolo().model()
    made = rewrites.rewritten(graphs.fixed(whole, 2), rewrites.REWRITES)
    half = onnx_precision.half_io(onnx_precision.half(made))
    onnx.checker.check_model(half, full_check=True)
    gap = np.abs(answer(half) - answer(whole))
    assert gap[:, :4].max() < 0.2
    assert gap[:, 4:].max() < 0.01


def test_a_graph_without_it_is_said() -> None:
    made = rewrites.rewritten(small_yolo.SmallYolo().model(), ["dfl"])
    with pytest.raises(ValueError, match="rewrite dfl: this graph has nothing of the kind"):
        rewrites.rewritten(made, ["dfl"])

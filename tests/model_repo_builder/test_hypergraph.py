"""ONNX of any origin: a graph of a class that no exporter of ours writes is served, its batch freed, frames too."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from model_repo_builder.repository import assemble
from tests.model_repo_builder.hypergraph import TinyHypergraphYolo
from tests.model_repo_builder.making import Bench, pvc, request
from yolofleet.api.build import ServeRequest


@pytest.mark.parametrize("batch", [1, "batch"])
@pytest.mark.parametrize("metadata", [True, False])
@pytest.mark.parametrize("size", [(64, 64), (96, 160)])
def test_a_hypergraph_is_served(size: tuple[int, int], batch: int | str, metadata: bool, bench: Bench) -> None:
    height, width = size
    given = TinyHypergraphYolo(size=size, batch=batch, metadata=metadata).model()
    onnx.save(given, bench.source / "yolov13.onnx")
    wanted = request(
        pvc("yolov13.onnx"), endpoints=["Ultralytics", "Frames"], imageSize={"height": height, "width": width}
    )
    result = bench.build(wanted)
    assert result.outcome == "Published", result
    serve = {"key": wanted.key, "modelName": "gate", "maxBatchSize": 8, "endpoints": ["Ultralytics", "Frames"]}
    assemble(bench.store, ServeRequest.model_validate(serve), bench.root / "models")
    frames = np.random.default_rng(0).random((3, 3, height, width), np.float32)
    served = ort.InferenceSession(bench.root / "models/gate/1/model.onnx").run(None, {"images": frames})[0]
    first = ort.InferenceSession(given.SerializeToString())
    alone = [first.run(None, {"images": frame[np.newaxis]})[0] for frame in frames]
    np.testing.assert_allclose(served, np.concatenate(alone), atol=1e-5)
    boxes = ort.InferenceSession(bench.root / "models/gate_frames/1/model.onnx")
    pixels = np.zeros((3, height, width, 3), np.uint8)
    assert boxes.run(["boxes"], {"frames": pixels})[0].shape[0] == 3

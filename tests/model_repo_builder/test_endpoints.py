"""The endpoints Frames and JPEG: built, compared, assembled, configured."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest

from model_repo_builder import endpoints, frames_boxes, manifest
from model_repo_builder.errors import Refused
from model_repo_builder.repository import assemble
from model_repo_builder.triton_config import parse
from tests.golden import assert_golden
from tests.model_repo_builder.making import Bench, TinyYolo, pvc, request
from tests.model_repo_builder.test_frames_graph import letterbox, picture
from yolofleet.api.build import ServeRequest
from yolofleet.api.endpoints import ANSWER_ROWS
from yolofleet.api.recipe import ImageSize

if TYPE_CHECKING:
    from types import ModuleType

    from yolofleet.api.build import BuildResult

GOLDEN = Path(__file__).parent / "golden_endpoints"
PACKAGE = Path(endpoints.__file__).parent


def built(bench: Bench, asked: list[str], *, model: TinyYolo | None = None, **recipe: Any) -> tuple[str, BuildResult]:
    (model or TinyYolo()).save(bench.source / "m.onnx")
    wanted = request(pvc("m.onnx"), endpoints=asked, **recipe)
    return wanted.key, bench.build(wanted)


def served(bench: Bench, key: str, asked: list[str], **more: Any) -> Path:
    wanted = {"key": key, "modelName": "gate", "maxBatchSize": 4, "endpoints": asked, **more}
    assemble(bench.store, ServeRequest.model_validate(wanted), bench.root / "models")
    return bench.root / "models"


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_each_endpoint_has_its_models(bench: Bench) -> None:
    key, result = built(bench, ["Ultralytics", "Frames", "JPEG"])
    assert result.outcome == "Published"
    models = served(bench, key, ["Ultralytics", "Frames", "JPEG"])
    assert files(models) == [
        "gate/1/model.onnx",
        "gate/config.pbtxt",
        "gate_frames/1/model.onnx",
        "gate_frames/config.pbtxt",
        "gate_jpeg/config.pbtxt",
        "gate_jpeg_decode/1/model.py",
        "gate_jpeg_decode/config.pbtxt",
    ]
    assert (models / "gate_jpeg" / "1").is_dir()
    for config in models.glob("*/config.pbtxt"):
        written, path = config.read_text(), GOLDEN / f"{config.parent.name}.pbtxt"
        assert_golden(path, written)
        assert parse(written).name == config.parent.name


def test_only_what_is_asked_for_is_served(bench: Bench) -> None:
    key, _ = built(bench, ["Frames"])
    assert {path.name for path in served(bench, key, ["Frames"]).iterdir()} == {"gate_frames"}


def test_thresholds_of_the_spec_count_where_a_client_sends_none(bench: Bench) -> None:
    key, _ = built(bench, ["Frames"])
    sessions = {}
    for confidence in ("0", "1"):
        models = served(bench, key, ["Frames"], postprocess={"confidence": confidence, "iou": "1", "maxDetections": 3})
        sessions[confidence] = ort.InferenceSession(models / "gate_frames/1/model.onnx")
    frame = {"frames": np.random.default_rng(0).integers(0, 255, (1, 64, 64, 3), np.uint8)}
    counts = {key: int(session.run(["num_dets"], frame)[0][0, 0]) for key, session in sessions.items()}
    assert counts["0"] > counts["1"] == 0
    assert counts["0"] <= 3


def test_the_stored_graph_is_not_touched_by_thresholds(bench: Bench) -> None:
    key, _ = built(bench, ["Frames"])
    before = (bench.root / "store" / key / "frames.onnx").read_bytes()
    served(bench, key, ["Frames"], postprocess={"confidence": "0.9"})
    assert (bench.root / "store" / key / "frames.onnx").read_bytes() == before
    assert bench.store.find(key) is not None


def test_an_engine_without_the_graph_cannot_serve_frames(bench: Bench) -> None:
    key, _ = built(bench, ["Ultralytics"])
    with pytest.raises(Refused, match="without the graph of frames"):
        served(bench, key, ["Frames"])


def test_a_batch_that_cannot_be_freed_is_refused(bench: Bench) -> None:
    """A reshape to a fixed size of all axes, behind one whose batch moves: freeing it would mix frames."""
    with pytest.raises(Refused, match="batch is fixed at 1") as caught:
        endpoints.write(
            bench.source / "m.onnx",
            request(pvc("m.onnx"), endpoints=["Frames"]).recipe,
            None,  # type: ignore[arg-type]
            free_batch=False,
            report=lambda _, __: None,
        )
    assert caught.value.field == "spec.endpoints"


def test_classifiers_are_refused_pictures(bench: Bench) -> None:
    _, result = built(bench, ["JPEG"], task="Classify")
    assert result.outcome == "Refused"
    assert result.failure is not None
    assert (result.failure.field, result.failure.value) == ("spec.endpoints", "JPEG")


@pytest.mark.parametrize("frames", [{"format": "NV12"}, {"format": "RGB", "sourceSize": {"height": 90, "width": 160}}])
def test_other_frames_are_other_graphs(frames: dict[str, Any], bench: Bench) -> None:
    plain, _ = built(bench, ["Frames"])
    key, result = built(bench, ["Frames"], frames=frames)
    assert result.outcome == "Published"
    assert key != plain
    config = parse((served(bench, key, ["Frames"]) / "gate_frames/config.pbtxt").read_text())
    assert list(config.input[0].dims) == ([96, 64] if frames["format"] == "NV12" else [90, 160, 3])


def test_a_graph_that_says_something_else_is_not_published(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Classes mixed up on the way: the comparison sees it."""
    write = frames_boxes.write

    def swapped(graph: Any, head: Any, ends: Any, shapes: Any) -> Any:
        outputs = write(graph, head, ends, shapes)
        node = next(node for node in graph.nodes if node.output[0] == "classes")
        node.output[0] = "right"
        one = graph.cast(graph.floats(1), onnx.TensorProto.INT32)
        graph.op("Sub", one, "right", to="classes")
        return outputs

    monkeypatch.setattr(frames_boxes, "write", swapped)
    key, result = built(bench, ["Frames"])
    assert result.outcome == "Failed"
    assert result.failure is not None
    assert "does not say what the model says" in result.failure.message
    assert bench.store.find(key) is None


def test_answers_have_as_many_rows_as_the_api_says() -> None:
    assert frames_boxes.ROWS == ANSWER_ROWS


def test_a_manifest_of_before_is_read(bench: Bench) -> None:
    key, _ = built(bench, ["Ultralytics"])
    stored = bench.store.find(key)
    assert stored is not None
    assert stored.manifest.frames is None
    assert "frames" not in json.loads(manifest.encode(stored.manifest))


class TritonModelException(Exception):  # noqa: N818 - Triton's name
    pass


@pytest.fixture
def decoder(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    double = SimpleNamespace(
        Tensor=lambda name, value: (name, value),
        TritonError=str,
        TritonModelException=TritonModelException,
        InferenceResponse=lambda tensors=(), error=None: SimpleNamespace(tensors=dict(tensors), error=error),
        get_input_tensor_by_name=lambda request, _: SimpleNamespace(as_numpy=lambda: request),
    )
    monkeypatch.setitem(sys.modules, "triton_python_backend_utils", double)
    spec = importlib.util.spec_from_file_location("decoder_under_test", PACKAGE / "decode_jpeg.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("size", [(720, 1280), (64, 48), (37, 4000), (640, 640)])
def test_pictures_become_the_clients_frames(decoder: ModuleType, size: tuple[int, int]) -> None:
    shown = picture(*size)
    told = cv2.imencode(".png", shown[:, :, ::-1])[1]
    (answer,) = decoder.TritonPythonModel().execute([told.reshape(1, -1)])
    wanted = letterbox(shown, ImageSize())
    assert (answer.tensors["frames"][0] == wanted).all()
    scale, left, top, width, height = answer.tensors["geometry"][0].tolist()
    assert (width, height) == (size[1], size[0])
    assert scale == pytest.approx(640 / max(size))
    assert min(left, top) == 0


@pytest.mark.parametrize("data", [b"", b"hello, world", b"\xff\xd8\xff\xe0broken"])
def test_what_is_no_picture_fails_alone_in_words(decoder: ModuleType, data: bytes) -> None:
    good = cv2.imencode(".jpg", picture(64, 64))[1].reshape(1, -1)
    bad, fine = decoder.TritonPythonModel().execute([np.frombuffer(data, np.uint8)[np.newaxis], good])
    assert f"{len(data)} bytes" in bad.error
    assert "send one whole JPEG" in bad.error
    assert fine.error is None


def test_an_image_without_opencv_says_so(decoder: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    spec = importlib.util.spec_from_file_location("again", PACKAGE / "decode_jpeg.py")
    assert spec is not None
    assert spec.loader is not None
    with pytest.raises(TritonModelException, match="add opencv-python-headless"):
        spec.loader.exec_module(importlib.util.module_from_spec(spec))


def test_the_builder_refuses_models_of_other_colours_for_frames(bench: Bench) -> None:
    model = TinyYolo().model()
    weights = next(each for each in model.graph.initializer if each.name == "weights")
    grey = onnx.numpy_helper.to_array(weights)[:, :1]
    weights.CopyFrom(onnx.numpy_helper.from_array(grey.copy(), "weights"))
    model.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    onnx.helper.set_model_props(model, {"task": "detect", "names": "{0: 'a', 1: 'b'}", "channels": "1"})
    onnx.save(model, bench.source / "grey.onnx")
    result = bench.build(request(pvc("grey.onnx"), endpoints=["Frames"]))
    assert result.outcome == "Refused"
    assert result.failure is not None
    assert "3 colours" in result.failure.message

"""The graph of frames against numpy's own boxes and OpenCV's own pixels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from model_repo_builder import frame_layout, frames_graph, onnx_defaults
from model_repo_builder.boxes import Boxes, Thresholds, from_raw
from model_repo_builder.errors import Refused
from model_repo_builder.frame_layout import FrameFormat, layout_of
from model_repo_builder.heads import Head
from yolofleet.api.recipe import ImageSize

if TYPE_CHECKING:
    from collections.abc import Mapping

ANCHORS = 400
HEADS = {
    "detect": Head(task="Detect", classes=3),
    "end-to-end": Head(task="Detect", classes=3, end_to_end=True),
    "segment": Head(task="Segment", classes=2, masks=4),
    "pose": Head(task="Pose", classes=1, keypoints=(5, 3)),
    "flat-pose": Head(task="Pose", classes=1, keypoints=(5, 2)),
    "obb": Head(task="OBB", classes=2),
    "end-to-end-obb": Head(task="OBB", classes=2, end_to_end=True),
}
SIZE = ImageSize(height=64, width=96)
Feed = dict[str, Any]


def table(head: Head, seed: int, anchors: int = ANCHORS) -> Any:
    """Raw outputs of two frames: boxes that crowd in a few places, scores that never tie."""
    rng = np.random.default_rng(seed)
    centres = rng.uniform((0, 0), (SIZE.width, SIZE.height), (12, 2))
    near = centres[rng.integers(0, 12, (2, anchors))] + rng.normal(scale=2, size=(2, anchors, 2))
    sides = rng.uniform(10, 30, (2, anchors, 2))
    scores = rng.permutation(2 * anchors * head.classes).reshape(2, anchors, head.classes) / (
        2 * anchors * head.classes
    )
    extra = rng.uniform(0, 3 if head.task == "OBB" else 60, (2, anchors, head.extra()))
    if not head.end_to_end:
        return np.concatenate([near, sides, scores, extra], axis=2).transpose(0, 2, 1).astype(np.float32)
    boxes = np.concatenate([near, sides] if head.task == "OBB" else [near - sides / 2, near + sides / 2], axis=2)
    kinds = rng.integers(0, head.classes, (2, anchors, 1))
    return np.concatenate([boxes, scores[..., :1], kinds, extra], axis=2).astype(np.float32)


def spoken(rows: Any, head: Head, *, half: bool = False, opset: int = 17) -> onnx.ModelProto:
    """A model that says what it is told: the first row to white frames, the second to black ones."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    nodes = [
        helper.make_node("Cast", ["images"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("GlobalAveragePool", ["wide"], ["means"]),
        helper.make_node("Slice", ["means", "zero", "one", "one"], ["white"]),
        helper.make_node("Reshape", ["white", "shape"], ["share"]),
        helper.make_node("Mul", ["share", "first"], ["a"]),
        helper.make_node("Sub", ["unit", "share"], ["left"]),
        helper.make_node("Mul", ["left", "second"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["output0"]),
    ]
    constants: dict[str, Any] = {"zero": [0], "one": [1], "shape": [-1, 1, 1]}
    tensors = [numpy_helper.from_array(np.array(value, np.int64), name) for name, value in constants.items()]
    floats = {"first": rows[:1], "second": rows[1:], "unit": np.ones(1)}
    tensors += [numpy_helper.from_array(np.asarray(value, np.float32), name) for name, value in floats.items()]
    outputs = [helper.make_tensor_value_info("output0", TensorProto.FLOAT, ["batch", *rows.shape[1:]])]
    if head.task == "Segment":
        nodes.append(helper.make_node("AveragePool", ["wide"], ["pool"], kernel_shape=[4, 4], strides=[4, 4]))
        nodes.append(helper.make_node("Concat", ["pool", "pool"], ["six"], axis=1))
        nodes.append(helper.make_node("Slice", ["six", "zero", "four", "one"], ["output1"]))
        tensors.append(numpy_helper.from_array(np.array([4], np.int64), "four"))
        outputs.append(helper.make_tensor_value_info("output1", TensorProto.FLOAT, ["batch", 4, 16, 24]))
    images = helper.make_tensor_value_info("images", kind, ["batch", 3, SIZE.height, SIZE.width])
    graph = helper.make_graph(nodes, "spoken", [images], outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def given_by(thresholds: Thresholds, geometry: tuple[float, ...]) -> Feed:
    return {
        "confidence": np.array([[thresholds.confidence]], np.float32),
        "iou": np.array([[thresholds.iou]], np.float32),
        "max_detections": np.array([[thresholds.max_detections]], np.int32),
        "geometry": np.array([geometry], np.float32),
    }


def black_and_white(layout: frame_layout.Layout) -> Any:
    return np.stack([np.full(layout.dims, 255, np.uint8), np.zeros(layout.dims, np.uint8)])


def answered(model: onnx.ModelProto, feed: Mapping[str, Any]) -> dict[str, Any]:
    session = ort.InferenceSession(model.SerializeToString())
    names = [output.name for output in session.get_outputs()]
    assert names == sorted(names)
    return dict(zip(names, session.run(None, dict(feed)), strict=True))


def same_boxes(answer: dict[str, Any], frame: int, wanted: Boxes, head: Head) -> None:
    count = int(answer["num_dets"][frame, 0])
    assert count == len(wanted)
    np.testing.assert_allclose(answer["scores"][frame, :count], wanted.scores, atol=1e-6)
    assert answer["classes"][frame, :count].tolist() == wanted.classes.tolist()
    corners = wanted.corners if wanted.rotated else np.clip(wanted.corners, 0, (96, 64, 96, 64))
    np.testing.assert_allclose(answer["boxes"][frame, :count], corners, atol=1e-4)
    name = {"Segment": "mask_coefficients", "Pose": "keypoints", "OBB": "angles"}.get(head.task)
    if name:
        extra = wanted.extra.copy()
        if head.keypoints:
            points = extra.reshape(count, *head.keypoints)
            points[..., :2] = np.clip(points[..., :2], 0, (96, 64))
        np.testing.assert_allclose(answer[name][frame, :count].reshape(count, -1), extra, atol=1e-4)
    assert not any(answer[key][frame, count:].any() for key in ("boxes", "scores", "classes"))


@pytest.mark.parametrize("name", HEADS)
@settings(max_examples=4, deadline=None)
@given(
    seed=st.integers(0, 1000),
    confidence=st.sampled_from([0.0, 0.25, 0.6, 0.95]),
    iou=st.sampled_from([0.1, 0.45, 0.7]),
    most=st.sampled_from([1, 20, 300]),
)
def test_boxes_are_those_of_non_maximum_suppression(
    name: str, seed: int, confidence: float, iou: float, most: int
) -> None:
    head, told = HEADS[name], Thresholds(confidence=confidence, iou=iou, max_detections=most)
    rows = table(head, seed)
    layout = layout_of(SIZE, FrameFormat())
    model = frames_graph.wrap(spoken(rows, head), head, size=SIZE, frames=FrameFormat())
    onnx.checker.check_model(model, full_check=True)
    answer = answered(model, {"frames": black_and_white(layout), **given_by(told, layout.geometry)})
    for frame, wanted in enumerate(from_raw([rows], head, told)):
        same_boxes(answer, frame, wanted, head)


@pytest.mark.parametrize("opset", [12, 17, 18, 21])
def test_graphs_of_every_opset_are_wrapped(opset: int) -> None:
    head = HEADS["detect"]
    rows = table(head, 1)
    layout = layout_of(SIZE, FrameFormat())
    model = frames_graph.wrap(spoken(rows, head, opset=opset), head, size=SIZE, frames=FrameFormat())
    answer = answered(model, {"frames": black_and_white(layout), **given_by(Thresholds(), layout.geometry)})
    same_boxes(answer, 1, from_raw([rows], head, Thresholds())[1], head)


def test_each_frame_of_a_batch_has_its_own_thresholds() -> None:
    head = HEADS["detect"]
    rows = table(head, 2)
    layout = layout_of(SIZE, FrameFormat())
    model = frames_graph.wrap(spoken(rows, head), head, size=SIZE, frames=FrameFormat())
    both = (Thresholds(confidence=0.1, iou=0.2, max_detections=300), Thresholds(confidence=0.7, max_detections=5))
    feeds = [given_by(told, layout.geometry) for told in both]
    feed = {key: np.concatenate([one[key] for one in feeds]) for key in feeds[0]}
    answer = answered(model, {"frames": black_and_white(layout), **feed})
    for frame, told in enumerate(both):
        same_boxes(answer, frame, from_raw([rows], head, told)[frame], head)


def test_inputs_become_optional_by_appended_bytes() -> None:
    """Without the appendix all inputs are needed, as an engine's are; with it, a client may leave them out."""
    head = HEADS["detect"]
    rows = table(head, 3)
    layout = layout_of(SIZE, FrameFormat())
    model = frames_graph.wrap(spoken(rows, head), head, size=SIZE, frames=FrameFormat())
    told = frame_layout.defaults(layout, confidence=0.5, iou=0.3, most=7)
    kinds = {each.name: {1: "FP32", 6: "INT32"}[each.kind] for each in frames_graph.optional_inputs(head)}
    content = model.SerializeToString()
    assert len(ort.InferenceSession(content).get_inputs()) == 5
    content += onnx_defaults.appendix({name: (kinds[name], values) for name, values in told.items()})
    onnx.checker.check_model(content)
    session = ort.InferenceSession(content)
    assert [one.name for one in session.get_inputs()] == ["frames"]
    assert sorted(one.name for one in session.get_overridable_initializers()) == sorted(told)
    names = [output.name for output in session.get_outputs()]
    frames = black_and_white(layout)
    thresholds = Thresholds(confidence=0.5, iou=0.3, max_detections=7)
    answer = dict(zip(names, session.run(None, {"frames": frames}), strict=True))
    same_boxes(answer, 0, from_raw([rows], head, thresholds)[0], head)
    feed = {"frames": frames, "confidence": np.array([[0.9], [0.9]], np.float32)}
    fewer = dict(zip(names, session.run(None, feed), strict=True))
    assert (fewer["scores"][fewer["scores"] > 0] > 0.9).all()


def seen_pixels(frames: FrameFormat, size: ImageSize, given: Any, *, half: bool = False) -> Any:
    """What a model behind the graph of frames gets to see."""
    kind = TensorProto.FLOAT16 if half else TensorProto.FLOAT
    images = helper.make_tensor_value_info("images", kind, ["batch", 3, size.height, size.width])
    output = helper.make_tensor_value_info("output0", kind, ["batch", 3, size.height, size.width])
    nodes = [helper.make_node("Identity", ["images"], ["output0"])]
    graph = helper.make_graph(nodes, "eye", [images], [output])
    eye = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    head = Head(task="Classify", classes=1)
    return answered(frames_graph.wrap(eye, head, size=size, frames=frames), {"frames": given})["scores"]


def picture(height: int, width: int) -> Any:
    """Smooth colours with some edges, as cameras see them."""
    y, x = np.mgrid[:height, :width]
    shades = [127 + 120 * np.sin(x / 17 + phase) * np.cos(y / 23) for phase in (0, 2, 4)]
    shown = np.stack(shades, axis=2).astype(np.uint8)
    cv2.rectangle(shown, (width // 4, height // 4), (width // 2, height // 2), (255, 20, 20), -1)
    return shown


def letterbox(shown: Any, size: ImageSize) -> Any:
    """As the Ultralytics client does it, with OpenCV."""
    height, width = shown.shape[:2]
    ratio = min(size.height / height, size.width / width)
    new = round(width * ratio), round(height * ratio)
    dw, dh = (size.width - new[0]) / 2, (size.height - new[1]) / 2
    fitted = cv2.resize(shown, new, interpolation=cv2.INTER_LINEAR) if new != (width, height) else shown
    edges = round(dh - 0.1), round(dh + 0.1), round(dw - 0.1), round(dw + 0.1)
    return cv2.copyMakeBorder(fitted, *edges, cv2.BORDER_CONSTANT, value=(114, 114, 114))


SOURCES = [(64, 96), (720, 1280), (1080, 1920), (37, 91), (480, 640), (1920, 1080)]


@pytest.mark.parametrize("source", SOURCES)
@pytest.mark.parametrize("half", [False, True])
def test_pictures_are_letterboxed_as_by_the_client(source: tuple[int, int], half: bool) -> None:
    size = ImageSize(height=160, width=224) if source != (64, 96) else SIZE
    shown = picture(*source)
    seen = seen_pixels(FrameFormat(source=source), size, shown[np.newaxis], half=half)[0].astype(np.float32)
    wanted = letterbox(shown, size).transpose(2, 0, 1) / 255
    assert np.abs(seen - wanted).max() <= 1.01 / 255 + (1e-3 if half else 0)
    assert np.abs(seen - wanted).mean() < 2e-3


def nv12(shown: Any) -> Any:
    """OpenCV writes I420: two planes of colour, which NV12 has in turn."""
    height, width = shown.shape[:2]
    planes = cv2.cvtColor(shown, cv2.COLOR_RGB2YUV_I420)
    colour = planes[height:].reshape(2, -1).T.reshape(height // 2, width)
    return np.concatenate([planes[:height], colour])


@pytest.mark.parametrize("source", [None, (128, 160)])
def test_nv12_has_opencvs_colours(source: tuple[int, int] | None) -> None:
    shown = picture(*(source or (64, 96)))
    given_frames = nv12(shown)
    wanted = letterbox(cv2.cvtColor(given_frames, cv2.COLOR_YUV2RGB_NV12), SIZE).transpose(2, 0, 1) / 255
    seen = seen_pixels(FrameFormat(pixels="NV12", source=source), SIZE, given_frames[np.newaxis])[0]
    assert np.abs(seen - wanted).max() <= 2.01 / 255


def test_boxes_come_back_in_the_pixels_of_the_source() -> None:
    head = HEADS["pose"]
    rows = table(head, 4)
    frames = FrameFormat(source=(720, 1280))
    layout = layout_of(SIZE, frames)
    assert layout.geometry == (0.075, 0.0, 5.0, 1280.0, 720.0)
    model = frames_graph.wrap(spoken(rows, head), head, size=SIZE, frames=frames)
    answer = answered(
        model, {"frames": np.zeros((1, *layout.dims), np.uint8), **given_by(Thresholds(), layout.geometry)}
    )
    grey = 114 / 255 * 10 / 64  # what the bands above and below add to the mean of a black picture
    (wanted,) = from_raw([grey * rows[:1] + (1 - grey) * rows[1:]], head, Thresholds())
    count = int(answer["num_dets"][0, 0])
    assert count == len(wanted) > 0
    corners = np.clip((wanted.corners - (0, 5, 0, 5)) / 0.075, 0, (1280, 720, 1280, 720))
    np.testing.assert_allclose(answer["boxes"][0, :count], corners, atol=1e-2)
    points = wanted.extra.reshape(count, 5, 3).copy()
    points[..., :2] = np.clip((points[..., :2] - (0, 5)) / 0.075, 0, (1280, 720))
    np.testing.assert_allclose(answer["keypoints"][0, :count], points, atol=1e-2)


def test_bytes_of_a_frame_against_floats() -> None:
    """The bars of the endpoint: a quarter for RGB, an eighth for NV12."""
    floats = 640 * 640 * 3 * 4
    rgb, planes = (int(np.prod(layout_of(ImageSize(), FrameFormat(pixels=kind)).dims)) for kind in ("RGB", "NV12"))
    assert (rgb / floats, planes / floats) == (0.25, 0.125)


def test_models_of_other_colours_are_refused() -> None:
    head = HEADS["detect"]
    raw = spoken(table(head, 5), head)
    raw.graph.input[0].type.tensor_type.shape.dim[1].dim_value = 1
    with pytest.raises(Refused, match="3 colours"):
        frames_graph.wrap(raw, head, size=SIZE, frames=FrameFormat())

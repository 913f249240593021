"""Stories of what is served: the real tritonserver on the CPU, the real Ultralytics client, every endpoint."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from e2e import images
from yolofleet.api.curve import Curve
from yolofleet.render.serving import triton_args
from yolofleet.settings import ServingSettings

ROOT = Path(__file__).parents[1]
TASKS = {"yolo11n": 80, "yolo26n-seg": 80, "yolo11n-pose": 80, "yolo26n-obb": 80, "yolov8n-cls": 1000}
PICTURES = ("scene0", "scene1", "bus", "zidane")
pytestmark = pytest.mark.e2e


@cache
def _told() -> tuple[int, str, str]:
    """Run everything once, also when it fails, in the builder's image with Triton's layers on top."""
    built = images.build_images(["builder", "triton"])
    names = ("libpython", "tritonserver")
    server = [layer for layer in built["triton"].layers if layer.rootfs.parent.name.startswith(names)]
    image = replace(built["builder"], layers=(*built["builder"].layers, *server))
    done = images.run(
        image,
        ["python3", "-W", "ignore", "-m", "e2e.builder.served"],
        binds={ROOT / "e2e": "/repo/e2e"},
        env={"PYTHONPATH": "/repo", "OMP_NUM_THREADS": "1", "TRITON_ARGS": json.dumps(triton_args(ServingSettings()))},
        timeout_s=850,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def story() -> Any:
    code, report, log = _told()
    assert code == 0, log[-6000:]
    return json.loads(report.splitlines()[-1])


def test_every_generated_configuration_is_loaded_as_it_is_written() -> None:
    loaded = story()["loaded"]
    assert set(loaded.values()) == {"READY"}, loaded
    assert {"shapes", "shapes_frames", "shapes_jpeg", "shapes_jpeg_decode", "planes_frames"} <= set(loaded)


def test_a_tuned_repository_runs_with_its_numbers() -> None:
    """Batches of four, two instances, and what such a batch takes to fill at 100 frames a second, 5 ms at most."""
    assert story()["tuned"] == [4, [2], 5000]


@pytest.mark.parametrize("name", TASKS)
def test_the_ultralytics_client_gets_what_it_gets_locally(name: str) -> None:
    """Boxes, masks, keypoints, angles and probabilities; names as in the file."""
    seen = story()["tasks"][name]
    assert seen["difference"] < 1e-3  # pixels: threads add floats in another order
    assert seen["names"] == TASKS[name]
    assert seen["results"] > 0


@pytest.mark.parametrize("endpoint", ["frames", "chosen", "nv12", "jpeg"])
@pytest.mark.parametrize("picture", PICTURES)
def test_boxes_of_the_graph_are_those_of_ultralytics_own_suppression(picture: str, endpoint: str) -> None:
    seen = story()["shapes"][picture][endpoint]
    assert seen["paired"] == seen["wanted"] == seen["found"], seen
    assert seen["pixels"] < 1.0
    assert seen["scores"] < 0.02
    if picture.startswith("scene"):
        assert seen["wanted"] >= 5


def test_bytes_on_the_wire() -> None:
    """Against the FP32 tensor that the Ultralytics client sends; zidane.jpg is 1280×720, here at quality 80."""
    for seen in story()["shapes"].values():
        assert seen["bytes"]["frames"] <= 0.26
        assert seen["bytes"]["nv12"] <= 0.13
    zidane = story()["shapes"]["zidane"]["bytes"]
    assert zidane["picture"] == [720, 1280]
    assert zidane["jpeg"] <= 1 / 20


def test_no_configuration_has_a_trap() -> None:
    assert story()["traps"] == []


def test_a_curve_is_measured_through_triton() -> None:
    """Batch × instances; the bytes are those of a frame; more instances or frames never cost throughput by half."""
    seen = story()["curve"]
    assert seen["code"] == 0
    curve = Curve.model_validate(seen["curve"])
    assert [(point.batch, point.instances) for point in curve.points] == [(1, 1), (2, 1), (1, 2), (2, 2)]
    assert {point.host_bytes_per_frame for point in curve.points} == {640 * 640 * 3}
    assert all(0 < point.p50_microseconds <= point.p99_microseconds for point in curve.points)
    assert min(point.frames_per_second for point in curve.points) > 0


def test_a_build_measures_its_engine_through_a_triton_of_its_own() -> None:
    seen = story()["built"]
    assert isinstance(seen, list), seen
    kinds = [(one["endpoint"], one["batch"], one["instances"]) for one in seen]
    assert kinds == [(name, batch, 1) for name in ("Ultralytics", "Frames") for batch in (1, 2)]
    assert min(one["framesPerSecond"] for one in seen) > 0


def test_what_cannot_be_answered_is_refused_in_words() -> None:
    told = story()["refused"]
    assert "OpenCV reads no picture" in told["no jpeg"]
    assert "send one whole JPEG" in told["no jpeg"]
    assert "[-1,640,640,3]" in told["wrong size"].replace(" ", "")

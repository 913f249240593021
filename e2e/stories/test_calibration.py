"""INT8 on a user's own pictures, in the cluster: fetched, scales taken, compared, judged by mAP, and really served."""

from __future__ import annotations

import base64
import io
import zipfile
from typing import Any

import cv2
import pytest

from e2e.fleet import ROOT, Fleet, Object, url_of
from e2e.shapes.geometry import CLASS_NAMES
from e2e.shapes.scene import draw_scene
from e2e.stories.conftest import file_server
from e2e.stories.test_accuracy import SIZE, accuracy_of, labelled_set

VALIDATED, CALIBRATED, ASKED = 16, 24, 8
SERVE = """
import functools, http.server, pathlib, shutil
folder = pathlib.Path('/tmp/files')
folder.mkdir()
for path in pathlib.Path('/set').glob('*.zip'):
    shutil.copy(path, folder / path.name)
(folder / 'page.zip').write_text('<html>404</html>')
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
http.server.ThreadingHTTPServer(('0.0.0.0', 8000), handler).serve_forever()
"""


def picture(seed: int, number: int) -> bytes:
    good, content = cv2.imencode(".jpg", draw_scene(seed, number, imgsz=SIZE).image, [cv2.IMWRITE_JPEG_QUALITY, 90])
    assert good
    return bytes(content.tobytes())


def pictures(count: int) -> bytes:
    """Return a zip archive of pictures that nobody labelled, none of which is in the labelled set."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        for number in range(count):
            made.writestr(f"crossing/{number:03d}.jpg", picture(3, number))
    return target.getvalue()


@pytest.fixture
def shelf(fleet: Fleet) -> str:
    """A file server with a labelled set, pictures to calibrate on, too few of them, and a page; returns its URL."""
    sets = {
        "val.zip": labelled_set(CLASS_NAMES, VALIDATED),
        "frames.zip": pictures(CALIBRATED),
        "few.zip": pictures(5),
    }
    pod, service = file_server(SERVE)
    for name, content in sets.items():
        stem = name.removesuffix(".zip")
        packed = {name: base64.b64encode(content).decode()}
        fleet.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": stem}, "binaryData": packed})
    sources = [{"configMap": {"name": name.removesuffix(".zip")}} for name in sets]
    pod["spec"]["volumes"].append({"name": "set", "projected": {"sources": sources}})
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "set", "mountPath": "/set", "readOnly": True})
    fleet.apply(pod, service)
    fleet.kubectl("wait", "pod", "files", "--for=condition=Ready", "--timeout=100s")
    return f"http://files.{fleet.namespace}.svc.cluster.local:8000"


def http(fleet: Fleet, base: str, name: str) -> Object:
    digest = fleet.kubectl("exec", "files", "--", "sha256sum", f"/tmp/files/{name}").split()[0]
    return {"http": {"url": f"{base}/{name}", "sha256": digest}}


def engine_spec(dataset: Object, max_drop: str, calibration: Object | None) -> Object:
    gate = {"dataset": dataset, "images": VALIDATED, "maxDrop": max_drop}
    engine: Object = {"backend": "ONNXRuntime", "imageSize": {"height": SIZE, "width": SIZE}, "accuracyGate": gate}
    if calibration is not None:
        engine |= {"precision": "INT8", "calibration": {"source": calibration, "images": CALIBRATED}}
    return engine


def serve(fleet: Fleet, dataset: Object, *, max_drop: str, calibration: Object | None = None) -> None:
    engine = engine_spec(dataset, max_drop, calibration)
    fleet.deploy("gate", engine=engine, rollout={"canaryPercent": 0}, scaling={"minReplicas": 1, "maxReplicas": 1})


def compared(fleet: Fleet, name: str, key: str) -> Object:
    """Ask the deployment and the FP32 graph of the store for the same pictures."""
    asked = {f"{number}.jpg": picture(11, 2_000_000 + number) for number in range(ASKED)}
    arguments = ["--url", url_of(fleet, "gate"), "--onnx", f"/store/{key}/model.onnx", "--size", str(SIZE)]
    return fleet.client(name, ROOT / "e2e/clients/near_boxes.py", arguments, asked).finished()[-1]


def key_of(fleet: Fleet, engine: str) -> str:
    return str(fleet.get("yeng", engine)["spec"]["key"])


def uids(fleet: Fleet) -> set[str]:
    return {pod["metadata"]["uid"] for pod in fleet.items("pods", "yolofleet.dev/deployment=gate")}


def refused(fleet: Fleet) -> str:
    return str(fleet.wait_condition("gate", "EngineReady", "False", reason="BuildRefused", timeout_s=180)["message"])


@pytest.mark.slow
def test_int8_on_ones_own_pictures_is_built_judged_and_served(fleet: Fleet, shelf: str) -> None:
    """Bad pictures and a lost share of mAP keep the old engine in place; then INT8 takes over, and sees the same."""
    dataset, frames = http(fleet, shelf, "val.zip"), http(fleet, shelf, "frames.zip")
    serve(fleet, dataset, max_drop="0")
    fleet.wait_serving("gate")
    first, pods = fleet.engine_of("gate"), uids(fleet)
    fleet.deploy(
        "keeper", engine=engine_spec(dataset, "0", None), suspend=True
    )  # of the FP32 engine, when nobody serves it
    print("FP32:", accuracy_of(fleet, first))
    assert compared(fleet, "plain", key_of(fleet, first))["stray"] == 0

    for name, words in {"few.zip": "too few pictures to take scales from: 5", "page.zip": "not a zip archive"}.items():
        serve(fleet, dataset, max_drop="0", calibration=http(fleet, shelf, name))
        told = refused(fleet)
        print(told)
        assert told.startswith("spec.engine.calibration.source.http.url: ")
        assert words in told

    serve(fleet, dataset, max_drop="0", calibration=frames)
    told = _judged(fleet)
    print(told)
    assert (fleet.engine_of("gate"), uids(fleet)) == (first, pods)

    serve(fleet, dataset, max_drop="0.05", calibration=frames)
    fleet.wait_serving("gate")
    second = fleet.engine_of("gate")
    made: Any = fleet.get("yeng", second)
    print("INT8:", made["status"]["gate"], made["spec"]["calibration"])
    assert second != first
    assert made["spec"]["recipe"]["precision"] == "INT8"
    assert made["status"]["attempts"] == 1, "a wider bound builds nothing anew"
    assert made["status"]["gate"]["accuracy"]["onnxMap50To95"] == accuracy_of(fleet, first)["map50To95"]
    seen = compared(fleet, "narrow", key_of(fleet, first))
    print("served:", seen)
    assert seen["boxes"] > 5 * ASKED
    assert seen["stray"] + seen["scores"] > 0, "it is another graph"
    assert seen["stray"] <= 0.05 * seen["boxes"]
    assert seen["iou"] > 0.7
    assert seen["scores"] < 0.35


def _judged(fleet: Fleet) -> str:
    """Wait until the INT8 engine is refused for what it lost; both figures are said."""
    told = refused(fleet)
    engine = next(e for e in fleet.items("yeng") if e["spec"].get("calibration") and "artifact" in e["status"])
    found = engine["status"]["gate"]["accuracy"]
    assert f"mAP50-95 {found['map50To95']} against {found['onnxMap50To95']} of the ONNX file" in told
    return told

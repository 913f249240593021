"""New weights that find less of what is labelled: refused by themselves, both numbers said, and no frame is lost."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
import zipfile
from typing import Any

import cv2
import pytest

from e2e.fleet import ROOT, Fleet, Object
from e2e.shapes.generate import yolo_lines
from e2e.shapes.geometry import CLASS_NAMES
from e2e.shapes.scene import draw_scene
from e2e.stories.conftest import file_server
from e2e.waiting import wait_for

SIZE, PICTURES = 320, 16
RATE, SECONDS = 20, 60
SERVE = """
import functools, http.server, os, pathlib, shutil
os.environ['YOLO_CONFIG_DIR'] = '/tmp'
import torch, model_repo_builder
folder = pathlib.Path('/tmp/files')
folder.mkdir()
for name in ('val.zip', 'other.zip'):
    shutil.copy(f'/set/{name}', folder / name)
good = pathlib.Path(model_repo_builder.__file__).parent / 'weights/yolo26n-shapes.pt'
told = torch.load(good, map_location='cpu', weights_only=False)
torch.manual_seed(0)
for key in ('model', 'ema'):
    for _, part in told[key].model[-1].named_parameters() if told.get(key) is not None else ():
        noise = 0.2 * part.data.float().abs().mean() * torch.randn(part.shape)
        part.data += noise.to(part.dtype)
torch.save(told, folder / 'worse.pt')
handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(folder))
http.server.ThreadingHTTPServer(('0.0.0.0', 8000), handler).serve_forever()
"""
"""Weights whose head is shaken, made where torch is, beside the labelled sets."""


def labelled_set(names: tuple[str, ...], pictures: int) -> bytes:
    """Return a zip archive of drawn shapes in YOLO's layout."""
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w") as made:
        made.writestr("data.yaml", json.dumps({"val": "images/val", "names": list(names)}))
        for number in range(pictures):
            scene = draw_scene(11, 1_000_000 + number, imgsz=SIZE)
            good, content = cv2.imencode(".jpg", scene.image, [cv2.IMWRITE_JPEG_QUALITY, 92])
            assert good
            made.writestr(f"images/val/{number:03d}.jpg", content.tobytes())
            made.writestr(f"labels/val/{number:03d}.txt", "\n".join(yolo_lines(scene)))
    return target.getvalue()


@pytest.fixture
def shelf(fleet: Fleet) -> str:
    """A file server with worse weights, a labelled set, and one whose classes are others; returns its base URL."""
    sets = {
        "val.zip": labelled_set(CLASS_NAMES, PICTURES),
        "other.zip": labelled_set(("cat", "dog", *CLASS_NAMES[2:]), 2),
    }
    packed = {name: base64.b64encode(content).decode() for name, content in sets.items()}
    pod, service = file_server(SERVE)
    pod["spec"]["volumes"].append({"name": "set", "configMap": {"name": "set"}})
    pod["spec"]["containers"][0]["volumeMounts"].append({"name": "set", "mountPath": "/set", "readOnly": True})
    fleet.apply({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "set"}, "binaryData": packed})
    fleet.apply(pod, service)
    fleet.kubectl("wait", "pod", "files", "--for=condition=Ready", "--timeout=100s")
    return f"http://files.{fleet.namespace}.svc.cluster.local:8000"


def served_by(fleet: Fleet, base: str, name: str) -> Object:
    digest = fleet.kubectl("exec", "files", "--", "sha256sum", f"/tmp/files/{name}").split()[0]
    return {"http": {"url": f"{base}/{name}", "sha256": digest}}


def serve(fleet: Fleet, dataset: Object, **spec: Any) -> None:
    fleet.deploy(
        "gate",
        engine={
            "backend": "ONNXRuntime",
            "imageSize": {"height": SIZE, "width": SIZE},
            "accuracyGate": {"dataset": dataset, "images": PICTURES, "maxDrop": "0.01"},
        },
        scaling={"mode": "Declared", "minReplicas": 2, "maxReplicas": 2},
        demand={"streams": RATE, "framesPerSecond": "1"},
        **spec,
    )


def accuracy_of(fleet: Fleet, engine: str) -> Object:
    found: Object = fleet.get("yeng", engine)["status"]["gate"]["accuracy"]
    return found


@pytest.mark.slow
def test_weights_that_find_less_are_refused_with_both_numbers_while_no_frame_is_lost(fleet: Fleet, shelf: str) -> None:
    """The head is shaken: the build says what it finds by now, and not one pod of it starts."""
    dataset = served_by(fleet, shelf, "val.zip")
    serve(fleet, dataset)
    fleet.wait_serving("gate", 2)
    engine = fleet.engine_of("gate")
    before = accuracy_of(fleet, engine)
    verified = fleet.condition(engine, "Verified", of="yeng")["message"]
    print("serves:", before, verified)
    assert float(before["map50To95"]) > 0.5
    assert f"mAP50-95 {before['map50To95']}" in verified
    pods = {pod["metadata"]["uid"] for pod in fleet.items("pods", "yolofleet.dev/deployment=gate")}

    address = f"gate.{fleet.namespace}.svc.cluster.local:8000"
    plan = {"plan.json": json.dumps([RATE] * SECONDS).encode()}
    arguments = ["--address", address, "--model", "gate", "--size", str(SIZE)]
    client = fleet.client("pace", ROOT / "e2e/clients/paced.py", arguments, plan)
    client.started()
    serve(fleet, dataset, model=served_by(fleet, shelf, "worse.pt"))
    condition = fleet.wait_condition("gate", "Progressing", "False", reason="RolledBack", timeout_s=120)
    told = fleet.get("ydep", "gate")["status"]["rollout"]
    after = accuracy_of(fleet, told["engine"])
    print("refused:", after, told)
    assert (told["reason"], told["previousEngine"]) == ("Accuracy", engine)
    for words in (
        f"{after['map50To95']} against {before['map50To95']}",
        "accuracyGate.maxDrop allows 0.01",
        "rollout retry",
    ):
        assert words in condition["message"]
    event = wait_for("the Event", lambda: _event(fleet), timeout_s=30)
    assert f"{after['map50To95']} against {before['map50To95']}" in event
    shown = rollout_status(fleet)
    print(shown.stdout)
    assert shown.returncode == 1, shown.stderr
    assert f"mAP50 {after['map50']}, mAP50-95 {after['map50To95']} over {PICTURES} labelled pictures" in shown.stdout
    assert f"mAP50 {before['map50']}, mAP50-95 {before['map50To95']} over {PICTURES} labelled pictures" in shown.stdout
    *_, last = client.finished(timeout_s=SECONDS + 60)
    print("client:", last)
    assert last["failed"] == 0, last["errors"]
    assert fleet.engine_of("gate") == engine
    assert {pod["metadata"]["uid"] for pod in fleet.items("pods", "yolofleet.dev/deployment=gate")} == pods

    serve(fleet, served_by(fleet, shelf, "other.zip"))
    refused = fleet.wait_condition("gate", "EngineReady", "False", reason="BuildRefused", timeout_s=120)["message"]
    print(refused)
    assert refused.startswith("spec.engine.accuracyGate.dataset.http.url: class 0 is 'cat' in data.yaml")
    assert fleet.engine_of("gate") == engine


def rollout_status(fleet: Fleet) -> subprocess.CompletedProcess[str]:
    """Type `kubectl yolofleet rollout status gate`, as who made the cluster."""
    bound = ["--kubeconfig", str(fleet.cluster.kubeconfig), "--context", fleet.cluster.context, "-n", fleet.namespace]
    command = [sys.executable, "-m", "yolofleet.cli", "rollout", "status", "gate", *bound]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def _event(fleet: Fleet) -> str:
    events = fleet.items("events.events.k8s.io")
    return next((one["note"] for one in events if one.get("reason") == "RolledBack"), "")

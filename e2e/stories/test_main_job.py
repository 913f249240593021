"""From `kubectl apply` to boxes, and what stands in the cluster then."""

from __future__ import annotations

from typing import Any

import cv2

from e2e.fleet import ROOT, Fleet, layout, url_of
from e2e.shapes.scene import draw_scene
from e2e.waiting import wait_for

SMALL = {"backend": "ONNXRuntime", "imageSize": {"height": 320, "width": 320}}
OF = "yolofleet.dev/deployment"


def scenes(count: int) -> dict[str, bytes]:
    """Draw pictures that the bundled model was not trained on."""
    drawn = {f"scene-{index}.jpg": cv2.imencode(".jpg", draw_scene(99, index).image)[1] for index in range(count)}
    return {name: encoded.tobytes() for name, encoded in drawn.items()}


def compare(fleet: Fleet, name: str) -> dict[str, Any]:
    """Run Ultralytics' client against a deployment and ONNX Runtime; return its report."""
    key = fleet.get("yeng", fleet.engine_of(name))["spec"]["key"]
    arguments = ["--url", url_of(fleet, name), "--onnx", f"/store/{key}/model.onnx", "--frames", "/client"]
    client = fleet.client("client", ROOT / "e2e/clients/compare_boxes.py", [*arguments, "--seconds", "1"], scenes(2))
    report: dict[str, Any] = client.finished()[-1]["report"]
    return report


def test_one_manifest_becomes_boxes_equal_to_onnx_runtimes(fleet: Fleet) -> None:
    """Apply, wait, ask: every box is there, IoU at least 0.99, class names too; from a pod with no right."""
    fleet.deploy("gate", engine=SMALL, demand={"streams": 4, "framesPerSecond": "5"})
    fleet.wait_serving("gate")
    report = compare(fleet, "gate")
    assert report["iou_min"] >= 0.99
    assert report["boxes"] >= 20
    assert report["names"]["0"] == "circle"
    engine = fleet.get("yeng", fleet.engine_of("gate"))
    assert engine["status"]["progressPercent"] == 100
    assert {c["type"]: c["status"] for c in engine["status"]["conditions"]}["Ready"] == "True"
    row = fleet.kubectl("get", "ydep", "gate", "--no-headers").split()
    assert row[1:4] == ["True", "Serving", "-/20"]
    assert "1/1x 1g.10gb" in " ".join(row)
    holds_one_device_and_no_right(fleet)


def holds_one_device_and_no_right(fleet: Fleet) -> None:
    """One pod, one slice; no token, no capability; the budget and the Service stand."""
    (pod,) = fleet.items("pods", f"{OF}=gate")
    (triton,) = pod["spec"]["containers"]
    assert triton["resources"]["limits"]["nvidia.com/mig-1g.10gb"] == "1"
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert triton["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"} in pod["spec"]["tolerations"]
    environment = fleet.kubectl("exec", pod["metadata"]["name"], "-c", "triton", "--", "env")
    assert "NVIDIA_VISIBLE_DEVICES=MIG-" in environment
    assert fleet.get("pdb", "gate")["spec"]["maxUnavailable"] == 1
    assert {p["name"]: p["port"] for p in fleet.get("svc", "gate")["spec"]["ports"]} == {
        "grpc": 8001,
        "http": 8000,
        "metrics": 8002,
    }


def test_a_second_deployment_of_a_model_builds_nothing(fleet: Fleet) -> None:
    """Two deployments share one engine and one Job; it stays while one of them does, and goes with the last."""
    fleet.deploy("gate", engine=SMALL)
    fleet.deploy("yard", engine=SMALL)
    fleet.wait_serving("gate")
    fleet.wait_serving("yard")
    (engine,) = fleet.items("yeng")
    (job,) = fleet.items("jobs")
    assert job["metadata"]["name"] == engine["metadata"]["name"]
    assert engine["status"]["attempts"] == 1
    assert users(fleet) == {"gate", "yard"}
    fleet.kubectl("delete", "ydep", "gate")
    wait_for("gate's Deployment to go", lambda: not fleet.items("deployments", f"{OF}=gate"), timeout_s=60)
    wait_for("the engine to be yard's alone", lambda: users(fleet) == {"yard"}, timeout_s=60)
    fleet.wait_serving("yard")
    fleet.kubectl("delete", "ydep", "yard")
    wait_for("the engine to go with its last user", lambda: not fleet.items("yeng"), timeout_s=60)
    wait_for("the Job to go with its engine", lambda: not fleet.items("jobs"), timeout_s=60)
    fleet.deploy("again", engine=SMALL)
    fleet.wait_serving("again")
    (engine,) = fleet.items("yeng")
    assert engine["status"]["message"] == "cached", "the store still had it: nothing is built twice"


def users(fleet: Fleet) -> set[str]:
    """Return whose the one engine is."""
    (engine,) = fleet.items("yeng")
    return {owner["name"] for owner in engine["metadata"]["ownerReferences"]}


def test_weights_from_http_and_an_onnx_from_a_claim(fleet: Fleet, files: str) -> None:
    """A pinned .pt over HTTP, and the .onnx that came of it from a claim: both serve."""
    import hashlib

    weights = ROOT / "model_repo_builder/src/model_repo_builder/weights/yolo26n-shapes.pt"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    fleet.deploy("web", engine=SMALL, model={"http": {"url": f"{files}/good.pt", "sha256": digest}})
    fleet.wait_serving("web")
    engine = fleet.get("yeng", fleet.engine_of("web"))
    assert engine["status"]["weightsSHA256"] == digest
    path = f"{engine['spec']['key']}/model.onnx"
    fleet.deploy("disk", engine=SMALL, model={"pvc": {"claimName": "yolofleet-engines", "path": path}})
    fleet.wait_serving("disk")
    report = compare(fleet, "disk")
    assert report["iou_min"] >= 0.99
    assert report["names"]["0"] == "circle"


def test_a_whole_gpu_is_a_profile_like_any_other(fleet: Fleet) -> None:
    """Strategy none: nvidia.com/gpu, asked for by name."""
    with layout(fleet.cluster, {"nvidia.com/mig-1g.10gb": 7, "nvidia.com/gpu": 1}):
        fleet.deploy("whole", engine=SMALL, placement={"profiles": ["gpu"]})
        fleet.wait_serving("whole")
        (pod,) = fleet.items("pods", f"{OF}=whole")
        assert pod["spec"]["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "1"
        fleet.clear()

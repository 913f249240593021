"""The main job on a real cluster: chart, one manifest, engine, Triton on a slice, boxes; then load, and an end."""

from __future__ import annotations

import argparse
import base64
import sys
from pathlib import Path
from typing import Any

import cv2
import yaml

from e2e.clusters.bare.cluster import BareCluster
from e2e.demo import load
from e2e.demo.report import Report
from e2e.fleet import ROOT, Client, Fleet, install, url_of
from e2e.progress import bar
from e2e.shapes.scene import draw_scene
from e2e.waiting import wait_for

SAMPLE = ROOT / "crds/samples/yolodeployment-onnxruntime.yaml"
NAMESPACE = "demo"
RESTRICTED_NAMESPACE = {
    "apiVersion": "v1",
    "kind": "Namespace",
    "metadata": {"name": NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
}
PICTURES = 4
SEED = 2026


def pictures() -> dict[str, bytes]:
    """Draw a few pictures that the bundled model can see something in."""
    made = {}
    for index in range(PICTURES):
        _, encoded = cv2.imencode(".jpg", draw_scene(SEED, index).image)
        made[f"scene-{index}.jpg"] = encoded.tobytes()
    return made


def follow_engine(fleet: Fleet, name: str) -> None:
    """Show the build's stage and percent until the engine is published; a refusal ends the demo with its words."""

    def done() -> bool:
        status = fleet.get("yeng", name).get("status", {})
        if "failure" in status and "nextAttemptTime" not in status:
            sys.exit(f"the build was refused: {status['failure']}")
        bar(f"{status.get('stage', 'Queued')} {status.get('message', '')}", status.get("progressPercent", 0))
        return "artifact" in status

    wait_for(f"YoloEngine {name}", done, timeout_s=300, interval_s=0.5, seen=lambda: fleet.kubectl("get", "events"))


def ask(fleet: Fleet, name: str) -> list[dict[str, Any]]:
    """Run Ultralytics' client in a pod, and show each picture's line as it comes."""
    engine = fleet.get("yeng", fleet.engine_of(name))
    onnx = f"/store/{engine['spec']['key']}/model.onnx"
    arguments = ["--url", url_of(fleet, name), "--onnx", onnx, "--frames", "/client"]
    client: Client = fleet.client("client", ROOT / "e2e/clients/compare_boxes.py", arguments, pictures())
    return client.finished(timeout_s=240)


def keep(report: Report, lines: list[dict[str, Any]]) -> None:
    """Put the client's findings into the report and its picture beside it."""
    last = lines[-1]
    report.facts |= {key: last["report"][key] for key in ("boxes", "iou_min", "fps")}
    report.facts["pictures"] = [line for line in lines if "picture" in line]
    report.facts["versions"] = report.facts.get("versions", {}) | last["versions"]
    report.folder.mkdir(parents=True, exist_ok=True)
    (report.folder / "annotated.jpg").write_bytes(base64.b64decode(last["picture_jpeg"]))


def show(cluster: Any, report: Report) -> bool:
    """Do the main job on a cluster that is up; True when every box is equal."""
    name = yaml.safe_load(SAMPLE.read_text())["metadata"]["name"]
    with report.step("helm install yolofleet"):
        install(cluster)
    cluster.kubectl("apply", "-f", "-", stdin=yaml.safe_dump(RESTRICTED_NAMESPACE))  # a kept cluster has it already
    fleet = Fleet(cluster, NAMESPACE)
    with report.step(f"kubectl apply -f {SAMPLE.relative_to(ROOT)}"):
        fleet.kubectl("apply", "-f", str(SAMPLE))
        engines = wait_for("a YoloEngine", lambda: fleet.items("yeng"), timeout_s=30)
    with report.step("engine built by a Job", ticking=False):
        follow_engine(fleet, engines[0]["metadata"]["name"])
    with report.step("Triton Ready on a MIG slice"):
        fleet.wait_serving(name)
    print(fleet.kubectl("get", "ydep,yeng,pods"))
    fleet.deploy(load.NAME, **load.SPEC)  # its engine is built while the boxes are compared
    with report.step('boxes through YOLO("grpc://…") and through ONNX Runtime'):
        lines = ask(fleet, name)
    keep(report, lines)
    with report.step("a small model for the load is Ready"):
        fleet.wait_serving(load.NAME)
    with report.step("load rises and falls, and replicas follow", ticking=False):
        report.facts["load"] = load.follow(fleet)
    report.facts["versions"]["kubernetes"] = cluster.kubectl("get", "node", "-o", "jsonpath={..kubeletVersion}")
    return float(report.facts["iou_min"]) >= 0.99 and int(report.facts["boxes"]) > 0


def main() -> int:
    """Run the demo; exit code 1 when a box differs."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--keep", action="store_true", help="leave the cluster up, to play with")
    parser.add_argument("--out", type=Path, default=Path("out/demo"))
    asked = parser.parse_args()
    report = Report(asked.out)
    with report.step("cluster with images"):
        cluster = BareCluster("demo")
        cluster.up()
    try:
        equal = show(cluster, report)
    finally:
        if not asked.keep:
            with report.step("clean up"):
                cluster.down()
    path = report.write()
    print(closing(report, path, equal=equal, kept=asked.keep))
    return 0 if equal else 1


def closing(report: Report, path: Path, *, equal: bool, kept: bool) -> str:
    """Say what came out and what to try next."""
    facts = report.facts
    verdict = "equal to" if equal else "DIFFERENT FROM"
    compared = f"{facts['boxes']} boxes, {verdict} ONNX Runtime's (lowest IoU {facts['iou_min']})"
    load_facts = facts["load"]
    most = max(load_facts["moments"], key=lambda moment: moment["served"])
    replicas = max(moment["ready"] for moment in load_facts["moments"])
    answered = f"{load_facts['answered']} frames answered, {load_facts['failed']} failed"
    followed = f"Load: {most['served']} frames/s on up to {replicas} replicas, then back to 1; {answered}."
    lines = [
        "",
        f"{compared}, {facts['fps']} frames/s from one client on the CPU.",
        followed,
        f"Picture: {report.folder / 'annotated.jpg'}   Report: {path}",
        "",
        "Next: `make demo DEMO_ARGS=--keep` leaves the cluster up, and then",
        '      `eval "$(.venv/bin/python -m e2e.clusters env --name demo)"` puts kubectl in place. Try',
        "      `kubectl -n demo describe ydep shapes`, or another file of crds/samples/. `make test` runs every story.",
    ]
    if kept:
        lines.append("The cluster `demo` is still up: `.venv/bin/python -m e2e.clusters down --name demo` ends it.")
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

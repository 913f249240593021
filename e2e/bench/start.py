"""Where the seconds go from `kubectl apply` to the first answered frame, with an engine that is built already."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
from tritonclient.grpc import InferenceServerClient, InferInput
from tritonclient.utils import InferenceServerException

from e2e.bench.host import load, processor
from e2e.bench.watching import Object, Seen, watched
from e2e.clusters.bare.cluster import BareCluster
from e2e.fleet import ROOT, Fleet, install
from e2e.waiting import wait_for

NAMESPACE, NAME, OTHER = "bench-start", "gate", "other"
SIZE = 640
PERIOD_S = 0.02
PHASES = {
    "accepted": "`kubectl apply` is done",
    "wished": "the operator has made the YoloEngine, or found it",
    "job": "the build's Job is made",
    "building": "the build's container runs",
    "published": "the YoloEngine is published",
    "deployment": "the Deployment is written",
    "pod": "its pod is made",
    "scheduled": "the pod has a node",
    "sandbox": "the pod has a sandbox with a network",
    "assembling": "`assemble` runs",
    "assembled": "`assemble` has ended",
    "triton": "Triton's container runs",
    "speaking": "tritonserver writes its first line",
    "loaded": "tritonserver has the model",
    "listening": "tritonserver listens",
    "ready": "the pod is Ready",
    "endpoint": "the Service leads to it",
    "answered": "the first frame is answered",
}
LOG_LINES = {"speaking": "", "loaded": "successfully loaded", "listening": "Started GRPCInferenceService"}


@dataclass
class Run:
    """One start: seconds after the apply at which each phase was over, as a watch or a log line told."""

    case: str
    load: float
    at_s: dict[str, float] = field(default_factory=dict)


def first_answer(fleet: Fleet, size: int) -> float:
    """Return the moment of the first answered frame; asks all the time, each time on a connection of its own."""
    frame = InferInput("images", [1, 3, size, size], "FP32")
    frame.set_data_from_numpy(np.zeros((1, 3, size, size), np.float32))
    wait_for("the Service", lambda: _service_stands(fleet), interval_s=PERIOD_S)
    deadline = time.monotonic() + 120
    with fleet.cluster.forward(f"{NAME}.{fleet.namespace}", 8001) as port:
        while True:
            client = InferenceServerClient(f"127.0.0.1:{port}", channel_args=[("grpc.use_local_subchannel_pool", 1)])
            try:
                if client.is_model_ready(NAME, client_timeout=1):
                    client.infer(NAME, [frame], client_timeout=20)
                    return time.time()
            except InferenceServerException:
                if time.monotonic() > deadline:
                    raise
            finally:
                client.close()
            time.sleep(PERIOD_S)


def _service_stands(fleet: Fleet) -> bool:
    """Whether this start's Service is there: that of the one before had another address, and may not be gone yet."""
    uid = fleet.get("ydep", NAME)["metadata"]["uid"]
    services = fleet.items("svc", f"yolofleet.dev/deployment={NAME}")
    return any(owner["uid"] == uid for one in services for owner in one["metadata"].get("ownerReferences", []))


def moments(seen: Seen) -> dict[str, float]:
    """Return when each phase was first seen over."""
    labelled = f"yolofleet.dev/deployment={NAME}"
    told = {
        "wished": seen.first("yoloengines"),
        "job": seen.first("jobs"),
        "building": seen.first("pods", _begun, labels="app.kubernetes.io/name=engine-build"),
        "published": seen.first("yoloengines", lambda o: "artifact" in o.get("status", {})),
        "deployment": seen.first("deployments", labels=labelled),
        "pod": seen.first("pods", labels=labelled),
        "scheduled": seen.first("pods", lambda o: bool(o["spec"].get("nodeName")), labels=labelled),
        "sandbox": seen.first("pods", lambda o: _true(o, "PodReadyToStartContainers"), labels=labelled),
        "assembling": seen.first("pods", lambda o: bool(_assemble(o)), labels=labelled),
        "assembled": seen.first("pods", lambda o: "terminated" in _assemble(o), labels=labelled),
        "triton": seen.first("pods", lambda o: bool(_state(o, "containerStatuses", "triton")), labels=labelled),
        "ready": seen.first("pods", lambda o: _true(o, "Ready"), labels=labelled),
        "endpoint": seen.first("endpointslices", _leads, labels=f"kubernetes.io/service-name={NAME}"),
    }
    return {phase: at for phase, at in told.items() if at is not None}


def _state(pod: Object, of: str, name: str) -> Object:
    """Return the state of a container that runs or has run, {} before."""
    for container in pod.get("status", {}).get(of) or []:
        if container["name"] == name:
            return {kind: told for kind, told in container["state"].items() if kind != "waiting"}
    return {}


def _assemble(pod: Object) -> Object:
    return _state(pod, "initContainerStatuses", "assemble")


def _begun(pod: Object) -> bool:
    told = pod.get("status", {})
    containers = [*(told.get("initContainerStatuses") or []), *(told.get("containerStatuses") or [])]
    return any("waiting" not in container["state"] for container in containers)


def _true(pod: Object, condition: str) -> bool:
    told = pod.get("status", {}).get("conditions") or []
    return any(c["type"] == condition and c["status"] == "True" for c in told)


def _leads(piece: Object) -> bool:
    return any((e.get("conditions") or {}).get("ready") for e in piece.get("endpoints") or [])


def spoken(fleet: Fleet) -> dict[str, float]:
    """Return when tritonserver said what, by the container runtime's own stamps."""
    (pod,) = fleet.items("pods", f"yolofleet.dev/deployment={NAME}")
    lines = fleet.kubectl("logs", pod["metadata"]["name"], "-c", "triton", "--timestamps").splitlines()
    found = {}
    for phase, words in LOG_LINES.items():
        line = next((line for line in lines if words in line), "")
        stamp = line.partition(" ")[0]
        if stamp:
            found[phase] = datetime.fromisoformat(f"{stamp[:26]}+00:00").timestamp()
    return found


def started(fleet: Fleet, case: str, size: int) -> Run:
    """Apply, wait for the first answer, and say what was seen on the way."""
    run = Run(case, round(load(), 2))
    with watched(fleet, ("yoloengines", "jobs", "deployments", "pods", "endpointslices")) as seen:
        began = time.time()
        fleet.deploy(NAME, engine=engine(size))
        accepted = time.time()
        answered = first_answer(fleet, size)
        time.sleep(1.5)  # what a watch tells of the end comes a little later than the answer
    # What was there before, such as the build of another deployment's engine, is no part of this start.
    since = f"{datetime.fromtimestamp(began, UTC):%Y-%m-%dT%H:%M:%SZ}"
    seen.told = [told for told in seen.told if told[2]["metadata"]["creationTimestamp"] >= since]
    at = moments(seen) | spoken(fleet) | {"accepted": accepted, "answered": answered}
    run.at_s = {phase: round(at[phase] - began, 3) for phase in PHASES if at.get(phase, 0) >= began}
    return run


def engine(size: int) -> Object:
    """Return the engine of the bench."""
    return {"backend": "ONNXRuntime", "imageSize": {"height": size, "width": size}}


def cleared(fleet: Fleet, *, keep: str = "") -> None:
    """Take the deployment away, its pods at once; without `keep` the YoloEngine goes too, and stays in the store."""
    fleet.kubectl("delete", "ydep", NAME, "--ignore-not-found")
    wait_for("the Deployment to go", lambda: not fleet.items("deployments", f"yolofleet.dev/deployment={NAME}"))
    fleet.kubectl("delete", "pods", "-l", f"yolofleet.dev/deployment={NAME}", "--now", "--wait=false")
    if keep:
        wait_for("the pods to go", lambda: all(name.startswith(keep) for name in serving(fleet)), timeout_s=60)
        return
    wait_for("all to go", lambda: not (serving(fleet) or fleet.items("yeng") or fleet.items("jobs")), timeout_s=60)


def serving(fleet: Fleet) -> list[str]:
    """Return the names of serving pods."""
    return [pod["metadata"]["name"] for pod in fleet.items("pods", "app.kubernetes.io/name=triton")]


def measured(fleet: Fleet, runs: int, size: int) -> Iterator[Run]:
    """Yield starts with the engine in the store alone, and starts beside a deployment that serves it already."""
    fleet.deploy(NAME, engine=engine(size))
    fleet.wait_serving(NAME)
    for _ in range(runs):
        cleared(fleet)
        yield started(fleet, "in the store", size)
    cleared(fleet)
    fleet.deploy(OTHER, engine=engine(size))
    fleet.wait_serving(OTHER)
    for _ in range(runs):
        yield started(fleet, "beside another", size)
        cleared(fleet, keep=OTHER)


def table(runs: list[Run]) -> str:
    """Return the phases of each case: when they were over, in the middle of all runs, and what that took."""
    lines = []
    for case in dict.fromkeys(run.case for run in runs):
        mine = [run for run in runs if run.case == case]
        middle = {p: statistics.median(r.at_s[p] for r in mine) for p in PHASES if all(p in r.at_s for r in mine)}
        total = sorted(run.at_s["answered"] for run in mine)
        lines += [f"**{case}** ({len(mine)} starts; first answer after {total[0]:.1f} to {total[-1]:.1f} s)", ""]
        lines += ["| after | took | |", "|---:|---:|---|"]
        before = 0.0
        for phase, at in sorted(middle.items(), key=lambda item: item[1]):
            lines.append(f"| {at:.2f} s | {at - before:.2f} s | {PHASES[phase]} |")
            before = at
        lines.append("")
    return "\n".join(lines)


def main() -> int:
    """Measure on a bare cluster, write out/bench/start.json, and print the table; 1 where a start took over 10 s."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--name", default="bench-start", help="the cluster's name")
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--size", type=int, default=SIZE, help="edge of the model's pictures")
    parser.add_argument("--store", choices=("Claim", "S3"), default="Claim")
    parser.add_argument("--keep", action="store_true", help="leave the cluster up")
    parser.add_argument("--out", type=Path, default=ROOT / "out/bench/start.json")
    asked = parser.parse_args()
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    told = {"processor": processor(), "size": asked.size, "store": asked.store}
    cluster, runs = BareCluster(asked.name), []
    cluster.up()
    try:
        for run in measured(_fleet(cluster, asked.store), asked.runs, asked.size):
            runs.append(run)
            print(run, flush=True)
            asked.out.write_text(json.dumps(told | {"runs": [asdict(run) for run in runs]}, indent=1))
    finally:
        print(table(runs), flush=True)
        if not asked.keep:
            cluster.down()
    return 1 if any(run.at_s["answered"] > 10 for run in runs) else 0


def _fleet(cluster: BareCluster, store: str) -> Fleet:
    settings = []
    if store == "S3":
        cluster.load_images(["versitygw"])
        settings = ["store.kind=S3", f"watchNamespaces={{{NAMESPACE}}}"]
    cluster.kubectl("create", "namespace", NAMESPACE)
    install(cluster, *settings)
    return Fleet(cluster, NAMESPACE)


if __name__ == "__main__":
    sys.exit(main())

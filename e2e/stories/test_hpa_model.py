"""The simulator's HPA against the controller manager's own, on two traces: within one replica."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np
import pytest

from e2e.autoscalers import metrics_api
from e2e.bench.scaling.plant import Meter
from e2e.bench.scaling.policies import HPA_SYNC_S, Hpa
from e2e.bench.scaling.traces import REPLICA_FPS
from e2e.fleet import NO_RIGHTS, RESTRICTED, ROOT, Fleet, Object
from e2e.images import image_name

TARGET, WINDOW_S, METRIC_S, MOST = 0.7, 60, 5, 20
SECONDS = 330
WAIT_S = 20
TRACES = {
    "steps": [150] * 60 + [900] * 90 + [500] * 60 + [150] * 120,
    "ramp": np.interp(range(SECONDS), [0, 30, 150, 200, 300, 330], [150, 150, 1100, 1100, 200, 200])
    .astype(int)
    .tolist(),
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.only_on_bare("the controller manager gets another sync period, which is the default elsewhere"),
]


def workload(name: str) -> tuple[Object, Object]:
    """Return a Deployment of nothing, and its autoscaler with the defaults of the API, but for the window."""
    labels = {"app": name}
    container = {"name": "pause", "image": image_name("pause"), "securityContext": NO_RIGHTS}
    pod = {"terminationGracePeriodSeconds": 0, "securityContext": RESTRICTED, "containers": [container]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    metric = {"name": "demand", "selector": {"matchLabels": {"trace": name}}}
    target = {"type": "AverageValue", "averageValue": str(round(TARGET * REPLICA_FPS))}
    autoscaler = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name},
        "spec": {
            "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": name},
            "minReplicas": 1,
            "maxReplicas": MOST,
            "metrics": [{"type": "External", "external": {"metric": metric, "target": target}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": WINDOW_S}},
        },
    }
    return deployment, autoscaler


def modelled(frames: list[int], offset_s: int) -> list[int]:
    """Return the model's count for each second, when its first look falls so many seconds into the trace."""
    lived = [*frames[:1] * WAIT_S, *frames]
    policy, meter = Hpa(TARGET, WINDOW_S, METRIC_S, external=True), Meter(np.cumsum([0, *lived]).tolist())
    counts, now = [], 2
    for second in range(len(lived)):
        meter.now, meter.ready = second, now
        if second >= METRIC_S and (second - offset_s) % HPA_SYNC_S == 0:
            now = min(MOST, policy.decide(meter) or now)
        counts.append(now)
    return counts[WAIT_S:]


def test_two_traces_within_one_replica(fleet: Fleet) -> None:
    """A real HPA and the model see the same demand; the model's looks are tried at all phases of the real one's."""
    arguments = ["--namespace", fleet.namespace, "--window", str(METRIC_S), "--wait", str(WAIT_S)]
    files = {"traces.json": json.dumps(TRACES).encode()}
    with fleet.cluster.faults.controllers(f"--horizontal-pod-autoscaler-sync-period={HPA_SYNC_S}s"):
        source = fleet.client("page", ROOT / "e2e/clients/metric_page.py", arguments, files, claim="")
        source.started()
        address = fleet.get("pod", "page")["status"]["podIP"]
        began = float(source.lines()[0]["began"])
        with metrics_api(fleet, page=f"http://{address}:8080/metrics"):
            fleet.apply(*(document for name in TRACES for document in workload(name)))
            seen: dict[str, list[tuple[int, int]]] = {name: [] for name in TRACES}
            while (second := int(time.time() - began)) < SECONDS:
                for name in TRACES:
                    seen[name].append((second, replicas(fleet.get("deployment", name))))
                time.sleep(2)
    for name, frames in TRACES.items():
        judge(name, frames, seen[name])


def replicas(deployment: Any) -> int:
    return int(deployment["spec"]["replicas"])


def judge(name: str, frames: list[int], seen: list[tuple[int, int]]) -> None:
    """Compare with the phase that fits best: which second of its period the controller looks in, nobody says."""
    settled = [(second, count) for second, count in seen if second >= HPA_SYNC_S]

    def apart(offset_s: int) -> list[tuple[int, int, int]]:
        counts = modelled(frames, offset_s)
        found = []
        for second, count in settled:
            near = counts[max(0, second - 4) : second + 1]
            if not min(near) - 1 <= count <= max(near) + 1:
                found.append((second, count, counts[second]))
        return found

    best = min((apart(offset_s) for offset_s in range(HPA_SYNC_S)), key=len)
    print(name, "seen:", settled[::5])
    assert best == [], f"{name}: (second, the real HPA, the model) {best}"
    assert max(count for _, count in settled) >= 10, "the trace moved it"

"""Load rises and replicas follow, load falls and they come back; a killed operator and closed-loop clients included."""

from __future__ import annotations

import re
import time

from e2e.fleet import ROOT, SYSTEM, Client, Fleet, Object, kill_operator
from e2e.waiting import wait_for

SIZE = 192
SMALL = {"backend": "ONNXRuntime", "imageSize": {"height": SIZE, "width": SIZE}}
WINDOW_S = 10
SCALING = {
    "maxReplicas": 3,
    "targetUtilizationPercent": 10,
    "scaleDown": {"stabilizationWindowSeconds": WINDOW_S},
}
"""A tenth of what a replica could do: two cores carry three replicas, their clients, and whatever else runs there."""
QUIET, BUSY = 2, 36
METRICS = f"/api/v1/namespaces/{SYSTEM}/services/yolofleet-metrics:http/proxy/metrics"


def figure(fleet: Fleet, name: str) -> float | None:
    """Return one of the operator's figures of the gate; None while it has no such series."""
    wanted = rf'^{name}{{namespace="{fleet.namespace}",yolodeployment="gate"}} (\S+)$'
    found = re.search(wanted, fleet.kubectl("get", "--raw", METRICS), re.MULTILINE)
    return float(found[1]) if found else None


def scaling(fleet: Fleet) -> tuple[int, str, str]:
    """Return the decided replicas, the reason and the arithmetic."""
    told = fleet.get("ydep", "gate")["status"]["scaling"]
    return int(told["desiredReplicas"]), str(told["reason"]), str(told["message"])


def judged(fleet: Fleet) -> Object | None:
    """Return ObjectiveMet once a p99 was seen."""
    told = fleet.condition("gate", "ObjectiveMet")
    return None if told["reason"] == "NotMeasured" else told


def load(fleet: Fleet, plan: str, *more: str) -> Client:
    """Send frames by a plan."""
    address = f"gate.{fleet.namespace}.svc:8001"
    arguments = ["--address", address, "--model", "gate", "--size", str(SIZE), "--plan", plan, *more]
    return fleet.client("load", ROOT / "e2e/clients/load.py", arguments)


def test_replicas_follow_the_load_and_come_back(fleet: Fleet) -> None:
    """Open loop up and down, with the operator killed in mid-window; then a closed loop, which never queues."""
    fleet.deploy("gate", engine=SMALL, scaling=SCALING)
    fleet.wait_serving("gate")

    client = load(fleet, f"{QUIET}:2,{BUSY}:26,{QUIET}:22")
    wait_for("more replicas", lambda: scaling(fleet)[0] > 1, timeout_s=30, seen=lambda: scaling(fleet))
    print("up:", scaling(fleet))
    wait_for("them to serve", lambda: fleet.get("ydep", "gate")["status"]["readyReplicas"] > 1, timeout_s=40)
    served = wait_for("the load to be served", lambda: near(figure(fleet, "yolofleet_served_frames_per_second")))
    print("served:", served)
    objective = wait_for("a p99", lambda: judged(fleet), timeout_s=30)
    print("objective:", objective)
    assert "p99 " in objective["message"]
    assert "of objective.p99LatencyMilliseconds 100" in objective["message"]

    wait_for("a lower need", lambda: scaling(fleet)[1] == "StabilizingDown" and falls(fleet), timeout_s=60)
    standing = scaling(fleet)[0]
    kill_operator(fleet.cluster)
    killed = time.monotonic()
    while time.monotonic() - killed < WINDOW_S / 2:
        assert replicas(fleet) == standing, "nothing goes down while nobody looks"
    wait_for("the replicas to go", lambda: scaling(fleet)[0] == 1, timeout_s=60, seen=lambda: scaling(fleet))
    print("down:", scaling(fleet))
    last = client.finished()[-1]
    print("client:", last)
    assert last["failed"] == 0, last["errors"]

    client = load(fleet, "0:30", "--closed", "2")
    wait_for("more replicas", lambda: scaling(fleet)[0] > 1, timeout_s=30, seen=lambda: scaling(fleet))
    print("closed loop:", scaling(fleet))
    client.stop()


def near(served: float | None) -> float | None:
    """Return the rate once it is that of the client."""
    return served if served is not None and BUSY * 0.8 <= served <= BUSY * 1.2 else None


def falls(fleet: Fleet) -> bool:
    """Tell whether the load is down: what is needed then is one replica."""
    needs = fleet.get("ydep", "gate")["status"]["scaling"].get("needs", [])
    return any(need["replicas"] == 1 for need in needs)


def replicas(fleet: Fleet) -> int:
    """Return the replicas of the Deployment itself."""
    (deployment,) = fleet.items("deployments", "yolofleet.dev/deployment=gate")
    return int(deployment["spec"]["replicas"])

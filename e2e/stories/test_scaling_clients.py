"""Existing Ultralytics connections follow the replicas: up to four, and back to one without a failed request."""

from __future__ import annotations

import re
import time

from e2e.fleet import ROOT, TINY, Client, Fleet, url_of
from e2e.waiting import wait_for

CLIENTS, RATE = 40, 0.5
ONE = {"streams": 1, "framesPerSecond": "1"}
WINDOW_S = 40
POD = "yolofleet.dev/deployment=gate"
AFTER_S = 10
"""The last pod has all cameras, and every one of them has sent five frames since."""
BY_HAND = {"mode": "Declared", "scaleDown": {"stabilizationWindowSeconds": 0}}
"""Only minReplicas decides, and at once: this story is about clients."""
COUNT = re.compile(r"^nv_inference_request_success\{[^}]*\} (\d+)", re.MULTILINE)


def served(fleet: Fleet, name: str) -> dict[str, int]:
    """Return the requests that each pod has answered so far, from Triton's own counters."""
    counts = {}
    for pod in fleet.items("pods", f"yolofleet.dev/deployment={name}"):
        if "deletionTimestamp" in pod["metadata"]:
            continue
        path = f"/api/v1/namespaces/{fleet.namespace}/pods/{pod['metadata']['name']}:8002/proxy/metrics"
        counts[pod["metadata"]["name"]] = sum(map(int, COUNT.findall(fleet.kubectl("get", "--raw", path))))
    return counts


def test_connections_spread_over_new_replicas_and_leave_those_that_go(fleet: Fleet) -> None:
    """1 → 4: within 60 s each pod has 2/3 to 3/2 of the mean rate; 4 → 1: not one request fails."""
    fleet.deploy("gate", engine=TINY, demand=ONE, scaling=BY_HAND)
    fleet.wait_serving("gate")
    longest = 300  # on a slow machine; it is stopped when all has been seen
    arguments = ["--url", url_of(fleet, "gate"), "--clients", str(CLIENTS), "--rate", str(RATE)]
    client: Client = fleet.client(
        "client", ROOT / "e2e/clients/open_loop.py", [*arguments, "--seconds", str(longest), "--size", "64"]
    )
    wait_for("every camera's first answers", lambda: client.lines()[-1]["ok"] >= CLIENTS, timeout_s=120)
    fleet.deploy("gate", engine=TINY, demand=ONE, scaling=BY_HAND | {"minReplicas": 4})
    fleet.wait_serving("gate", 4)
    before = served(fleet, "gate")
    time.sleep(WINDOW_S)
    after = served(fleet, "gate")
    rates = {name: (after[name] - before[name]) / WINDOW_S for name in after}
    mean = sum(rates.values()) / len(rates)
    print("frames per second by pod:", {name: round(rate, 2) for name, rate in rates.items()}, "mean", round(mean, 2))
    assert len(rates) == 4
    assert all(mean * 2 / 3 <= rate <= mean * 3 / 2 for rate in rates.values()), rates
    fleet.deploy("gate", engine=TINY, demand=ONE, scaling=BY_HAND | {"minReplicas": 1})
    fleet.wait_serving("gate", 1)
    wait_for("the pods that go to be gone", lambda: len(fleet.items("pods", POD)) == 1, timeout_s=90)
    time.sleep(AFTER_S)
    last = client.end()
    print("client:", last)
    assert last["failed"] == 0, last["errors"]
    assert last["ok"] > CLIENTS * RATE * last["at"] * 0.5

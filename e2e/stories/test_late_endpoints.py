"""A pod that goes serves on while its endpoint leaves late: as late as is allowed, and nobody loses a frame."""

from __future__ import annotations

import time

import pytest

from e2e.fleet import ROOT, TINY, Fleet, url_of
from e2e.waiting import wait_for
from yolofleet.render.serving import drain_s
from yolofleet.settings import ServingSettings

POD = "yolofleet.dev/deployment=gate"
ONE = {"streams": 1, "framesPerSecond": "1"}
TWO = {"mode": "Declared", "minReplicas": 2}
AFTER_S = 6
"""A connection's age, and a little: who was led to the pod has been led elsewhere since."""


def pods(fleet: Fleet) -> list[str]:
    return [pod["metadata"]["name"] for pod in fleet.items("pods", POD)]


def led_to(fleet: Fleet, pod: str) -> bool:
    """Tell whether the Service still leads to a pod."""
    slices = fleet.items("endpointslices", "kubernetes.io/service-name=gate")
    ends = [end for one in slices for end in one.get("endpoints") or []]
    return any(end.get("targetRef", {}).get("name") == pod and end["conditions"].get("ready") for end in ends)


@pytest.mark.slow
@pytest.mark.only_on_bare("it takes the controller manager away")
@pytest.mark.parametrize(("away_s", "late"), [(5, False), (17, True)], ids=["as allowed", "later"])
def test_a_pod_serves_on_until_its_endpoint_has_left(fleet: Fleet, away_s: int, *, late: bool) -> None:
    """Nobody takes the endpoint out for a while; that frames are lost beyond what is allowed shows that it counts."""
    fleet.deploy("gate", engine=TINY, demand=ONE, scaling=TWO)
    fleet.wait_serving("gate", 2)
    arguments = ["--url", url_of(fleet, "gate"), "--clients", "12", "--rate", "2", "--seconds", "150", "--size", "64"]
    client = fleet.client("client", ROOT / "e2e/clients/open_loop.py", arguments)
    wait_for("every camera's first answers", lambda: client.lines()[-1]["ok"] >= 60, timeout_s=120)
    gone = pods(fleet)[0]
    with fleet.cluster.faults.no_controllers():
        began = time.monotonic()
        fleet.kubectl("delete", "pod", gone, "--wait=false")
        time.sleep(away_s)
    wait_for("its endpoint to leave", lambda: not led_to(fleet, gone), timeout_s=60, interval_s=0.2)
    left_s = time.monotonic() - began
    wait_for("the pod to be gone", lambda: gone not in pods(fleet), timeout_s=90, interval_s=0.2)
    time.sleep(AFTER_S)
    last = client.end()
    print(f"the endpoint left after {left_s:.1f} s of a drain of {drain_s(ServingSettings())} s; client: {last}")
    assert (last["failed"] > 0) == late, last["errors"]

"""The whole life of a deployment under faults: kills of the operator, outages of the API server, a lost node."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator

import pytest

from e2e.fleet import Fleet, Object
from e2e.kills import Kills, random_kills, watched_replicas
from e2e.waiting import wait_for

TINY = {"backend": "ONNXRuntime", "imageSize": {"height": 64, "width": 64}}
AWAY_S = 60
RATE = 20.0
# As Kubernetes comes, a node is given up 50 s after its last word. A story cannot wait that long; nothing else differs.
QUICK_TO_GIVE_UP = ("--node-monitor-period=2s", "--node-monitor-grace-period=12s")


@pytest.fixture
def second_node(fleet: Fleet) -> Iterator[int]:
    """A further node for the story, under a control plane that gives up a lost node sooner."""
    with fleet.cluster.faults.controllers(*QUICK_TO_GIVE_UP):
        index = fleet.cluster.faults.add_node()
        yield index
        fleet.kubectl("delete", "ydep", "--all")
        fleet.cluster.faults.remove_node(index)


def serving_nodes(fleet: Fleet, name: str) -> dict[str, str]:
    """Return the node of every ready endpoint of a Service, by address."""
    slices = fleet.items("endpointslices", f"kubernetes.io/service-name={name}")
    endpoints = [endpoint for one in slices for endpoint in one.get("endpoints") or []]
    return {e["addresses"][0]: e["nodeName"] for e in endpoints if e["conditions"].get("ready")}


def end_state(fleet: Fleet, name: str) -> Object:
    """Return all that must be as if nothing had happened."""
    kinds = ("deployments", "services", "poddisruptionbudgets", "yoloengines", "jobs", "persistentvolumeclaims")
    status = fleet.get("ydep", name)["status"]
    (engine,) = fleet.items("yoloengines")
    return {
        "names": {kind: sorted(item["metadata"]["name"] for item in fleet.items(kind)) for kind in kinds},
        "conditions": {c["type"]: (c["status"], c["reason"]) for c in status["conditions"]},
        "replicas": (status["replicas"], status["readyReplicas"]),
        "builds": engine["status"]["attempts"],
    }


def away(fleet: Fleet, kills: Kills, phase: str) -> None:
    """Take the API server away for a minute; the replicas stay as they are."""
    kills.phase = phase
    fleet.cluster.restart_apiserver(down_s=AWAY_S)


def lose_and_return(fleet: Fleet, kills: Kills, node: int, name: str) -> None:
    """Switch the node off until its endpoints have left, and on again."""
    kills.phase = "node lost"
    fleet.cluster.faults.lose_node(node)
    lost = f"node{node}"
    wait_for(
        f"the endpoints on {lost} to leave",
        lambda: lost not in serving_nodes(fleet, name).values(),
        timeout_s=60,
        seen=lambda: serving_nodes(fleet, name),
    )
    kills.phase = "node back"
    fleet.cluster.faults.return_node(node)


def test_the_whole_story_survives_kills_outages_and_a_lost_node(fleet: Fleet, second_node: int) -> None:
    """Built, served, scaled up and down under 20 kills, two outages and a lost node: no frame lost, the same end."""
    seed = int(os.environ.get("YOLOFLEET_E2E_SEED", secrets.randbelow(10**6)))
    print("seed:", seed)
    with (
        random_kills(fleet.cluster, count=20, mean_gap_s=8, seed=seed) as kills,
        watched_replicas(fleet, "gate") as rep,
    ):
        kills.phase = "build"
        fleet.deploy("gate", engine=TINY, scaling={"minReplicas": 2})
        fleet.wait_serving("gate", 2)
        assert f"node{second_node}" in serving_nodes(fleet, "gate").values()
        cameras = fleet.cameras("cameras", "gate", rate=RATE)
        cameras.started()
        away(fleet, kills, "first outage")
        kills.phase = "load rises"
        fleet.deploy("gate", engine=TINY, scaling={"minReplicas": 4})
        fleet.wait_serving("gate", 4)
        lose_and_return(fleet, kills, second_node, "gate")
        fleet.wait_serving("gate", 4)
        assert rep.fell() == []
        away(fleet, kills, "second outage")
        kills.phase = "load falls"
        high = len(rep.seen)
        fleet.deploy("gate", engine=TINY, scaling={"minReplicas": 2})
        fleet.wait_serving("gate", 2)
        wait_for("all kills", kills.all_done, timeout_s=60)
        fleet.wait_serving("gate", 2)
        told = cameras.end()
    print("cameras:", told)
    assert rep.fell() == rep.fell(since=high - 1)
    assert told["lost"] == 0, told
    assert told["answered"] == told["sent"] > RATE * AWAY_S * 2
    print(end_state(fleet, "gate"))

"""A build that needs a slice: free, kept for builds, lent by a deployment above its floor, or it waits and says so.

The bench's builder has no TensorRT: convert gets its slice, and refuses. By then the way has been seen.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.fleet import TINY, Fleet, layout
from e2e.waiting import wait_for

MIG = "nvidia.com/mig-1g.10gb"
POOL: dict[str, Any] = {"apiVersion": "yolofleet.dev/v1alpha1", "kind": "MigPool", "metadata": {"name": "default"}}
KEPT = {"reserved": [{"profile": "1g.10gb", "count": 1, "purpose": "Build"}]}
pytestmark = pytest.mark.slow


@pytest.fixture
def two(fleet: Fleet) -> Iterator[Fleet]:
    """Two slices, both of them gate's, whose floor is two."""
    with layout(fleet.cluster, {MIG: 2}):
        fleet.deploy("gate", engine=TINY, scaling={"minReplicas": 2})
        fleet.wait_serving("gate", 2)
        yield fleet
        fleet.kubectl("delete", "ydep", "--all", "--timeout=60s")
        fleet.kubectl("delete", "migpool", "default", "--ignore-not-found")


def slice_of(fleet: Fleet, name: str) -> dict[str, Any]:
    """Return how the build of a deployment's engine came by its slice, {} before it has one."""
    for job in fleet.items("jobs"):
        engine = fleet.get("yeng", job["metadata"]["name"])
        if engine["metadata"]["ownerReferences"][0]["name"] == name:
            told: dict[str, Any] = json.loads(job["metadata"].get("annotations", {}).get("yolofleet.dev/slice", "{}"))
            return told
    return {}


def serving(fleet: Fleet) -> int:
    """Count the pods of gate that are not on their way out."""
    pods = fleet.items("pods", "yolofleet.dev/deployment=gate")
    return sum(1 for pod in pods if "deletionTimestamp" not in pod["metadata"])


def building(fleet: Fleet) -> list[str]:
    """Return the build pods that have not ended."""
    pods = fleet.items("pods", "app.kubernetes.io/name=engine-build")
    return [pod["metadata"]["name"] for pod in pods if pod["status"].get("phase") not in ("Succeeded", "Failed")]


def test_each_of_the_four_ways(two: Fleet) -> None:
    """A full fleet gets a new model; nobody is ever below its floor, and what was lent comes back."""
    fleet = two
    fleet.deploy("new", engine={"backend": "TensorRT"})
    told = fleet.wait_condition("new", "EngineReady", "False", reason="WaitingForBuildSlice")["message"]
    assert "0 of 2 1g.10gb of MigPool default are free" in told
    assert f"{fleet.namespace}/gate (floor 2)" in told
    assert serving(fleet) == 2

    fleet.deploy("gate", engine=TINY, scaling={"minReplicas": 1})  # two stay, by the window of five minutes
    borrowed = wait_for("a slice to be lent", lambda: slice_of(fleet, "new"), timeout_s=60)
    assert (borrowed["way"], borrowed["lender"]["name"]) == ("Borrowed", "gate")
    wait_for("gate to give one up", lambda: serving(fleet) == 1, timeout_s=60)
    told = fleet.wait_condition("new", "EngineReady", "False", reason="BuildRefused", timeout_s=120)["message"]
    assert "spec.engine.backend" in told
    fleet.wait_serving("gate", 2)
    fleet.kubectl("delete", "ydep", "new", "--timeout=60s")

    fleet.cluster.set_layout({MIG: 3})
    fleet.deploy("free", engine={"backend": "TensorRT", "maxBatchSize": 4})
    assert wait_for("a free slice", lambda: slice_of(fleet, "free"), timeout_s=60)["way"] == "Free"
    fleet.wait_condition("free", "EngineReady", "False", reason="BuildRefused")
    wait_for("its pod to let the slice go", lambda: not building(fleet), timeout_s=30)  # its last words come before

    fleet.apply(POOL | {"spec": KEPT})
    fleet.deploy("kept", engine={"backend": "TensorRT", "maxBatchSize": 2})
    assert wait_for("the reserved slice", lambda: slice_of(fleet, "kept"), timeout_s=60)["way"] == "Reserved"
    fleet.wait_condition("kept", "EngineReady", "False", reason="BuildRefused")
    assert fleet.condition("gate", "Ready")["status"] == "True"

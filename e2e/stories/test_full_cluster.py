"""A new engine for the only replica, where no slice is spare: it waits and loses nothing, or leaves a gap if it may."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from e2e import pacing
from e2e.fleet import TINY, Fleet, Object, layout
from e2e.waiting import wait_for

RATE = 50
SLICE = "nvidia.com/mig-1g.10gb"
NEXT: Object = TINY | {"maxBatchSize": 16}
"""Another engine of the same weights."""

pytestmark = [pytest.mark.slow, pytest.mark.only_on_bare("its slices are counted")]


@pytest.fixture
def full(fleet: Fleet) -> Iterator[Fleet]:
    """One slice, which the one replica holds."""
    with layout(fleet.cluster, {SLICE: 1}):
        yield fleet
        fleet.clear()


def serve(fleet: Fleet, engine: Object, **rollout: Any) -> None:
    one = {"mode": "Declared", "minReplicas": 1, "maxReplicas": 1}
    demand = {"streams": RATE, "framesPerSecond": "1"}
    fleet.deploy("gate", engine=engine, scaling=one, demand=demand, rollout={"canarySeconds": 10} | rollout)


def wait_promoted(fleet: Fleet, timeout_s: float) -> None:
    def rollout() -> Object:
        told: Object = fleet.get("ydep", "gate").get("status", {}).get("rollout", {})
        return told

    wait_for("the rollout", lambda: rollout().get("phase") == "Promoted", timeout_s=timeout_s, seen=rollout)


def test_it_waits_for_a_slice_says_so_and_then_loses_nothing(full: Fleet) -> None:
    serve(full, TINY)
    full.wait_serving("gate")
    engine = full.engine_of("gate")
    client = pacing.pace(full, "gate", [RATE] * 100)
    client.started()
    serve(full, NEXT)
    told = full.wait_condition("gate", "Placed", "False", reason="NoRoom", timeout_s=90)
    print(told["message"])
    assert "free a slice, add nodes" in told["message"]
    assert (full.engine_of("gate"), full.condition("gate", "Ready")["status"]) == (engine, "True")
    full.cluster.set_layout({SLICE: 2})
    wait_promoted(full, timeout_s=90)
    assert full.engine_of("gate") != engine
    *_, last = client.finished(timeout_s=160)
    print(last)
    assert last["failed"] == 0, last["errors"]


def test_in_place_it_leaves_a_gap_between_one_pods_end_and_the_nexts_start(full: Fleet) -> None:
    """`strategy: InPlace` says that it may: the length of the gap is what docs/adr/0012-in-place.md quotes."""
    serve(full, TINY, strategy="InPlace")
    full.wait_serving("gate")
    engine = full.engine_of("gate")
    client = pacing.pace(full, "gate", [RATE] * 60)
    client.started()
    serve(full, NEXT, strategy="InPlace")
    wait_promoted(full, timeout_s=100)
    assert full.engine_of("gate") != engine
    *_, seconds, last = client.finished(timeout_s=120)
    failing = [second for second, count in enumerate(seconds["failed"]) if count]
    print(f"failed in each second: {seconds['failed']}; {last}")
    assert failing, "one pod's end and another's start on one slice cannot be without a gap"
    assert failing[-1] - failing[0] < 30

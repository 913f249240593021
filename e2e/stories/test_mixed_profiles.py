"""The slices of a profile run out: others help while they are needed, and no frame is lost when they come or go.

The curves are given by hand, as in `test_static_placement`.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.fleet import Fleet, kill_operator, layout
from e2e.stories.test_static_placement import MIXED, SCALING, WISHES, published, standing, wish
from e2e.waiting import wait_for

pytestmark = pytest.mark.slow

ONE, TWO, THREE = "1g.10gb", "2g.20gb", "3g.40gb"
WINDOW_S = 15
LITTLE = {"streams": 1, "framesPerSecond": "20"}
"""What one replica carries."""


@pytest.fixture
def mixed(fleet: Fleet) -> Iterator[Fleet]:
    """Two slices of 1g, one of 2g, one of 3g."""
    with layout(fleet.cluster, MIXED):
        yield fleet


def scaling(replicas: int, **parts: Any) -> dict[str, Any]:
    return SCALING | {"minReplicas": replicas, "scaleDown": {"stabilizationWindowSeconds": WINDOW_S}} | parts


def hall(fleet: Fleet, replicas: int, **parts: Any) -> None:
    """Ask for so many replicas."""
    fleet.deploy("hall", **wish("hall", scaling=scaling(replicas, **parts), demand=LITTLE))


def wait_standing(fleet: Fleet, *, hall: dict[str, int]) -> None:
    def stands() -> bool:
        now = dict(standing(fleet)["hall"])
        return {profile: count for profile, count in now.items() if count} == hall

    def seen() -> object:
        return standing(fleet), fleet.get("ydep", "hall")["status"]["conditions"]

    wait_for(f"hall on {hall}", stands, timeout_s=150, seen=seen)


def pods(fleet: Fleet) -> dict[str, str]:
    """Return the pods of hall by profile and uid."""
    found = fleet.items("pods", "yolofleet.dev/deployment=hall")
    return {pod["metadata"]["uid"]: pod["metadata"]["labels"]["yolofleet.dev/profile"] for pod in found}


def test_others_help_while_the_slices_of_the_own_profile_have_run_out(mixed: Fleet) -> None:
    assert WISHES["hall"][0] == 100, "all three profiles keep it"
    published(mixed)
    mixed.deploy("gate", **wish("hall", scaling=scaling(1), demand=LITTLE, placement={"profiles": [ONE]}))
    mixed.wait_serving("gate", 1)
    hall(mixed, 1)
    mixed.wait_serving("hall", 1)
    wait_standing(mixed, hall={ONE: 1})
    cameras = mixed.cameras("cameras", "hall", "--size", "64", rate=20)
    cameras.started()

    began = time.monotonic()
    hall(mixed, 2)
    wait_standing(mixed, hall={ONE: 1, TWO: 1})
    print(f"on 2g {time.monotonic() - began:.1f} s after it was asked for, as no 1g was free")
    told = mixed.wait_condition("hall", "Placed", "True")["message"]
    assert told.endswith("; 1 of 1g.10gb, 1 of 2g.20gb as no 1g.10gb was free"), told
    hall(mixed, 3)
    wait_standing(mixed, hall={ONE: 1, TWO: 1, THREE: 1})
    groups = {one["profile"]: one for one in mixed.get("ydep", "hall")["status"]["groups"]}
    assert [groups[p].get("overflow", False) for p in (ONE, TWO, THREE)] == [False, True, True]
    assert [groups[p]["framesPerSecondPerReplica"] for p in (ONE, TWO, THREE)] == [40, 90, 180]

    before = pods(mixed)
    kill_operator(mixed.cluster)
    hall(mixed, 3, maxReplicas=5)  # the new operator has to look at it
    mixed.wait_condition("hall", "Placed", "True")
    assert pods(mixed) == before, "a restart moves nothing"

    mixed.kubectl("delete", "ydep", "gate")
    wait_for("gate's slice", lambda: not mixed.items("pods", "yolofleet.dev/deployment=gate"), timeout_s=90)
    began = time.monotonic()
    wait_standing(mixed, hall={ONE: 2, TWO: 1})
    print(f"the dearest came back {time.monotonic() - began:.1f} s after a 1g was free; window {WINDOW_S} s")

    hall(mixed, 1)
    wait_standing(mixed, hall={ONE: 1})
    last = cameras.end()
    print(f"cameras: {last}")
    assert last["lost"] == 0, last

"""Static mode: three deployments with different objectives on a mixed node get the profiles that `plan` foretold.

The curves are given by hand: builds without a GPU measure none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from e2e.fakes.gpus import PRODUCT
from e2e.fleet import TINY, Fleet, kill_operator, layout
from e2e.stories.test_plugin import Person, admin  # noqa: F401 - a fixture
from e2e.waiting import wait_for

MIG = "nvidia.com/mig-"
MIXED = {f"{MIG}1g.10gb": 2, f"{MIG}2g.20gb": 1, f"{MIG}3g.40gb": 1}
"""One H100: 1g at two places, 2g, and 3g in the other half."""
WORTH = {"1g.10gb": (16, 40, 80), "2g.20gb": (32, 90, 40), "3g.40gb": (60, 180, 15)}
"""SMs, frames per second and p99 in ms that are given by hand."""
WISHES = {"hall": (100, 60), "gate": (50, 40), "robot": (20, 30)}
"""Objective in ms and frames per second that are asked for."""
SCALING = {"minReplicas": 1, "maxReplicas": 4}


def curve(profile: str) -> dict[str, Any]:
    sms, fps, p99_ms = WORTH[profile]
    point = {"endpoint": "Ultralytics", "batch": 8, "instances": 1, "framesPerSecond": fps}
    point |= {"p50Microseconds": p99_ms * 500, "p99Microseconds": p99_ms * 1000}
    return {"source": "Measured", "product": PRODUCT, "profile": profile, "smCount": sms, "points": [point]}


def wish(name: str, **parts: Any) -> dict[str, Any]:
    p99_ms, fps = WISHES[name]
    return {
        "engine": TINY,
        "objective": {"p99LatencyMilliseconds": p99_ms},
        "demand": {"streams": 1, "framesPerSecond": str(fps)},
        "scaling": SCALING,
    } | parts


@pytest.fixture
def mixed(fleet: Fleet) -> Iterator[Fleet]:
    """The node's GPU cut into slices of three kinds."""
    with layout(fleet.cluster, MIXED):
        yield fleet


def published(fleet: Fleet) -> None:
    """Have the engine built for one that serves nothing, and write down what slices are worth to it, by hand."""
    fleet.deploy("builder", **wish("hall", suspend=True))
    fleet.wait_condition("builder", "EngineReady", "True")
    (engine,) = [one["metadata"]["name"] for one in fleet.items("yeng")]
    told = {"status": {"curves": [curve(profile) for profile in WORTH]}}
    fleet.kubectl("patch", "yeng", engine, "--subresource=status", "--type=merge", "-p", json.dumps(told))


def standing(fleet: Fleet) -> dict[str, list[tuple[str, int]]]:
    """Return what runs of each deployment: profiles with their ready replicas."""
    groups = {one["metadata"]["name"]: one.get("status", {}).get("groups", []) for one in fleet.items("ydep")}
    return {name: [(g["profile"], g["readyReplicas"]) for g in told] for name, told in groups.items() if name in WISHES}


def test_three_objectives_get_the_profiles_that_plan_foretold(
    mixed: Fleet,
    admin: Person,  # noqa: F811
    tmp_path: Path,
) -> None:
    """Plan on manifests before they are applied; apply them; the same profiles and counts, also after a restart."""
    published(mixed)
    here = ("-n", mixed.namespace)
    manifests = [
        {
            "apiVersion": "yolofleet.dev/v1alpha1",
            "kind": "YoloDeployment",
            "metadata": {"name": name, "namespace": mixed.namespace},
            "spec": {"model": {"builtin": "yolo26n-shapes"}} | wish(name),
        }
        for name in WISHES
    ]
    path = tmp_path / "fleet.yaml"
    path.write_text(yaml.safe_dump_all(manifests))
    told = admin.json("plan", "-f", str(path), *here, code=3)
    foretold = {
        row["name"].partition("/")[2]: [(one["profile"], one["replicas"]) for one in row["then"]]
        for row in told["deployments"]
        if row["changes"]
    }
    assert foretold == {"hall": [("1g.10gb", 2)], "gate": [("2g.20gb", 1)], "robot": [("3g.40gb", 1)]}

    mixed.apply(*manifests)
    wait_for("what was foretold", lambda: standing(mixed) == foretold, timeout_s=120, seen=lambda: standing(mixed))
    for told in mixed.items("ydep"):
        if told["metadata"]["name"] in WISHES:
            (tuned,) = told["status"]["groups"][0]["tuning"]
            assert (tuned["maxBatchSize"], tuned["instances"]) == (8, 1), "pods run as the curve counted them"
    placed = mixed.condition("robot", "Placed")
    assert placed["status"] == "True"
    assert "2g.20gb: its p99 is 40.0 ms at best, the objective 20 ms" in placed["message"]
    pods = {pod["metadata"]["uid"] for pod in mixed.items("pods", "app.kubernetes.io/name=triton")}
    assert admin.json("plan", *here)["steps"] == [], "what was foretold is what is: nothing more would change"

    kill_operator(mixed.cluster)
    mixed.deploy("hall", **wish("hall", scaling=SCALING | {"maxReplicas": 5}))  # the new operator has to look at it
    mixed.wait_condition("hall", "Placed", "True")
    assert {pod["metadata"]["uid"] for pod in mixed.items("pods", "app.kubernetes.io/name=triton")} == pods
    drawn = admin.run("layout", *here).stdout
    assert all(name in drawn for name in WISHES), drawn
    # A second stream of 40 fps is more than the one 2g carries (0.8 × 90 fps), and all else is taken.
    (as_cut, *_) = admin.json("admit", "gate", *here, code=1)["ways"]
    assert (as_cut["kind"], as_cut["streams"]) == ("asCut", 1)

"""New engines and images under a client of 50 frames a second: a good one loses no frame, a worse one goes back."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Iterator
from statistics import median

import pytest

from e2e import pacing
from e2e.fleet import ROOT, TINY, Fleet, Object, layout
from e2e.images import image_name
from e2e.waiting import wait_for

RATE = 50
SECONDS = 165
BEFORE_S = 20
NOISE_MS = 100
"""A p99 within the default objective is not judged: client, cluster and all Tritons share two cores on the bench, and
12 ms before became 18 in one run and 64 in another with other work beside it. For that, too, medians are compared."""
REPLICAS = 2
SLICE = "nvidia.com/mig-1g.10gb"
TWO = {"mode": "Declared", "minReplicas": REPLICAS, "maxReplicas": REPLICAS}
DEMAND = {"streams": RATE, "framesPerSecond": "1"}

pytestmark = pytest.mark.only_on_bare("its faulty Tritons are images of that bench")


@pytest.fixture(params=[REPLICAS, REPLICAS + 1], ids=["no slice is spare", "a slice is spare"])
def slices(fleet: Fleet, request: pytest.FixtureRequest) -> Iterator[Fleet]:
    """As many slices as replicas, or one more."""
    with layout(fleet.cluster, {SLICE: request.param}):
        yield fleet
        for kind in ("yolodeployments", "deployments", "pods"):
            fleet.kubectl("delete", kind, "--all", "--force", "--grace-period=0", "--timeout=60s")


def rollout(fleet: Fleet) -> Object:
    told: Object = fleet.get("ydep", "gate").get("status", {}).get("rollout", {})
    return told


def wait_phase(fleet: Fleet, phase: str, *, timeout_s: float) -> Object:
    """Wait for a rollout's phase and return its status."""

    def check() -> Object | None:
        told = rollout(fleet)
        return told if told.get("phase") == phase else None

    return wait_for(f"rollout {phase}", check, timeout_s=timeout_s, seen=lambda: rollout(fleet))


def serve(fleet: Fleet, *, engine: Object = TINY, seconds: int = 10, **spec: object) -> None:
    fleet.deploy("gate", engine=engine, scaling=TWO, demand=DEMAND, rollout={"canarySeconds": seconds}, **spec)


def images_of(fleet: Fleet) -> set[str]:
    pods = fleet.items("pods", "yolofleet.dev/deployment=gate")
    return {pod["spec"]["containers"][0]["image"] for pod in pods}


def test_an_image_that_fails_is_taken_back_with_the_numbers_said(fleet: Fleet) -> None:
    """A quarter of its batches fail: seconds later the old one serves alone, and the condition has the shares."""
    fleet.cluster.load_images(["triton-failing"])
    serve(fleet)
    fleet.wait_serving("gate", REPLICAS)
    engine = fleet.engine_of("gate")
    client = pacing.pace(fleet, "gate", [RATE] * 20)
    client.started()
    serve(fleet, serving={"image": image_name("triton-failing")})
    told = wait_phase(fleet, "RolledBack", timeout_s=60)
    print(told)
    assert told["reason"] == "Errors"
    assert told["image"] == image_name("triton-failing")
    assert "by chance at most" in told["message"]
    progressing = fleet.wait_condition("gate", "Progressing", "False", reason="RolledBack", timeout_s=60)
    assert "requests failed" in progressing["message"]
    wait_for("the canary's pods to go", lambda: images_of(fleet) == {image_name("triton")}, timeout_s=60)
    assert fleet.engine_of("gate") == engine
    *_, seconds, _last = client.finished(timeout_s=90)
    print("failed in each second:", seconds["failed"])
    assert sum(seconds["failed"]) > 0, "the fault was real"


@pytest.mark.slow
def test_new_weights_lose_no_frame(slices: Fleet, files: str) -> None:
    """Weights of another source, so another engine: built, proved on a canary, and in: 0 failed requests, p99 ≤ 2 ×."""
    weights = ROOT / "model_repo_builder/src/model_repo_builder/weights/yolo26n-shapes.pt"
    model = {"http": {"url": f"{files}/good.pt", "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}}
    serve(slices)
    slices.wait_serving("gate", REPLICAS)
    engine = slices.engine_of("gate")
    client = pacing.pace(slices, "gate", [RATE] * SECONDS)
    client.started()
    began = client.lines()[0]["began"]
    time.sleep(BEFORE_S)
    serve(slices, model=model)
    wait_phase(slices, "Canary", timeout_s=90)
    proving = time.time() - began
    told = wait_phase(slices, "Promoted", timeout_s=120)
    ended = time.time() - began
    print(told)
    assert told["reason"] == "AsGood"
    assert told["previousEngine"] == engine != slices.engine_of("gate")
    assert ended < SECONDS, "the client saw all of it"
    *_, seconds, last = client.finished(timeout_s=240)
    print(f"canary from {proving:.0f} s, promoted at {ended:.0f} s; longest waits:", seconds["longest_ms"])
    assert last["failed"] == 0, last["errors"]
    before, during = p99s(seconds, 0, BEFORE_S), p99s(seconds, proving, ended)
    rest = {"building": p99s(seconds, BEFORE_S, proving), "after": p99s(seconds, ended, SECONDS)}
    print("p99 of each window before:", before, "ms; during:", during, rest)
    assert median(during) <= max(2 * median(before), NOISE_MS)


def p99s(seconds: Object, since: float, until: float) -> list[int]:
    """Return the p99 of each of the client's windows that begins in a time."""
    size = seconds["window_s"]
    told: list[int] = seconds["p99_ms"][math.ceil(since / size) : math.ceil(until / size)]
    return told


@pytest.mark.slow
def test_an_image_that_is_slow_is_taken_back_with_its_p99(fleet: Fleet) -> None:
    """A hundred milliseconds of sleep a frame break an objective of 50."""
    serve(fleet, seconds=70, objective={"p99LatencyMilliseconds": 50})
    fleet.wait_serving("gate", REPLICAS)
    client = pacing.pace(fleet, "gate", [15] * 120)
    client.started()
    slow = {"image": image_name("triton-sleeping")}
    serve(fleet, seconds=70, objective={"p99LatencyMilliseconds": 50}, serving=slow)
    told = wait_phase(fleet, "RolledBack", timeout_s=180)
    print(told)
    assert told["reason"] in ("Latency", "FramesPerSecond")
    *_, last = client.finished(timeout_s=180)
    assert last["failed"] == 0, last["errors"]

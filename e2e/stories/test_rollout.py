"""New engines and images under a client of 50 frames a second: a good one loses no frame, a worse one goes back."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from functools import partial

import pytest

from e2e import pacing
from e2e.fleet import ROOT, TINY, Fleet, Object, layout
from e2e.images import image_name
from e2e.waiting import wait_for

RATE = 50
SECONDS = 220
BEFORE_S = 20
SAME = 1.25
"""A rollout may cost frames so much more than the same work of a stranger: two spans of one run differ by as much."""
REPLICAS = 2
SLICE = "nvidia.com/mig-1g.10gb"
TWO = {"mode": "Declared", "minReplicas": REPLICAS, "maxReplicas": REPLICAS}
ONE = TWO | {"minReplicas": 1, "maxReplicas": 1}
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
def test_new_weights_lose_no_frame(slices: Fleet, files: str, request: pytest.FixtureRequest) -> None:
    """Weights of another source, so another engine: built, proved on a canary, and in: 0 failed requests, p99 ≤ 2 ×.

    On the bench two cores build, start Tritons, serve and ask; there a build and the start of a Triton cost frames more
    than that by themselves. So a stranger is built and started first, whom no frame is sent to: where that alone breaks
    the bound, a rollout may cost no more than it.
    """
    weights = ROOT / "model_repo_builder/src/model_repo_builder/weights/yolo26n-shapes.pt"
    model = {"http": {"url": f"{files}/good.pt", "sha256": hashlib.sha256(weights.read_bytes()).hexdigest()}}
    serve(slices)
    slices.wait_serving("gate", REPLICAS)
    engine = slices.engine_of("gate")
    spare = request.node.callspec.params["slices"] > REPLICAS
    client = pacing.pace(slices, "gate", [RATE] * SECONDS)
    client.started()
    now = partial(elapsed, client.lines()[0]["began"])
    spans = {"before": (1.0, looked_at(slices, until_s=BEFORE_S, now=now))}  # in the first second connections are new
    spans["beside"] = (now(), with_a_stranger(slices, model, spare=spare, now=now))
    began = now()
    serve(slices, model=model)
    wait_phase(slices, "Canary", timeout_s=90)
    spans["until the canary"] = (began, now())
    told = wait_phase(slices, "Promoted", timeout_s=120)
    slices.wait_serving("gate", REPLICAS)
    spans["rollout"] = (began, now())
    print(told)
    assert told["reason"] == "AsGood"
    assert told["previousEngine"] == engine != slices.engine_of("gate")
    assert now() < SECONDS, "the client saw all of it"
    *_, seconds, last = client.finished(timeout_s=240)
    assert last["failed"] == 0, last["errors"]
    p99 = {name: pacing.p99_ms(seconds["waits_ms"], *span) for name, span in spans.items()}
    print({name: (round(since), round(until), f"{p99[name]} ms") for name, (since, until) in spans.items()})
    assert p99["rollout"] <= max(2 * p99["before"], SAME * p99["beside"])


def elapsed(began: float) -> float:
    return time.time() - began


def looked_at(fleet: Fleet, *, until_s: float, now: Callable[[], float]) -> float:
    """Wait, and ask the API server as often as a story that waits for something: that takes the same cores."""
    wait_for("time to pass", lambda: fleet.get("ydep", "gate") and now() >= until_s, timeout_s=2 * until_s)
    return now()


def with_a_stranger(fleet: Fleet, model: Object, *, spare: bool, now: Callable[[], float]) -> float:
    """Build an engine of another size, and start a Triton with it where a slice is spare; return when that was over."""
    another = TINY | {"imageSize": {"height": 64, "width": 96}}
    fleet.deploy("beside", engine=another, model=model, scaling=ONE, demand=DEMAND)
    fleet.wait_condition("beside", "EngineReady", "True")
    if spare:
        fleet.wait_serving("beside")
    over = now()
    fleet.kubectl("delete", "ydep", "beside")
    gone = partial(fleet.items, "pods", "yolofleet.dev/deployment=beside")
    wait_for("the stranger to go", lambda: not gone(), timeout_s=60)
    return over


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

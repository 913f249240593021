"""Slices that nobody measured: an estimate finds a place for what is new, is told as one, and gives way."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.planning.worlds import (
    A100,
    ARTIFACT,
    H100,
    NOW,
    deployment,
    engine,
    group,
    labelled,
    node,
    pod,
    snapshot,
    spec,
)
from yolofleet.api.curve import Curve
from yolofleet.api.estimate import Work
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.plan import DeploymentPlan, Plan, plan
from yolofleet.planning.scaling.capacity import Capacity, settled
from yolofleet.planning.sizing.curves import recipe_from
from yolofleet.planning.sizing.estimating import estimated
from yolofleet.planning.snapshot import EngineView, Owner
from yolofleet.render.status import deployment_status, engine_status

YOLO11N = Work(megaflops=6543, activation_kilobytes=99_100, weight_kilobytes=5200, layers=90)
MIG = "nvidia.com/mig-"
LABELS = labelled(H100, resource=f"{MIG}1g.10gb", sms=16, mib=9984) | {
    f"{MIG}3g.40gb.multiprocessors": "60",
    f"{MIG}3g.40gb.memory": "40448",
}
NODES = (node("n1", {f"{MIG}1g.10gb": 4, f"{MIG}3g.40gb": 1}, labels=LABELS),)


def asked(ms: int = 100, **parts: Any) -> Any:
    told = {"engine": {"backend": "TensorRT"}, "objective": {"p99LatencyMilliseconds": ms}} | parts
    return spec(demand={"streams": 1, "framesPerSecond": "50"}, **told)


def built(done: DeploymentPlan, status: YoloEngineStatus) -> EngineView:
    """Return the engine that a plan wishes for."""
    assert done.wish is not None
    return replace(
        engine(status=status),
        name=done.wish.name,
        uid=f"uid-{done.wish.name}",
        spec=done.wish.spec,
        owners=(Owner("gate", "uid-gate"),),
    )


KNOWN = YoloEngineStatus(artifact=ARTIFACT, work=YOLO11N)


def first(view: Any, *engines: EngineView, nodes: Any = NODES) -> tuple[Plan, DeploymentPlan]:
    made = plan(snapshot(view, engines=engines, nodes=nodes))
    return made, made.deployments[0]


@pytest.mark.parametrize(
    ("product", "profile", "error"),
    [("NVIDIA-H200", "1g.18gb", "0.35"), (H100, "1g.10gb", "0.5"), (A100, "gpu", "0.5")],
)
def test_an_estimate_knows_how_far_it_may_be_off(product: str, profile: str, error: str) -> None:
    told = estimated(YOLO11N, recipe_from(asked(endpoints=["Ultralytics", "Frames", "JPEG"])), product, profile)
    assert told is not None
    assert (told.source, told.error) == ("Estimated", error)
    weights = {point.endpoint: point.host_bytes_per_frame for point in told.points}
    assert weights == {"Ultralytics": 640 * 640 * 12, "Frames": 640 * 640 * 3}, "of pictures nobody knows the size"
    assert max(point.batch for point in told.points) == 32


@pytest.mark.parametrize(
    ("parts", "product"),
    [
        ({"engine": {"backend": "ONNXRuntime"}}, H100),
        ({"engine": {"backend": "TensorRT", "precision": "FP32"}}, H100),
        ({"endpoints": ["JPEG"]}, H100),
        ({}, "NVIDIA-B200"),
        ({}, "NVIDIA-L4"),
        ({}, ""),
    ],
)
def test_what_no_figure_stands_behind_is_not_estimated(parts: dict[str, Any], product: str) -> None:
    assert estimated(YOLO11N, recipe_from(asked(**parts)), product, "gpu") is None


def test_a_published_engine_tunes_its_pods_by_an_estimate_and_says_so() -> None:
    view = deployment(asked=asked())
    _, before = first(view)
    assert before.measured is None
    made = built(before, KNOWN)
    _, done = first(deployment(asked=asked(), groups=(group("1g.10gb", made.name),)), made)
    assert done.measured is not None
    assert done.measured.origin == "Estimated"
    (tuned,) = done.groups[0].tuning
    assert tuned.model.cuda_graph_batches
    assert "give or take 50%" in tuned.message
    (told,) = deployment_status(done, NOW).groups
    assert told.curve == "Estimated"
    assert "fps (estimated, give or take 50%) within 100 ms" in done.judgement.placed.message
    measured = next(
        c for c in engine_status(plan(snapshot(engines=(made,))).engines[0], NOW).conditions if c.type == "Measured"
    )
    assert (measured.status, "by an estimate" in measured.message) == ("False", True)


def measured_curve(profile: str, fps: int, p99_ms: int) -> Curve:
    point = {"endpoint": "Ultralytics", "batch": 8, "instances": 1, "framesPerSecond": fps}
    point |= {"p50Microseconds": 1, "p99Microseconds": p99_ms * 1000}
    place = {"source": "Measured", "product": H100, "profile": profile, "smCount": 16}
    return Curve.model_validate(place | {"points": [point]})


def test_a_curve_that_is_told_goes_before_the_estimate() -> None:
    _, before = first(deployment(asked=asked()))
    told = KNOWN.model_copy(update={"curve": measured_curve("1g.10gb", 321, 20)})
    made = built(before, told)
    _, done = first(deployment(asked=asked()), made)
    assert done.measured == Capacity(321.0, "Measured")
    measured = next(
        c for c in engine_status(plan(snapshot(engines=(made,))).engines[0], NOW).conditions if c.type == "Measured"
    )
    assert (measured.status, measured.reason, measured.message) == ("True", "Measured", f"on 1g.10gb of {H100}")


def test_an_estimate_finds_the_slice_for_what_is_new_and_the_search_ends() -> None:
    """1g is built for first, as nobody knows better; its graph then says that 3g alone keeps the objective.

    What the first engine knows is kept until the second tells it itself: else the choice would swing back and forth.
    """
    wanted = asked(2)
    _, blind = first(deployment(asked=wanted))
    assert blind.profile == "1g.10gb"
    small = built(blind, KNOWN)
    _, seen = first(deployment(asked=wanted), small)
    assert seen.profile == "3g.40gb"
    assert seen.wish is not None
    large = built(seen, YoloEngineStatus(stage="Build"))
    owners, building = first(deployment(asked=wanted), small, large)
    assert (building.profile, building.wish) == ("3g.40gb", seen.wish)
    assert {one.wish.name: bool(one.owners) for one in owners.owners} == {small.name: True, large.name: True}
    owners, ready = first(deployment(asked=wanted), small, replace(large, status=KNOWN))
    assert {one.wish.name: bool(one.owners) for one in owners.owners} == {small.name: False, large.name: True}
    _, alone = first(deployment(asked=wanted), replace(large, status=KNOWN))
    assert (ready.profile, alone.profile) == ("3g.40gb", "3g.40gb")


def test_an_estimate_moves_nothing_that_serves() -> None:
    wanted = asked(2)
    _, blind = first(deployment(asked=wanted))
    small = built(blind, KNOWN)
    serves = {"groups": (group("1g.10gb", small.name),), "pods": (pod(profile="1g-10gb", engine=small.name),)}
    _, done = first(deployment(asked=wanted, **serves), small)
    assert done.profile == "1g.10gb"
    assert "by an estimate, which alone moves nothing that serves" in done.judgement.placed.message
    sure = replace(small, status=KNOWN.model_copy(update={"curves": [measured_curve("1g.10gb", 100, 20)]}))
    _, moved = first(deployment(asked=wanted, **serves), sure)
    assert moved.profile == "3g.40gb", "it is known to be too slow"


def test_what_replicas_show_goes_before_an_estimate_and_what_was_measured_before_both() -> None:
    guess, seen = Capacity(400.0, "Estimated"), Capacity(250.0, "Observed")
    assert settled(guess, None, None, since=None, now=NOW) == guess
    assert settled(guess, guess, 250.0, since=None, now=NOW) == seen
    assert settled(guess, seen, None, since=None, now=NOW) == seen
    assert settled(Capacity(300.0, "Measured"), seen, 250.0, since=None, now=NOW) == Capacity(300.0, "Measured")

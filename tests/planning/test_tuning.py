"""Pods run their models at the very point of the curve by which the plan counts them, and stand still while it does."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.worlds import A100, ARTIFACT, H100, deployment, engine, group, labelled, node, snapshot, spec
from tests.raw_objects import SETTINGS
from yolofleet.api.build import SERVE_ENV, ServeRequest
from yolofleet.api.curve import Curve
from yolofleet.api.tuning import ModelTuning
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.plan import DeploymentPlan, plan
from yolofleet.render.meta import INSTANCES_ANNOTATION, TEMPLATE_ANNOTATION
from yolofleet.render.serving import deployment as manifest

SLICES = {"nvidia.com/mig-1g.10gb": 4, "nvidia.com/mig-2g.20gb": 2}
POINTS = ((1, 1, 200, 6), (8, 1, 700, 14), (8, 2, 900, 22), (16, 2, 1000, 40))
"""Batch, instances, frames per second, p99 in ms."""


def curve(*points: tuple[int, int, int, float], endpoint: str = "Ultralytics", **given: Any) -> Curve:
    told = [
        {"endpoint": endpoint, "batch": batch, "instances": count, "framesPerSecond": fps}
        | {"p50Microseconds": 1, "p99Microseconds": round(p99_ms * 1000)}
        for batch, count, fps, p99_ms in points
    ]
    place = {"source": "Measured", "product": H100, "profile": "1g.10gb", "smCount": 16}
    return Curve.model_validate(place | {"points": told} | given)


def asked(ms: int = 50, **parts: Any) -> Any:
    return spec(
        objective={"p99LatencyMilliseconds": ms},
        scaling={"targetUtilizationPercent": 100},
        demand={"streams": 1, "framesPerSecond": "50"},
        **parts,
    )


def planned(wanted: Any, *curves: Curve, groups: tuple[Any, ...] = (), nodes: Any = None) -> DeploymentPlan:
    made = engine(wanted, status=YoloEngineStatus(artifact=ARTIFACT, curves=list(curves)))
    nodes = nodes or (node("n1", SLICES, labels=labelled()),)
    view = deployment(asked=wanted, groups=groups)
    (done,) = plan(snapshot(view, engines=(made,), nodes=nodes)).deployments
    return done


def request(done: DeploymentPlan) -> ServeRequest:
    (init,) = made(done)["spec"]["template"]["spec"]["initContainers"]
    told = next(one["value"] for one in init["env"] if one["name"] == SERVE_ENV)
    return ServeRequest.model_validate(json.loads(told))


def made(done: DeploymentPlan) -> dict[str, Any]:
    (told,) = done.groups
    return manifest(done.view, told, SETTINGS)


def numbers(done: DeploymentPlan) -> tuple[int, int]:
    (told,) = request(done).tuning or []
    return told.max_batch_size, told.instances


@pytest.mark.parametrize(("ms", "point"), [(10, (1, 1)), (20, (8, 1)), (30, (8, 2)), (50, (16, 2))])
def test_the_objective_decides_what_pods_are_generated_with(ms: int, point: tuple[int, int]) -> None:
    done = planned(asked(ms), curve(*POINTS))
    assert numbers(done) == point
    assert done.measured is not None
    assert done.measured.fps == {(batch, count): fps for batch, count, fps, _ in POINTS}[point]


def test_without_a_curve_the_request_is_what_it_was() -> None:
    assert request(planned(asked())).tuning is None
    assert "tuning" not in made(planned(asked()))["spec"]["template"]["spec"]["initContainers"][0]["env"][0]["value"]
    late = planned(asked(5), curve(*POINTS))
    assert request(late).tuning is None, "no point keeps the objective: the numbers of the spec stand"


def test_pods_with_several_instances_say_so_for_their_load_to_be_told() -> None:
    for ms, told in ((20, None), (50, "2")):
        template = made(planned(asked(ms), curve(*POINTS)))["spec"]["template"]
        assert template["metadata"].get("annotations", {}).get(INSTANCES_ANNOTATION) == told


def test_only_a_change_of_the_numbers_moves_pods() -> None:
    """Another figure of the curve, or an objective that the same point keeps, changes words and no pod."""

    def template(ms: int, *points: tuple[int, int, int, float]) -> str:
        return str(made(planned(asked(ms), curve(*points)))["metadata"]["annotations"][TEMPLATE_ANNOTATION])

    first = template(22, (8, 1, 700, 21.9), (1, 1, 200, 6))
    assert first == template(22, (8, 1, 700, 21.9), (1, 1, 200, 6))
    assert first == template(22, (8, 1, 701, 21.9), (1, 1, 210, 6))
    assert first != template(10, (8, 1, 700, 21.9), (1, 1, 200, 6))


def test_a_new_objective_goes_out_as_any_change_of_a_template_does() -> None:
    """The engine stays: nothing is built, no canary is asked for, the Deployment rolls its pods."""
    serves = (group("1g.10gb", engine(asked(50)).name),)
    before = planned(asked(50), curve(*POINTS), groups=serves)
    after = planned(asked(20), curve(*POINTS), groups=serves)
    assert (numbers(before), numbers(after)) == ((16, 2), (8, 1))
    assert before.groups[0].engine.name == after.groups[0].engine.name
    assert after.rollout is not None
    assert after.rollout.status is None
    assert (made(after)["spec"]["strategy"]["type"], after.groups[0].replicas) == ("RollingUpdate", 1)


def test_of_several_products_the_weakest_is_what_all_are_tuned_and_counted_as() -> None:
    nodes = (node("n1", SLICES, labels=labelled()), node("n2", SLICES, labels=labelled(A100)))
    done = planned(asked(), curve(*POINTS), curve((4, 1, 300, 20), product=A100), nodes=nodes)
    assert done.measured is not None
    assert (numbers(done), done.measured.fps) == ((4, 1), 300)


def test_each_endpoint_has_its_own_numbers() -> None:
    wanted = asked(endpoints=["Ultralytics", "Frames", "JPEG"])
    both = curve(*POINTS)
    frames = curve((32, 1, 4000, 30), endpoint="Frames")
    done = planned(wanted, both.model_copy(update={"points": [*both.points, *frames.points]}))
    assert [(one.endpoint, one.max_batch_size) for one in request(done).tuning or []] == [
        ("Frames", 32),
        ("Ultralytics", 16),
    ]


def test_an_engine_that_goes_on_serving_is_tuned_by_its_own_curve() -> None:
    """While a new engine is built, its curve, or that it has none, is nothing to the pods of the old one."""
    old, new = asked(), asked(engine={"backend": "ONNXRuntime", "maxBatchSize": 4})
    serving = engine(old, name="e-old", status=YoloEngineStatus(artifact=ARTIFACT, curves=[curve(*POINTS)]))
    view = deployment(asked=new, groups=(group("1g.10gb", "e-old"),))
    nodes = (node("n1", SLICES, labels=labelled()),)
    (done,) = plan(snapshot(view, engines=(serving, engine(new)), nodes=nodes)).deployments
    assert done.groups[0].engine.name == "e-old"
    assert [one.model for one in done.groups[0].tuning] == [
        ModelTuning(
            endpoint="Ultralytics",
            max_batch_size=16,
            instances=2,
            queue_delay_microseconds=done.groups[0].tuning[0].model.queue_delay_microseconds,
        )
    ]


points = st.tuples(
    st.sampled_from([1, 2, 4, 8, 16, 32, 64]), st.integers(1, 4), st.integers(1, 5000), st.integers(1, 150)
)


@settings(max_examples=60)
@given(st.lists(points, min_size=1, max_size=12), st.integers(1, 200), st.sampled_from(["Measured", "Estimated"]))
def test_what_is_counted_is_what_is_served(told: list[tuple[int, int, int, float]], ms: int, source: str) -> None:
    """The rate that placement and scaling count a replica with is that of the batch and instances it is run with."""
    done = planned(asked(ms), curve(*told, source=source, error="0.2" if source == "Estimated" else "0"))
    tuning = request(done).tuning
    assert (tuning is None) == (done.measured is None)
    if tuning is None or done.measured is None:
        return
    edge = 0.8 if source == "Estimated" else 1.0
    here = [fps * edge for batch, count, fps, _ in told if (batch, count) == numbers(done)]
    assert any(done.measured.fps == pytest.approx(fps) for fps in here)


def test_the_status_says_the_numbers_and_why() -> None:
    from tests.planning.worlds import NOW
    from yolofleet.render.status import deployment_status

    serves = (group("1g.10gb", engine(asked(50)).name),)
    done = planned(asked(50), curve(*POINTS), groups=serves)
    (told,) = deployment_status(done, NOW).groups
    assert told.tuning is not None
    assert (told.tuning[0].instances, told.tuning[0].max_batch_size) == (2, 16)
    assert "measured curve of 1g.10gb" in told.tuning[0].message
    status = deployment_status(done, NOW)
    kept = replace(done, view=replace(done.view, status=status), groups=())
    assert deployment_status(kept, NOW).groups[0].tuning == told.tuning, "what goes on serving goes on being told"

"""Slices that exist, chosen by curves: objective, demand, room; what runs is kept unless it cannot serve."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.worlds import A100, ARTIFACT, H100, deployment, engine, group, labelled, node, pod, snapshot, spec
from yolofleet.api.conditions import Reason
from yolofleet.api.curve import Curve, CurvePoint
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.plan import DeploymentPlan, plan
from yolofleet.planning.slices.profiles import slug
from yolofleet.planning.snapshot import Snapshot

MIG = "nvidia.com/mig-"
MIXED = {f"{MIG}1g.10gb": 2, f"{MIG}2g.20gb": 1, f"{MIG}3g.40gb": 1}
FPS = {"1g.10gb": (100, 40), "2g.20gb": (220, 20), "3g.40gb": (400, 9)}
"""Frames per second and p99 in ms of one replica, by profile."""


def curve(profile: str, fps: int, p99_ms: float, *, product: str = H100, **given) -> Curve:
    point = {"endpoint": "Ultralytics", "batch": 1, "instances": 1, "p50_microseconds": 1} | given
    made = CurvePoint(frames_per_second=fps, p99_microseconds=round(p99_ms * 1000), **point)
    return Curve(source="Measured", product=product, profile=profile, sm_count=16, points=[made])


CURVES = [curve(profile, *told) for profile, told in FPS.items()]


def world(*views, curves=CURVES, nodes=None, **given) -> Snapshot:
    made = engine(status=YoloEngineStatus(artifact=ARTIFACT, curves=list(curves)))
    nodes = nodes or (node("n1", MIXED, labels=labelled()),)
    return snapshot(*views, engines=(made,), nodes=nodes, **given)


def asked(ms: int = 100, fps: int | None = 50, **parts):
    demand = {} if fps is None else {"demand": {"streams": 1, "framesPerSecond": str(fps)}}
    scaling = {"targetUtilizationPercent": 100} | parts.pop("scaling", {})
    return spec(objective={"p99LatencyMilliseconds": ms}, scaling=scaling, **demand, **parts)


def planned(view, **given) -> DeploymentPlan:
    (made,) = plan(world(view, **given)).deployments
    return made


def got(view, **given) -> tuple[str, int]:
    made = planned(view, **given)
    return made.profile, made.desired.replicas


def running(profile: str, replicas: int = 1, **given):
    """Return a deployment that serves on a profile, with its pods."""
    pods = tuple(pod(f"p{n}", profile=slug(profile)) for n in range(replicas))
    held = group(profile, replicas=replicas, ready=replicas, engine=engine().name)
    return deployment(asked=given.pop("asked"), groups=(held,), pods=pods, **given)


@pytest.mark.parametrize(
    ("ms", "fps", "profile", "replicas"),
    [
        (100, 50, "1g.10gb", 1),
        (100, 180, "1g.10gb", 2),
        (30, 50, "2g.20gb", 1),
        (10, 50, "3g.40gb", 1),
        (100, 300, "3g.40gb", 1),  # three small ones are not there
        (100, None, "1g.10gb", 1),
        (30, None, "2g.20gb", 1),
    ],
)
def test_the_objective_and_the_demand_choose(ms, fps, profile, replicas) -> None:
    assert got(deployment(asked=asked(ms, fps)))[0] == profile
    if fps is not None:
        assert got(deployment(asked=asked(ms, fps)))[1] == replicas


def test_why_names_the_figures_and_why_no_smaller_one() -> None:
    told = planned(deployment(asked=asked(30))).judgement.placed.message
    assert told.startswith("2g.20gb: 1 × 220 fps within 30 ms for 50 fps declared")
    assert "1g.10gb: its p99 is 40.0 ms at best, the objective 30 ms" in told
    many = planned(deployment(asked=asked(100, 300))).judgement.placed.message
    assert "2 × 2g.20gb would leave more unserved: too few are free" in many


def test_without_a_curve_all_is_as_it_was() -> None:
    made = planned(deployment(asked=asked(30)), curves=[])
    assert (made.profile, made.judgement.placed.message) == (
        "1g.10gb",
        "1g.10gb: the smallest profile that is offered and allowed",
    )


def test_an_objective_that_no_slice_keeps_is_told() -> None:
    made = planned(deployment(asked=asked(5)))
    assert made.profile == "1g.10gb"
    assert "by its curves none serves: 1g.10gb: its p99 is 40.0 ms at best" in made.judgement.placed.message


def test_what_the_spec_does_not_allow_is_not_taken() -> None:
    allowed = asked(placement={"profiles": ["2g.20gb", "3g.40gb"]})
    assert got(deployment(asked=allowed))[0] == "2g.20gb"
    other = asked(placement={"products": [A100]})
    assert planned(deployment(asked=other)).judgement.placed.reason == Reason.NO_MATCHING_PROFILE


def test_slices_of_other_people_and_of_this_fleet_are_not_free() -> None:
    view, at = deployment(asked=asked()), ("n1", f"{MIG}1g.10gb")
    for given_ in (
        {"devices_foreign": {at: 2}},
        {"devices_used": {at: 2}},
        {"devices_foreign": {at: 1}, "devices_used": {at: 1}},
    ):
        assert got(view, **given_)[0] == "2g.20gb"
    assert got(view, devices_foreign={at: 1})[0] == "1g.10gb"


def test_two_of_one_pass_do_not_get_the_same_slice() -> None:
    views = [deployment(name, asked=asked(30)) for name in ("a", "b")]
    first, second = plan(world(*views)).deployments
    assert (first.profile, second.profile) == ("2g.20gb", "3g.40gb")


def test_who_is_suspended_takes_no_slice_from_others() -> None:
    idle = deployment("a", asked=asked(30, suspend=True))
    assert plan(world(idle, deployment("b", asked=asked(30)))).deployments[1].profile == "2g.20gb"


def test_what_runs_is_kept_while_another_kind_is_not_clearly_better() -> None:
    # 180 fps: 1 × 2g takes a quarter of a GPU, 2 × 1g a quarter as well.
    for profile, count in (("2g.20gb", 1), ("1g.10gb", 2)):
        assert got(running(profile, count, asked=asked(100, 180))) == (profile, count)
    # 1 × 3g takes half a GPU where 1 × 1g would do: clearly too much, if that is declared.
    assert got(running("3g.40gb", asked=asked(100, 50)))[0] == "1g.10gb"
    seen_only = running("3g.40gb", asked=asked(100, None))
    assert got(seen_only)[0] == "3g.40gb"


def test_what_runs_goes_when_it_cannot_keep_the_objective_and_only_then() -> None:
    view = running("1g.10gb", asked=asked(30, 50))
    made = planned(view)
    assert (made.profile, made.kept) == ("2g.20gb", ("gate-1g-10gb",)), "the old one serves until the new one does"
    full = {("n1", f"{MIG}2g.20gb"): 1, ("n1", f"{MIG}3g.40gb"): 1}
    stays = planned(view, devices_foreign=full)
    assert (stays.profile, stays.kept) == ("1g.10gb", ()), "no slice is free for a successor"


def test_what_runs_goes_when_its_slices_do_not_suffice() -> None:
    used = {("n1", f"{MIG}1g.10gb"): 2}
    assert got(running("1g.10gb", 2, asked=asked(100, 390)), devices_used=used)[0] == "3g.40gb"
    bound = asked(100, 390, scaling={"maxReplicas": 1})
    assert got(running("1g.10gb", 1, asked=bound), devices_used=used)[0] == "3g.40gb"


def test_a_kind_that_nobody_measured_is_not_left() -> None:
    assert got(running("1g.10gb", asked=asked(30)), curves=CURVES[1:])[0] == "1g.10gb"


def test_a_move_goes_on_where_it_began() -> None:
    view = running("1g.10gb", asked=asked(30, 50))
    both = replace(view, groups=(*view.groups, group("2g.20gb", replicas=1, ready=0, name="gate-2g", engine="e-x")))
    made = planned(both)
    assert (made.profile, made.kept) == ("2g.20gb", ("gate-1g-10gb",))
    done = replace(both, groups=(view.groups[0], replace(both.groups[1], ready_replicas=1)))
    assert planned(done).kept == ()


def test_curves_speak_for_the_same_recipe_of_the_same_namespace_only() -> None:
    other = asked(30, model={"builtin": "yolo11s"})
    assert got(deployment(asked=other))[0] == "1g.10gb"
    assert got(deployment(asked=asked(30), namespace="elsewhere"))[0] == "1g.10gb"


def test_points_at_several_instances_count_because_pods_run_so_many() -> None:
    both = [curve("1g.10gb", 500, 10, instances=2), *CURVES[1:]]
    assert got(deployment(asked=asked(30)), curves=both)[0] == "1g.10gb"


def test_points_at_batches_that_the_engine_cannot_do_do_not_count() -> None:
    large = [curve("1g.10gb", 500, 10, batch=64), *CURVES[1:]]
    assert got(deployment(asked=asked(30)), curves=large)[0] == "2g.20gb"


def test_a_pools_prices_are_what_slices_cost() -> None:
    from tests.planning.worlds import pool

    nodes = (
        node("n1", {f"{MIG}1g.10gb": 7}, labels=labelled()),
        node("n2", {f"{MIG}1g.10gb": 7}, labels=labelled(A100)),
    )
    exact = {"engine": {"backend": "TensorRT"}}
    view = deployment(asked=asked(100, 50, **exact))
    made = engine(
        view.spec, status=YoloEngineStatus(curves=[curve("1g.10gb", 100, 40), curve("1g.10gb", 90, 40, product=A100)])
    )
    for costs, product in (({H100: "2", A100: "3"}, H100), ({H100: "4", A100: "3"}, A100)):
        told = pool(costs=[{"product": name, "perGPUHour": price} for name, price in costs.items()])
        (done,) = plan(snapshot(view, engines=(made,), nodes=nodes, pools=(told,))).deployments
        assert done.measured is not None
        assert done.measured.fps == {H100: 100, A100: 90}[product]


profiles = st.sampled_from(sorted(FPS))


@st.composite
def fleets(draw: st.DrawFn) -> Snapshot:
    """Draw deployments that run somewhere or nowhere, slices that others hold, and curves for some profiles."""
    views = []
    for name in draw(st.lists(st.sampled_from("abcd"), unique=True, min_size=1)):
        wish = asked(draw(st.sampled_from((5, 10, 30, 100))), draw(st.sampled_from((None, 10, 180, 390))))
        if (at := draw(st.none() | profiles)) is not None:
            count = draw(st.integers(1, 3))
            views.append(replace(running(at, count, asked=wish), name=name, uid=f"uid-{name}"))
        else:
            views.append(deployment(name, asked=wish))
    told = [curve(profile, *FPS[profile]) for profile in draw(st.lists(profiles, unique=True))]
    places = st.tuples(st.just("n1"), st.sampled_from(sorted(MIXED)))
    counts = st.dictionaries(places, st.integers(0, 3))
    return world(*views, curves=told, devices_used=draw(counts), devices_foreign=draw(counts))


@settings(max_examples=60)
@given(fleets())
def test_what_was_decided_is_decided_again_once_it_runs(before: Snapshot) -> None:
    """No flapping: after every decision was carried out, the next pass decides the same."""
    moved, used = [], {}
    for made in plan(before).deployments:
        count = min(made.desired.replicas, 1)
        used[made.profile] = used.get(made.profile, 0) + count
        moved.append(
            replace(running(made.profile, count, asked=made.view.spec), name=made.view.name, uid=made.view.uid)
        )
    nodes = (
        node(
            "n1", {f"{MIG}{p}": max(9, n) for p, n in used.items()} | {f"{MIG}{p}": 9 for p in FPS}, labels=labelled()
        ),
    )
    engines = tuple(before.engines.values())
    held = {("n1", f"{MIG}{profile}"): count for profile, count in used.items()}
    first = plan(snapshot(*moved, engines=engines, nodes=nodes, devices_used=held)).deployments
    again = [replace(running(p.profile, 1, asked=p.view.spec), name=p.view.name, uid=p.view.uid) for p in first]
    second = plan(snapshot(*again, engines=engines, nodes=nodes, devices_used=held)).deployments
    assert [p.profile for p in second] == [p.profile for p in first]

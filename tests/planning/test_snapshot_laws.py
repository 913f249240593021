"""Laws of plans from snapshots: each holds before the checker without a solver, and the way there is legal."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning import files
from tests.planning.packings import LAW
from yolofleet.api.outcome import PlanFile
from yolofleet.api.snapshot import SnapshotFile
from yolofleet.cli.simulate import wire
from yolofleet.planning.capabilities import Gpu, gpu_of
from yolofleet.planning.layouts.geometry import Layout, conflict, lattice_of, layouts
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState
from yolofleet.planning.layouts.transition import Transition, after, served
from yolofleet.planning.packing.proving import Case, checked
from yolofleet.planning.slices.host_link import USABLE, link_of
from yolofleet.planning.whatif.optimum import PoolOptimum, optima

WHOLE_PLAN = settings(LAW, max_examples=max(8, LAW.max_examples // 4))
"""A case is a whole plan, two for the law of same bytes: a quarter as many."""
A30 = "NVIDIA-A30"
FRAME = 5_000_000


def known(product: str) -> Gpu:
    found = gpu_of(product)
    assert isinstance(found, Gpu)
    return found


PLAIN: dict[str, tuple[Layout, ...]] = {
    product: layouts(lattice_of(known(product), [p.profile for p in known(product).profiles if "+" not in p.profile]))
    for product in (A30, files.H100)
}
WORTH = {
    A30: {"1g.6gb": (150, 30), "2g.12gb": (320, 20), "4g.24gb": (600, 9)},
    files.H100: files.WORTH | {"7g.80gb": (3000, 6)},
}


def engine(host_bytes: int = 0) -> dict[str, Any]:
    told = [
        files.curve(profile, fps, ms, product) for product, mine in WORTH.items() for profile, (fps, ms) in mine.items()
    ]
    for one in told:
        one["points"][0]["hostBytesPerFrame"] = host_bytes
    return {"namespace": "cams", "name": "e-1", "recipe": files.recipe(), "curves": told}


@st.composite
def gpus(draw: st.DrawFn, product: str, owners: tuple[str, ...], count: int) -> list[dict[str, Any]]:
    made = []
    for index in range(count):
        slots: list[dict[str, Any]] = []
        for one in draw(st.sampled_from(PLAIN[product])):
            who = draw(st.sampled_from(("free", "foreign", *owners)))
            held = {"owner": who} if who in ("free", "foreign") else {"owner": "fleet", "deployment": f"cams/{who}"}
            slots.append({"profile": one.profile, "start": one.start} | held)
        made.append({"index": index, "layout": slots})
    return made


@st.composite
def snapshots(draw: st.DrawFn) -> SnapshotFile:
    """Up to three nodes in two zones whose places are told, up to three deployments, reserves, prices, priorities."""
    names = ("gate", "yard", "dock")[: draw(st.integers(1, 3))]
    nodes = []
    for at in range(draw(st.integers(1, 3))):
        product = draw(st.sampled_from((A30, files.H100)))
        layout = draw(gpus(product, names, draw(st.integers(1, 2))))
        parts = {"zone": draw(st.sampled_from(("east", "west"))), "gpus": layout, "gpuCount": None}
        nodes.append(files.node(name=f"n{at}", slices={}, product=product, **parts))
    deployments = []
    for name in names:
        scaling = {"minReplicas": draw(st.integers(1, 3))}
        ms = draw(st.sampled_from((8, 12, 25, 100)))
        made = files.deployment(name, draw(st.integers(1, 60)), ms, scaling=scaling)
        deployments.append(made | {"priority": draw(st.integers(0, 2))})
    pool: dict[str, Any] = {"costs": [{"product": A30, "perGPUHour": "1"}, {"product": files.H100, "perGPUHour": "4"}]}
    if draw(st.booleans()):
        pool["reserved"] = [
            {"profile": draw(st.sampled_from(("1g.10gb", "2g.12gb"))), "count": draw(st.integers(1, 2))}
        ]
    told = files.snapshot(nodes=nodes, deployments=deployments, pools=[{"name": "default", "spec": pool}])
    told["engines"] = [engine(draw(st.sampled_from((0, FRAME, 40 * FRAME))))]
    return SnapshotFile.model_validate_json(json.dumps(told))


def planned(given: SnapshotFile) -> PoolOptimum:
    ((found,), lost) = optima(given)
    assert lost == ()
    return found


@given(snapshots())
@WHOLE_PLAN
def test_every_plan_holds_before_the_checker(given: SnapshotFile) -> None:
    found = planned(given)
    case = Case(found.survey.stock, [one.need for one in found.survey.sized], found.survey.lattices)
    told = checked(case, PlanFile.model_validate_json(json.dumps(wire(found.plan))))
    assert told.faults == ()
    assert (told.bound is None) == (found.plan.bound is None)


@given(snapshots())
@WHOLE_PLAN
def test_every_prefix_is_legal_nobody_falls_below_the_floor_and_others_stay(given: SnapshotFile) -> None:
    found = planned(given)
    survey = found.survey
    rates = {one.need.name: one.need.rates for one in survey.sized}
    then = served([GpuState("x", gpu.product, gpu.slices) for gpu in found.plan.gpus], rates)
    now = served(survey.today, rates)
    floors = {one.need.name: min(now[one.need.name], then[one.need.name], one.need.demand) for one in survey.sized}
    state = survey.today
    for step in found.transition.steps:
        state = after(state, step, survey.lattices)
        for gpu in state:
            assert conflict(survey.lattices[gpu.product], [one for one, _ in gpu.slices]) is None
        told = served(state, rates)
        assert all(told[name] >= floor * (1 - 1e-6) for name, floor in floors.items())
    assert state == found.transition.final
    for before, last in zip(survey.today, state, strict=True):
        assert {s for s in before.slices if s[1] == FOREIGN} == {s for s in last.slices if s[1] == FOREIGN}


@given(snapshots())
@WHOLE_PLAN
def test_busy_slices_stay_unless_they_are_drained_first(given: SnapshotFile) -> None:
    found = planned(given)
    left = {(gpu.name, one): owner for gpu in found.survey.today for one, owner in gpu.slices if owner}
    for step in found.transition.steps:
        key = (step.gpu, step.slice)
        if step.move == "drain":
            assert left.pop(key) == step.owner
        elif step.move == "start":
            assert key not in left
            left[key] = str(step.owner)
        else:
            assert key not in left
    final = {(gpu.name, one): owner for gpu in found.transition.final for one, owner in gpu.slices if owner}
    assert final == left


@given(snapshots(), st.randoms())
@WHOLE_PLAN
def test_the_same_snapshot_in_any_order_gives_the_same_bytes(given: SnapshotFile, dice: Any) -> None:
    def mixed(items: list[Any]) -> list[Any]:
        return dice.sample(items, len(items))

    other = given.model_copy(update={"nodes": mixed(given.nodes), "deployments": mixed(given.deployments)})

    def words(one: PoolOptimum) -> str:
        way: Transition = one.transition
        return json.dumps(wire(one.plan)) + repr((way, one.notes))

    assert words(planned(given)) == words(planned(other))


@given(snapshots())
@WHOLE_PLAN
def test_no_gpu_takes_more_from_the_host_than_its_link_carries(given: SnapshotFile) -> None:
    found = planned(given)
    size = given.engines[0].curves[0].points[0].host_bytes_per_frame
    use = given.deployments[0].spec.scaling.target_utilization_percent / 100
    rates = {one.need.name: one.need.rates for one in found.survey.sized}
    for gpu in found.plan.gpus:
        mine = [
            rates[who].get((gpu.product, one.profile), 0.0)
            for one, who in gpu.slices
            if who in found.survey.deployments
        ]  # 0: kept, though its objective is no longer met there
        link = link_of(gpu.product)
        assert link == pytest.approx((known(gpu.product).host_gb_s or 0) * 1e9 * USABLE)
        assert sum(mine) * size <= (link or 0) * use * (1 + 1e-9)


def test_slices_of_others_are_planned_around_where_their_places_are_seen() -> None:
    layout = [{"profile": "1g.10gb", "start": 6, "owner": "foreign"}]
    seen = files.snapshot(
        nodes=[files.node(slices={}, gpus=[{"index": 0, "layout": layout}], gpuCount=1)],
        deployments=[files.deployment("gate", 30, 12)],
    )
    found = planned(SnapshotFile.model_validate_json(json.dumps(seen)))
    assert (found.plan.cost, found.plan.bound) == (0.0, 0.0)
    assert [(one.profile, who) for one, who in found.transition.final[0].slices] == [
        ("3g.40gb", "cams/gate"),
        ("1g.10gb", FOREIGN),
    ]


def test_what_a_pool_reserves_is_cut_and_left_free_and_a_lack_is_told() -> None:
    pools = [{"name": "default", "spec": {"reserved": [{"profile": "3g.40gb", "count": 1, "purpose": "Build"}]}}]
    parts: dict[str, Any] = {"slices": {"nvidia.com/mig-7g.80gb": 1}, "gpuCount": 1}
    one = files.snapshot(nodes=[files.node(**parts)], deployments=[files.deployment("gate", 30, 12)], pools=pools)
    found = planned(SnapshotFile.model_validate_json(json.dumps(one)))
    assert [(s.profile, who) for s, who in found.transition.final[0].slices] == [
        ("3g.40gb", None),
        ("3g.40gb", "cams/gate"),
    ] or [(s.profile, who) for s, who in found.transition.final[0].slices] == [
        ("3g.40gb", "cams/gate"),
        ("3g.40gb", None),
    ]
    more = one | {"deployments": [files.deployment("gate", 120, 12)]}
    short = planned(SnapshotFile.model_validate_json(json.dumps(more)))
    assert short.plan.unserved == {"cams/gate": pytest.approx(600.0)}
    strange = [{"name": "default", "spec": {"reserved": [{"profile": "5g.50gb", "count": 2}]}}]
    notes = planned(SnapshotFile.model_validate_json(json.dumps(one | {"pools": strange}))).notes
    assert "reserved[5g.50gb]: no GPU here can be cut so: 2 are kept free of nothing" in notes


@pytest.mark.parametrize(("backend", "profile"), [("TensorRT", "1g.6gb+me"), ("ONNXRuntime", "1g.6gb")])
def test_jpeg_that_a_gpu_decodes_gets_the_slice_that_has_the_engine(backend: str, profile: str) -> None:
    told = files.curve("1g.6gb", 100, 10, A30)
    told["points"][0]["endpoint"] = "JPEG"
    asked = files.deployment("gate", 4, 50, endpoints=["JPEG"], engine={"backend": backend})
    made = engine() | {"recipe": files.recipe(endpoints=["JPEG"], backend=backend), "curves": [told]}
    node = files.node(product=A30, slices={"nvidia.com/mig-1g.6gb": 4}, gpuCount=1)
    found = planned(
        SnapshotFile.model_validate_json(
            json.dumps(files.snapshot(nodes=[node], deployments=[asked], engines=[made], pools=[]))
        )
    )
    assert [share.slices for share in found.plan.shares] == [(((A30, profile), 1),)]


def test_a_narrow_link_asks_for_more_gpus_and_the_node_may_say_what_it_carries() -> None:
    def needed(host_bytes: int, **node: Any) -> float:
        nodes = [files.node(name=f"n{at}", slices={"nvidia.com/mig-7g.80gb": 1}, gpuCount=1, **node) for at in range(4)]
        asked = [files.deployment("gate", 100, 12)]
        told = files.snapshot(nodes=nodes, deployments=asked, engines=[engine(host_bytes)], pools=[])
        return planned(SnapshotFile.model_validate_json(json.dumps(told))).plan.cost

    assert needed(0) == needed(FRAME) == 1
    assert needed(FRAME, hostGigabytesPerSecond=5) == 2  # 1,500 fps of 5 MB are 7.5 GB/s

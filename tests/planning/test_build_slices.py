"""The four ways of a build to its slice, and laws over drawn fleets: no floor is broken, nothing is given twice."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planning.worlds import (
    H100,
    NOW,
    PUBLISHED,
    backing_off,
    deployment,
    engine,
    group,
    job,
    labelled,
    node,
    pool,
    snapshot,
    spec,
)
from yolofleet.api.build import BuildSlice
from yolofleet.api.conditions import Condition, Reason
from yolofleet.api.recipe import Target
from yolofleet.api.yolodeployment import ScalingStatus, YoloDeploymentStatus
from yolofleet.planning.builds.building import SLICE_WAIT_S
from yolofleet.planning.builds.slices import Given, NotYet, Shelf, Stock, lender_of, shelf_of
from yolofleet.planning.engines import verdict
from yolofleet.planning.plan import plan, plan_engines
from yolofleet.planning.snapshot import EngineView, Lender, Snapshot

MIG = "nvidia.com/mig-1g.10gb"
SMALL = Target(compute_capability="9.0", sm_count=16, memory_mib=9984)
LARGE = Target(compute_capability="9.0", sm_count=60, memory_mib=40448)
LABELS = labelled(H100, resource=MIG, sms=16, mib=9984)
DEFAULT = frozenset({"default"})


def stock(total: int = 7, held: int = 0, **given: int | str | Target) -> Stock:
    facts = {"pool": "default", "profile": "1g.10gb", "resource": MIG, "product": H100, "target": SMALL}
    return Stock(**(facts | {"product_labels": (H100,), "node_selector": (), "total": total, "held": held} | given))


def lender(name: str = "gate", replicas: int = 2, floor: int = 1, **given: int | str) -> Lender:
    facts = {"namespace": "cams", "pool": "default", "profile": "1g.10gb", "product": H100}
    return Lender(name=name, replicas=replicas, floor=floor, **(facts | given))


def way(*stocks: Stock, lenders: tuple[Lender, ...] = ()) -> str:
    given, _ = Shelf(stocks, lenders).give(SMALL, DEFAULT)
    return given.taken.way if isinstance(given, Given) else "wait"


# The order


def test_a_free_slice_goes_first() -> None:
    assert way(stock(7, 6), lenders=(lender(),)) == "Free"
    assert way(stock(7, 5, kept_for_builds=1), lenders=(lender(),)) == "Free"


def test_then_one_that_is_kept_for_builds() -> None:
    assert way(stock(7, 6, kept_for_builds=1), lenders=(lender(),)) == "Reserved"


def test_then_one_that_a_deployment_lends() -> None:
    assert way(stock(7, 7), lenders=(lender(),)) == "Borrowed"
    assert way(stock(7, 7, kept_for_builds=1), lenders=(lender(),)) == "Borrowed"


def test_what_is_kept_warm_is_for_replicas() -> None:
    assert way(stock(7, 6, kept_warm=1)) == "wait"
    assert way(stock(7, 6, kept_warm=1, kept_for_builds=1)) == "wait"
    assert way(stock(7, 5, kept_warm=1, kept_for_builds=1)) == "Reserved"


def test_else_it_waits_and_says_for_what() -> None:
    given, left = Shelf((stock(7, 7),), (lender("gate", 2, 2), lender("yard", 3, 3))).give(SMALL, DEFAULT)
    assert isinstance(given, NotYet)
    assert "0 of 7 1g.10gb of MigPool default are free" in given.why
    assert "cams/gate (floor 2), cams/yard (floor 3)" in given.why
    assert left.stocks == (stock(7, 7),)


def test_a_slice_that_no_node_has_is_named() -> None:
    given, _ = Shelf((stock(),)).give(LARGE, DEFAULT)
    assert isinstance(given, NotYet)
    assert "60 SMs and 40448 MiB" in given.why
    assert "have GPUs cut so" in given.why


def test_who_has_most_above_its_floor_lends_and_is_named() -> None:
    lenders = (lender("a", 3, 2), lender("b", 6, 2), lender("c", 9, 8))
    given, _ = Shelf((stock(7, 7),), lenders).give(SMALL, DEFAULT)
    assert isinstance(given, Given)
    assert given.taken.lender is not None
    assert given.taken.lender.name == "b"
    assert "lent by cams/b, 4 above its floor of 2" in given.why


@pytest.mark.parametrize("other", [{"pool": "east"}, {"profile": "2g.20gb"}, {"product": "NVIDIA-A100"}])
def test_only_who_serves_on_the_same_kind_of_slice_can_lend_it(other) -> None:
    assert way(stock(7, 7), lenders=(replace(lender(), **other),)) == "wait"


def test_a_pool_that_no_owner_serves_from_gives_nothing() -> None:
    given, _ = Shelf((stock(pool="east"),)).give(SMALL, DEFAULT)
    assert isinstance(given, NotYet)
    assert isinstance(Shelf((stock(pool="east"),)).give(SMALL, frozenset({"east"}))[0], Given)


# Laws


stocks = st.builds(
    lambda total, held, build, warm, pool: stock(total, held, kept_for_builds=build, kept_warm=warm, pool=pool),
    st.integers(0, 7),
    st.integers(0, 9),
    st.integers(0, 2),
    st.integers(0, 2),
    st.sampled_from(("default", "east")),
)
lenders = st.builds(
    lambda name, replicas, floor, lent, pool: lender(name, replicas, floor, lent=lent, pool=pool),
    st.sampled_from("abcd"),
    st.integers(0, 6),
    st.integers(0, 4),
    st.integers(0, 3),
    st.sampled_from(("default", "east")),
)
shelves = st.builds(
    lambda some, others: Shelf(tuple(some), tuple(others)),
    st.lists(stocks, max_size=2, unique_by=lambda one: one.pool),
    st.lists(lenders, max_size=4, unique_by=lambda one: one.name),
)


def served(shelf: Shelf, builds: int) -> list[tuple[Given | NotYet, Shelf]]:
    """Ask again and again; return each answer with what was left after it."""
    told = []
    for _ in range(builds):
        answer, shelf = shelf.give(SMALL, frozenset({"default", "east"}))
        told.append((answer, shelf))
    return told


@given(shelves, st.integers(1, 12))
def test_no_deployment_is_ever_below_its_floor_and_no_slice_is_given_twice(shelf: Shelf, builds: int) -> None:
    answers = served(shelf, builds)
    taken = [answer.taken for answer, _ in answers if isinstance(answer, Given)]
    for one in shelf.lenders:
        lent = sum(1 for t in taken if t.lender is not None and t.lender.name == one.name)
        assert lent == 0 or one.replicas - one.lent - lent >= one.floor
    for one in shelf.stocks:
        unlent = [t for t in taken if t.pool == one.pool and t.way != "Borrowed"]
        assert len(unlent) <= one.unheld
        assert sum(1 for t in unlent if t.way == "Reserved") <= one.kept_for_builds
        assert not unlent or one.unheld - len(unlent) >= min(one.kept_warm, one.unheld)


@given(shelves, st.integers(1, 12))
def test_a_build_waits_only_where_nothing_is_left_and_goes_on_waiting_until_something_is(
    shelf: Shelf, builds: int
) -> None:
    answers = served(shelf, builds)
    for (answer, left), (later, _) in pairwise(answers):
        if isinstance(answer, NotYet):
            assert isinstance(later, NotYet)
            assert all(one.unheld <= one.kept_warm for one in left.stocks)
            kinds = {one.pool for one in left.stocks}
            assert all(one.spare == 0 for one in left.lenders if one.pool in kinds)


@given(shelves)
def test_the_same_shelf_gives_the_same(shelf: Shelf) -> None:
    turned = replace(shelf, lenders=tuple(reversed(shelf.lenders)))
    assert served(shelf, 3)[-1][0] == served(turned, 3)[-1][0]


# In a fleet


def wanting(name: str = "e-new", **given) -> EngineView:
    """Return an engine that is compiled for the small slice."""
    made = engine(spec(engine={"backend": "ONNXRuntime"}), name=name, **given)
    return replace(made, spec=made.spec.model_copy(update={"target": SMALL}))


def fleet(*views: EngineView, held: int = 7, **given) -> Snapshot:
    nodes = (node("n1", {MIG: 7}, labels=LABELS),)
    return snapshot(engines=views, nodes=nodes, devices_used={("n1", MIG): held}, **given)


def on(way: str, **given) -> BuildSlice:
    told = {"way": way, "pool": "default", "profile": "1g.10gb", "resource": MIG, "product": H100}
    return BuildSlice.model_validate(told | given)


BORROWED = on("Borrowed", lender={"namespace": "cams", "name": "gate"})


def test_a_build_without_a_target_takes_no_slice() -> None:
    (told,) = plan_engines(fleet(engine()))
    assert told.start
    assert told.slice is None


def test_a_build_that_starts_begins_with_the_timings_of_an_engine_that_stands() -> None:
    stands = wanting("e-stands", status=PUBLISHED)
    update = {"recipe": stands.spec.recipe.model_copy(update={"backend": "TensorRT"}), "key": "d" * 64}
    stands = replace(stands, spec=stands.spec.model_copy(update=update))
    new = wanting()
    new = replace(new, spec=new.spec.model_copy(update={"recipe": stands.spec.recipe}))
    told = {one.view.name: one for one in plan_engines(fleet(new, stands, held=6))}
    assert (told["e-new"].start, told["e-new"].timings_of) == (True, "d" * 64)
    (alone,) = plan_engines(fleet(new, held=6))
    assert (alone.start, alone.timings_of) == (True, None)
    (waits, _) = plan_engines(fleet(new, stands, held=7))
    assert (waits.start, waits.timings_of) == (False, None)


def test_a_build_that_starts_says_how_it_came_by_its_slice() -> None:
    (told,) = plan_engines(fleet(wanting(), held=6))
    assert told.start
    assert told.slice is not None
    assert told.slice.taken == on("Free")
    assert told.slice.stock.product_labels == (H100,)
    assert "1g.10gb (Free): 1 of 7 are free" in told.message


def test_two_builds_do_not_share_one_slice() -> None:
    first, second = plan_engines(fleet(wanting("e-1"), wanting("e-2"), held=6))
    assert (first.start, second.start) == (True, False)
    assert second.reason == Reason.WAITING_FOR_BUILD_SLICE
    assert second.due is not None


def test_what_a_build_without_a_node_was_promised_is_not_free() -> None:
    waiting = wanting("e-0", job=job(slice=on("Free"), unplaced=True, started=NOW))
    _, told = plan_engines(fleet(waiting, wanting("e-1"), held=6))
    assert told.reason == Reason.WAITING_FOR_BUILD_SLICE


def test_the_pools_reserve_is_counted_down_by_the_builds_that_run_on_it() -> None:
    kept = pool(reserved=[{"profile": "1g.10gb", "count": 1, "purpose": "Build"}])
    (told,) = plan_engines(fleet(wanting(), held=6, pools=(kept,)))
    assert told.slice is not None
    assert told.slice.taken.way == "Reserved"
    runs = wanting("e-0", job=job(slice=on("Reserved")))
    (one,) = shelf_of(fleet(runs, held=6, pools=(kept,))).stocks
    assert one.kept_for_builds == 0


def test_other_peoples_pods_hold_slices_too() -> None:
    (told,) = plan_engines(fleet(wanting(), held=6, devices_foreign={("n1", MIG): 1}))
    assert told.reason == Reason.WAITING_FOR_BUILD_SLICE


def scaled(replicas: int = 3, least: int = 1, **parts):
    """Return a deployment that serves with so many replicas, all ready."""
    asked = spec(scaling={"minReplicas": least, "maxReplicas": 8} | parts)
    told = YoloDeploymentStatus(
        scaling=ScalingStatus(desired_replicas=replicas, reason="External", message=""),
        groups=[{"profile": "1g.10gb", "product": H100, "replicas": replicas, "readyReplicas": replicas}],
    )
    serving = group("1g.10gb", engine().name, replicas=replicas, ready=replicas)
    return deployment(asked=asked, groups=(serving,), status=told)


def test_a_deployment_lends_what_it_has_above_its_floor() -> None:
    told = lender_of(scaled(3, 2), lent=0, now=NOW)
    assert told is not None
    assert (told.replicas, told.floor, told.spare) == (3, 2, 1)
    assert lender_of(replace(scaled(3), spec=spec(suspend=True)), lent=0, now=NOW) is None


def test_who_lent_one_already_counts_it() -> None:
    """Before it was scaled down and after: what it can still lend is the same."""
    before = lender_of(scaled(3, 1), lent=1, now=NOW)
    view = scaled(3, 1)
    less = replace(view, groups=(group("1g.10gb", replicas=2, ready=2),))
    after = lender_of(less, lent=1, now=NOW)
    assert before is not None
    assert after is not None
    assert before.spare == after.spare == 1


@pytest.mark.parametrize("moving", [{"ready": 2}, {"settled": False}, {"total_replicas": 4}])
def test_who_moves_lends_nothing(moving) -> None:
    view = replace(scaled(3), groups=(group("1g.10gb", **({"replicas": 3, "ready": 3} | moving)),))
    assert lender_of(view, lent=0, now=NOW) is None


def test_who_is_scaled_by_somebody_else_lends_nothing() -> None:
    view = scaled(3)
    asked = spec(scaling={"mode": "External"}, placement={"profiles": ["1g.10gb"]}, replicas=3)
    assert lender_of(replace(view, spec=asked), lent=0, now=NOW) is None


@pytest.mark.parametrize(("lent", "replicas"), [(0, 3), (1, 2), (2, 2), (9, 2)])
def test_a_loan_takes_replicas_down_to_the_floor_and_no_further(lent: int, replicas: int) -> None:
    view = scaled(3, 2)
    nodes = (node("n1", {MIG: 7}, labels=LABELS),)
    ready = engine(view.spec, status=PUBLISHED)
    world = snapshot(view, engines=(ready,), nodes=nodes, loans={("cams", "gate"): lent})
    (told,) = plan(world).deployments
    assert told.desired.replicas == 3, "what is wanted stays what it is"
    assert [made.replicas for made in told.groups] == [replicas]
    assert ("lent to a build" in told.judgement.scaling_active.message) == (lent > 0)


def test_a_build_that_finds_its_slice_taken_gives_back_what_was_lent() -> None:
    """Then it asks anew: nothing is lent without end, and nobody waits for ever."""
    started = NOW - timedelta(seconds=SLICE_WAIT_S - 1)
    held = job(slice=BORROWED, unplaced=True, started=started, waiting="waits for a node: 0/1")
    (still,) = plan_engines(fleet(wanting(job=held)))
    assert not still.remove_job
    assert still.due == started + timedelta(seconds=SLICE_WAIT_S)
    (over,) = plan_engines(fleet(wanting(job=replace(held, started=NOW - timedelta(seconds=SLICE_WAIT_S)))))
    assert over.remove_job
    assert over.reason == Reason.WAITING_FOR_BUILD_SLICE
    assert "went to somebody else" in over.message
    (placed,) = plan_engines(fleet(wanting(job=replace(held, unplaced=False, started=NOW - timedelta(hours=1)))))
    assert not placed.remove_job


def test_builds_without_a_slice_may_wait_for_their_node() -> None:
    held = job(unplaced=True, started=NOW - timedelta(hours=1))
    (told,) = plan_engines(fleet(engine(job=held)))
    assert not told.remove_job


def test_backing_off_goes_before_asking_for_a_slice() -> None:
    (told,) = plan_engines(fleet(wanting(status=backing_off(NOW + timedelta(minutes=1)))))
    assert told.reason == Reason.BACKING_OFF


def test_the_deployment_says_what_its_engine_waits_for() -> None:
    ready = Condition(type="Ready", status="False", reason="WaitingForBuildSlice", message="0 of 7 1g.10gb are free")
    view = wanting(status=backing_off(NOW).model_copy(update={"conditions": [ready]}))
    told = verdict(view, name="e-new")
    assert told.reason == Reason.WAITING_FOR_BUILD_SLICE
    assert "YoloEngine e-new waits for a slice to be built on: 0 of 7" in told.message

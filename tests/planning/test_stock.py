"""Laws of what there is to plan with: GPUs that others share, reserves, and the one set of media engines of a GPU."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.planning.packings import LAW, ONE, _covers, lattice, small_needs
from yolofleet.planning.capabilities import GPUS
from yolofleet.planning.layouts.geometry import (
    Lattice,
    Layout,
    Slice,
    completions,
    conflict,
    counts_of,
    lattice_of,
    layouts,
    residual,
)
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState, overlay
from yolofleet.planning.packing import (
    Need,
    Product,
    certificate,
    filled_gpus,
    pack,
    pack_by_priority,
    problem_of,
    recomputed_bound,
    reserve,
    shares,
    stocks,
)

A30 = lattice("A30")
A30_ME = lattice_of(next(gpu for gpu in GPUS if gpu.key == "A30"))
A100_ME = lattice_of(next(gpu for gpu in GPUS if gpu.key == "A100-80GB"))
foreign_layouts = st.lists(st.sampled_from(layouts(A30)).filter(bool), max_size=2)


@given(st.sampled_from([A30, A30_ME, lattice("A100-80GB")]), st.data())
@LAW
def test_what_is_left_beside_slices_that_stay_is_what_completes_them(cut: Lattice, data: st.DataObject) -> None:
    fixed = data.draw(st.sampled_from(layouts(cut)))
    left = residual(cut, fixed)
    found = {tuple(sorted((*fixed, *one))) for one in layouts(left)}
    assert found == set(completions(cut, fixed))


def fewest_whole(cut: Lattice, wanted: tuple[int, ...], shared: tuple[Layout, ...]) -> int:
    """Try every way to fill the shared GPUs first, then count whole ones by trying every layout."""
    if shared:
        ways = {
            tuple(max(0, w - c) for w, c in zip(wanted, _ours(cut, full, shared[0]), strict=True))
            for full in completions(cut, shared[0])
        }
        return min(fewest_whole(cut, left, shared[1:]) for left in ways)
    if not any(wanted):
        return 0
    ways = {tuple(max(0, w - c) for w, c in zip(wanted, counts_of(cut, one), strict=True)) for one in layouts(cut)}
    least = [w for w in ways if not any(o != w and all(a <= b for a, b in zip(o, w, strict=True)) for o in ways)]
    return 1 + min(fewest_whole(cut, left, ()) for left in least)


def _ours(cut: Lattice, full: Layout, fixed: Layout) -> tuple[int, ...]:
    return counts_of(cut, tuple(one for one in full if one not in fixed))


@given(small_needs(ONE, most=2).filter(lambda needs: sum(need.demand for need in needs) < 90), foreign_layouts)
@LAW
def test_shared_gpus_are_filled_first_as_well_as_by_brute_force(needs: tuple[Need, ...], foreign: list) -> None:
    assume(needs)
    stock = stocks(ONE, [("A30", one) for one in foreign])
    found = pack(problem_of(stock, needs))
    assert found is not None
    kinds = [("A30", kind.profile) for kind in A30.kinds]
    least = math.inf
    for covers in itertools.product(*(_covers(need, kinds) for need in needs)):
        totals = tuple(map(sum, zip(*covers, strict=True)))
        least = min(least, fewest_whole(A30, totals, tuple(foreign)))
    assert found.bound <= least + 1e-6
    assert found.cost == pytest.approx(least)
    assert recomputed_bound(stock, needs, certificate(found)) >= found.proved - 1e-6


@given(small_needs(ONE, most=4), foreign_layouts)
@LAW
def test_plans_beside_foreign_slices_are_legal_and_lie_on_the_gpus_there_are(needs: tuple, foreign: list) -> None:
    assume(needs)
    found = pack(problem_of(stocks(ONE, [("A30", one) for one in foreign]), needs))
    assert found is not None
    plan = filled_gpus(found)
    served = dict.fromkeys((need.name for need in needs), 0.0)
    rates = {need.name: need.rates for need in needs}
    for gpu in plan:
        assert gpu.product == "A30"
        assert conflict(A30, [one for one, _ in gpu.slices]) is None
        for one, owner in gpu.slices:
            if owner in served:
                served[owner] += rates[owner]["A30", one.profile]
    assert all(served[need.name] >= need.demand * (1 - 1e-6) for need in needs)
    today = [GpuState(f"s{at}", "A30", tuple((s, FOREIGN) for s in one)) for at, one in enumerate(foreign)]
    today += [GpuState(f"w{at}", "A30") for at in range(round(found.cost))]
    _, missed = overlay(today, plan, {"A30": A30})
    assert missed == ()


def test_a_shared_gpu_is_taken_before_a_whole_one_and_the_limit_counts_both() -> None:
    beside: Layout = (Slice(0, "2g.12gb"),)
    stock = stocks((Product("A30", A30, 1.0, 2),), [("A30", beside)])
    assert [(one.name, one.limit, one.price) for one in stock] == [
        ("A30", 1, 1.0),
        ("A30 beside 2g.12gb at 0", 1, 0.0),
    ]
    needs = (Need("gate", 20.0, {("A30", "2g.12gb"): 20.0}),)
    found = pack(problem_of(stock, needs))
    assert found is not None
    assert (found.cost, found.bound) == (0.0, 0.0)
    assert filled_gpus(found)[0].slices == ((Slice(0, "2g.12gb"), FOREIGN), (Slice(2, "2g.12gb"), "gate"))


def test_a_gpu_that_others_fill_offers_nothing() -> None:
    assert [one.name for one in stocks(ONE, [("A30", (Slice(0, "4g.24gb"),))])] == ["A30"]


def test_reserves_are_kept_before_others_are_served_and_say_so() -> None:
    stock = (Product("A30", A30, 1.0, 1),)
    kept = reserve("2g.12gb", 1, "Build", [("A30", "2g.12gb")])
    gate = Need("gate", 40.0, {("A30", "2g.12gb"): 20.0})
    found = pack_by_priority(stock, (kept, gate), {kept.name: 1_000_001})
    assert dict(found.unserved) == {"gate": pytest.approx(20.0)}
    told = {share.name: share.why for share in shares(found.packing)}
    assert told["reserved for Build: 2g.12gb"].startswith("1 × A30 2g.12gb kept for what the pool reserves")


def test_what_is_reserved_is_cut_and_left_to_nobody() -> None:
    kept = reserve("1g.6gb", 2, "Warm", [("A30", "1g.6gb")])
    found = pack(problem_of(ONE, (kept, Need("gate", 20.0, {("A30", "2g.12gb"): 20.0}))))
    assert found is not None
    goal, missed = overlay((GpuState("g", "A30"),), filled_gpus(found), {"A30": A30})
    assert missed == ()
    assert sorted((one.profile, owner) for one, owner in goal["g"].items() if one.profile == "2g.12gb") == [
        ("2g.12gb", "gate")
    ]
    assert [owner for one, owner in goal["g"].items() if one.profile == "1g.6gb"] == [None, None]


def test_one_slice_of_an_a30_has_the_media_engines_whatever_its_size() -> None:
    told = conflict(A30_ME, (Slice(0, "1g.6gb+me"), Slice(2, "2g.12gb+me")))
    assert told == "2 of +me: a GPU has 1 at most"
    stock = (Product("A30", A30_ME),)
    needs = tuple(
        Need(name, 10.0, {("A30", "1g.6gb+me"): 10.0, ("A30", "2g.12gb+me"): 20.0}) for name in ("gate", "yard")
    )
    found = pack(problem_of(stock, needs))
    assert found is not None
    assert (found.cost, found.bound) == (2.0, 2.0)
    assert recomputed_bound(stock, needs, certificate(found)) == pytest.approx(2.0, rel=1e-3)


def test_jpeg_needs_one_a100_each_and_others_fill_the_rest() -> None:
    stock = (Product("A100-80GB", A100_ME),)
    jpeg = tuple(Need(f"j{at}", 5.0, {("A100-80GB", "1g.10gb+me"): 5.0}) for at in range(3))
    rest = Need("rest", 180.0, {("A100-80GB", "1g.10gb"): 10.0})
    found = pack(problem_of(stock, (*jpeg, rest)))
    assert found is not None
    assert (found.cost, found.bound) == (3.0, 3.0)

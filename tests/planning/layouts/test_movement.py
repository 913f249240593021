"""Laws of little movement: budgets hold, what is busy stays where it can, as well as brute force can."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter

import numpy as np
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.planning.layouts.test_transition import CUTS, NAMES, filled, worlds
from tests.planning.packings import LAW, ONE, TWO, lattice, small_needs
from yolofleet.planning.layouts.geometry import Slice, conflict, counts_of, maximal
from yolofleet.planning.layouts.movement import held_by_need, settle
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState, overlay, slices_by_start
from yolofleet.planning.layouts.patterns import Pattern, assign
from yolofleet.planning.packing import FilledGpu, Need, Packing, filled_gpus, pack, problem_of
from yolofleet.planning.packing.staying import stay

A30 = lattice("A30")


def packed(needs: tuple[Need, ...], stock=TWO) -> Packing:
    found = pack(problem_of(stock, needs))
    assert found is not None
    return found


def grown(needs: tuple[Need, ...], factors: list[float]) -> tuple[Need, ...]:
    return tuple(dataclasses.replace(need, demand=need.demand * by) for need, by in zip(needs, factors, strict=False))


@given(small_needs(TWO, most=4), st.lists(st.sampled_from((0.3, 0.8, 1.0, 1.2, 2.5)), min_size=8, max_size=8))
@LAW
def test_staying_serves_all_within_the_budget_and_starts_no_more_than_anew(needs: tuple, factors: list) -> None:
    assume(needs)
    before, after = packed(needs), packed(grown(needs, factors))
    held = before.counts.astype(np.int32)
    if held.shape != after.counts.shape:
        return
    budget = after.cost * 1.1
    found = stay(after, held, budget=budget)
    problem = found.problem
    assert ((problem.rate * found.counts).sum(1) >= problem.demand * (1 - 1e-6)).all()
    assert (problem.layouts.T @ found.gpus >= found.counts.sum(0)).all()
    assert found.cost <= budget + 1e-6
    assert np.maximum(found.counts - held, 0).sum() <= np.maximum(after.counts - held, 0).sum()
    assert found.bound == after.bound


@given(small_needs(ONE, most=3), st.lists(st.sampled_from((0.4, 1.0, 1.7)), min_size=3, max_size=3))
@LAW
def test_with_room_nobody_starts_more_than_it_lacks(needs: tuple, factors: list) -> None:
    """With GPUs enough the least is known: per deployment the fewest slices that close its gap."""
    assume(needs)
    before, after = packed(needs, ONE), packed(grown(needs, factors), ONE)
    held = before.counts.astype(np.int32)
    assume(held.shape == after.counts.shape)
    found = stay(after, held, budget=100.0)
    problem = found.problem
    for row in range(len(held)):
        lacks = problem.demand[row] - problem.rate[row] @ held[row]
        fewest = max(0, int(np.ceil(lacks / problem.rate[row].max() - 1e-7)))
        assert np.maximum(found.counts[row] - held[row], 0).sum() <= fewest


@st.composite
def crowds(draw: st.DrawFn) -> tuple[list[Pattern], dict[str, int], int]:
    gpus = draw(st.integers(1, 3))
    patterns = []
    for _ in range(gpus):
        layout = draw(st.sampled_from(maximal(A30)))
        holders = [draw(st.sampled_from(("busy", "free", "foreign", "none"))) for _ in layout]
        parts = {who: tuple(one for one, h in zip(layout, holders, strict=True) if h == who) for who in holders}
        patterns.append(Pattern(parts.get("foreign", ()), parts.get("busy", ()), parts.get("free", ())))
    wanted = {kind.profile: draw(st.integers(0, 3)) for kind in A30.kinds}
    return patterns, wanted, draw(st.integers(0, 3))


def least_displaced(patterns: list[Pattern], wanted: dict[str, int], most: int) -> tuple[int, int]:
    """Try every layout on every GPU: (slices without a place, busy slices that go)."""
    best = (99, 99)
    options = [[*maximal(A30, one.foreign), None] for one in patterns]
    for chosen in itertools.product(*options):
        opened = sum(layout is not None and not one.foreign for one, layout in zip(patterns, chosen, strict=True))
        if opened > most:
            continue
        room, gone = Counter(), 0
        for one, layout in zip(patterns, chosen, strict=True):
            ours = set(layout or ()) - set(one.foreign)
            room.update(s.profile for s in ours)
            gone += len(set(one.busy) - ours)
        missing = sum(max(0, n - room[profile]) for profile, n in wanted.items())
        best = min(best, (missing, gone))
    return best


@given(crowds())
@LAW
def test_layouts_are_assigned_as_well_as_by_trying_all(crowd: tuple) -> None:
    patterns, wanted, most = crowd
    found = assign(A30, Counter(patterns), wanted, most)
    gone = 0
    for pattern, rows in found.layouts.items():
        assert sum(n for _, n in rows) == patterns.count(pattern)
        gone += sum(n * len(set(pattern.busy) - set(layout)) for layout, n in rows)
    missing, least = least_displaced(patterns, wanted, most)
    assert sum(found.missing.values()) == missing
    # Cutting and removing slices beside weigh an eighth of a replica each: at most so much may tip the scale.
    assert least <= gone <= least + 0.125 * 8 * len(patterns)


@given(worlds())
@LAW
def test_the_goal_is_legal_keeps_what_is_foreign_and_holds_what_it_says(world: tuple) -> None:
    today, plan, _ = world
    goal, missed = overlay(today, plan, CUTS)
    for gpu in today:
        assert conflict(CUTS[gpu.product], list(goal[gpu.name])) is None
        foreign = {one for one, owner in gpu.slices if owner == FOREIGN}
        assert {one for one, owner in goal[gpu.name].items() if owner == FOREIGN} == foreign
    wanted = Counter((g.product, one.profile, owner) for g in plan for one, owner in g.slices if owner)
    there = Counter(
        (gpu.product, one.profile, owner)
        for gpu in today
        for one, owner in goal[gpu.name].items()
        if owner not in (None, FOREIGN)
    )
    assert there <= wanted
    assert bool(missed) == (there != wanted)


@given(st.data(), st.permutations(range(4)))
@LAW
def test_a_plan_that_is_there_already_in_any_order_moves_nothing(data: st.DataObject, order: list[int]) -> None:
    plan = [FilledGpu("A100-80GB", data.draw(filled("A100-80GB", NAMES))) for _ in range(4)]
    today = tuple(GpuState(f"g{at}", "A100-80GB", plan[order[at]].slices) for at in range(4))
    goal, missed = overlay(today, plan, CUTS)
    assert missed == ()
    assert [dict(gpu.slices) for gpu in today] == [goal[gpu.name] for gpu in today]


@given(small_needs(TWO, most=3), st.lists(st.sampled_from((0.5, 1.0, 1.3)), min_size=8, max_size=8))
@LAW
def test_settling_serves_everybody_on_the_gpus_there_are(needs: tuple, factors: list) -> None:
    assume(needs)
    plan = filled_gpus(packed(needs))
    names = [f"{product.name} {at}" for product in TWO for at in range(60)]
    today = tuple(GpuState(name, name.split()[0]) for name in names)
    goal, _ = overlay(today, plan, CUTS)
    held = tuple(GpuState(g.name, g.product, slices_by_start(goal[g.name])) for g in today)
    more = grown(needs, factors)
    found = settle(packed(more), held)
    assert found.missed == ()
    assert found.goal == settle(packed(more), held).goal
    rates = {need.name: need.rates for need in more}
    served = dict.fromkeys(rates, 0.0)
    for gpu in held:
        assert conflict(CUTS[gpu.product], list(found.goal[gpu.name])) is None
        for one, owner in found.goal[gpu.name].items():
            if owner:
                served[owner] += rates[owner][gpu.product, one.profile]
    assert all(served[need.name] >= need.demand * (1 - 1e-6) for need in more)
    counted = held_by_need(
        found.packing.problem, [GpuState(g.name, g.product, slices_by_start(dict(found.goal[g.name]))) for g in held]
    )
    assert (counted == found.packing.counts).all()


def test_a_busy_slice_stays_and_the_emptier_gpu_is_cleared() -> None:
    """Three GPUs, the plan needs two: the one with a single replica goes, its replica moves to a free slice."""
    ones = tuple(Slice(at, "1g.6gb") for at in range(4))
    today = (
        GpuState("a", "A30", (*((one, "gate") for one in ones[:3]), (ones[3], None))),
        GpuState("b", "A30", ((ones[0], "gate"),)),
        GpuState("c", "A30", tuple((one, "yard") for one in ones)),
    )
    plan = [FilledGpu("A30", tuple((one, owner) for one in ones)) for owner in ("gate", "yard")]
    goal, missed = overlay(today, plan, CUTS)
    assert missed == ()
    assert goal["a"] == dict.fromkeys(ones, "gate")
    assert goal["b"] == {ones[0]: None}
    assert goal["c"] == dict.fromkeys(ones, "yard")


def test_what_finds_no_gpu_is_said_with_the_profile_and_the_remedy() -> None:
    plan = [FilledGpu("A30", ((Slice(0, "4g.24gb"), "gate"),))]
    _, missed = overlay((GpuState("a", "A30", ((Slice(1, "1g.6gb"), FOREIGN),)),), plan, CUTS)
    assert len(missed) == 1
    assert missed[0].startswith("1 × 4g.24gb of A30 that the plan wants find no GPU: too few are there, or foreign")


def test_counts_by_need_leave_out_what_is_foreign_free_or_unknown() -> None:
    problem = problem_of(ONE, [Need("gate", 5.0, {("A30", "1g.6gb"): 5.0})])
    slices = ((Slice(0, "1g.6gb"), "gate"), (Slice(1, "1g.6gb"), FOREIGN), (Slice(2, "1g.6gb"), "gone"))
    assert held_by_need(problem, [GpuState("a", "A30", slices)]).tolist() == [[1]]
    assert counts_of(A30, tuple(one for one, _ in slices)) == (3, 0, 0)


def test_nobody_asks_and_nobody_moves() -> None:
    empty = packed(())
    assert stay(empty, np.zeros((0, 0), int), budget=0.0) is empty
    assert settle(empty, ()).goal == {}

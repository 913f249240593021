"""Laws of the way from one layout to another: every prefix is legal, and nobody falls below the floor."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planning.packings import LAW, lattice
from yolofleet.planning.layouts.geometry import Slice, conflict, layouts
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState
from yolofleet.planning.layouts.transition import Move, Step, Transition, after, served, transition
from yolofleet.planning.packing import FilledGpu

CUTS = {"A30": lattice("A30"), "A100-80GB": lattice("A100-80GB")}
NAMES = ("gate", "yard", "dock")
RATES = {
    name: {(product, kind.profile): 10.0 * kind.size + at for product, cut in CUTS.items() for kind in cut.kinds}
    for at, name in enumerate(NAMES)
}


@st.composite
def filled(draw: st.DrawFn, product: str, owners: Sequence[str | None]) -> tuple[tuple[Slice, str | None], ...]:
    layout = draw(st.sampled_from(layouts(CUTS[product])))
    return tuple((one, draw(st.sampled_from(owners))) for one in layout)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[tuple[GpuState, ...], tuple[FilledGpu, ...], dict[str, float]]:
    kinds = draw(st.lists(st.sampled_from(sorted(CUTS)), min_size=1, max_size=4))
    today = tuple(
        GpuState(f"g{at}", product, draw(filled(product, (None, FOREIGN, *NAMES)))) for at, product in enumerate(kinds)
    )
    wanted = draw(st.permutations(kinds))[: draw(st.integers(0, len(kinds)))]
    plan = tuple(FilledGpu(product, draw(filled(product, (None, *NAMES)))) for product in wanted)
    return today, plan, {name: draw(st.sampled_from((0.0, 20.0, 80.0))) for name in NAMES}


def walked(today: tuple[GpuState, ...], way: Transition) -> list[tuple[GpuState, ...]]:
    """Replay the steps with the referee, which raises on any that is not possible."""
    states = [today]
    for step in way.steps:
        states.append(after(states[-1], step, CUTS))
    return states


@given(worlds())
@LAW
def test_every_prefix_is_legal_and_ends_in_the_final_state(world: tuple) -> None:
    today, plan, demand = world
    way = transition(today, plan, CUTS, RATES, demand)
    states = walked(today, way)
    for state in states:
        for gpu in state:
            assert conflict(CUTS[gpu.product], [one for one, _ in gpu.slices]) is None
    assert states[-1] == way.final


@given(worlds())
@LAW
def test_no_deployment_falls_below_its_floor_on_the_way(world: tuple) -> None:
    today, plan, demand = world
    way = transition(today, plan, CUTS, RATES, demand)
    goal_served = served([GpuState("x", gpu.product, gpu.slices) for gpu in plan], RATES)
    floors = {name: min(served(today, RATES)[name], goal_served[name], demand[name]) for name in NAMES}
    for state in walked(today, way):
        now = served(state, RATES)
        assert all(now[name] >= floors[name] * (1 - 1e-6) for name in NAMES), (way.steps, floors, now)


@given(worlds())
@LAW
def test_foreign_slices_stay_where_they_are(world: tuple) -> None:
    today, plan, demand = world
    way = transition(today, plan, CUTS, RATES, demand)
    for before, now in zip(today, way.final, strict=True):
        assert {s for s in before.slices if s[1] == FOREIGN} == {s for s in now.slices if s[1] == FOREIGN}


@given(worlds())
@LAW
def test_what_is_not_said_to_be_unreached_is_reached(world: tuple) -> None:
    today, plan, demand = world
    way = transition(today, plan, CUTS, RATES, demand)
    if not way.unreached:
        want = Counter((g.product, one.profile, owner) for g in plan for one, owner in g.slices if owner)
        have = Counter((g.product, one.profile, o) for g in way.final for one, o in g.slices if o and o != FOREIGN)
        assert want <= have
    assert transition(today, plan, CUTS, RATES, demand) == way


def test_where_all_is_as_wanted_nothing_moves() -> None:
    slices = ((Slice(0, "2g.12gb"), "gate"), (Slice(2, "1g.6gb"), "yard"))
    today = (GpuState("g0", "A30", ()), GpuState("g1", "A30", slices))
    way = transition(today, [FilledGpu("A30", slices)], CUTS, RATES, dict.fromkeys(NAMES, 5.0))
    assert (way.steps, way.unreached, way.final) == ((), (), today)


def test_the_new_replica_comes_first_then_the_old_one_goes() -> None:
    today = (GpuState("g0", "A30", ((Slice(0, "1g.6gb"), "gate"),)), GpuState("g1", "A30", ()))
    plan = [FilledGpu("A30", ((Slice(0, "4g.24gb"), "gate"),))]
    way = transition(today, plan, CUTS, RATES, {"gate": 100.0})
    assert way.unreached == ()
    assert [(step.move, step.gpu, step.owner) for step in way.steps] == [
        (Move.CREATE, "g1", None),
        (Move.START, "g1", "gate"),
        (Move.DRAIN, "g0", "gate"),
    ]


def test_a_replica_is_lent_a_place_for_a_while_so_that_its_slice_can_be_cut_anew() -> None:
    foreign = ((Slice(0, "2g.12gb"), FOREIGN), (Slice(2, "1g.6gb"), FOREIGN))
    today = (
        GpuState("g0", "A30", ((Slice(0, "1g.6gb"), "gate"), (Slice(2, "1g.6gb"), "yard"))),
        GpuState("g1", "A30", foreign),
    )
    plan = [FilledGpu("A30", ((Slice(0, "2g.12gb"), "gate"), (Slice(2, "2g.12gb"), "yard")))]
    way = transition(today, plan, CUTS, RATES, {"gate": 10.0, "yard": 10.0})
    assert way.unreached == ()
    lent = [step for step in way.steps if step.why.startswith("for a while")]
    assert {step.gpu for step in lent} == {"g1"}
    assert {owner for _, owner in way.final[0].slices} == {"gate", "yard"}
    assert way.final[1].slices[:2] == foreign


def test_without_room_for_a_surge_the_way_is_refused_with_what_is_in_the_way() -> None:
    today = (GpuState("g0", "A30", ((Slice(0, "1g.6gb"), "gate"),)),)
    plan = [FilledGpu("A30", ((Slice(0, "4g.24gb"), "gate"),))]
    way = transition(today, plan, CUTS, RATES, {"gate": 100.0})
    assert way.steps == ()
    assert len(way.unreached) == 1
    assert way.unreached[0].startswith("g0: 4g.24gb at 0 for gate needs 1g.6gb at 0 (gate) to go first, and its deploy")


def test_the_referee_refuses_what_hardware_would() -> None:
    today = (GpuState("g0", "A30", ((Slice(0, "2g.12gb"), FOREIGN), (Slice(2, "1g.6gb"), "gate"))),)
    for step, told in (
        (Step(Move.CREATE, "g0", Slice(1, "1g.6gb"), None, ""), "overlaps"),
        (Step(Move.DRAIN, "g0", Slice(0, "2g.12gb"), None, ""), "not ours to drain"),
        (Step(Move.DESTROY, "g0", Slice(2, "1g.6gb"), None, ""), "is held by gate"),
        (Step(Move.START, "g0", Slice(3, "1g.6gb"), "gate", ""), "no 1g.6gb lies at 3"),
    ):
        with pytest.raises(ValueError, match=told):
            after(today, step, CUTS)

"""Laws of spreading: only what is offered is dealt, each slot once, and nobody is bunched without need."""

from __future__ import annotations

import itertools
from collections import Counter

from hypothesis import assume, given
from hypothesis import strategies as st

from tests.planning.packings import LAW, lattice
from yolofleet.planning.layouts.geometry import Slice
from yolofleet.planning.layouts.overlay import GpuState, overlay
from yolofleet.planning.layouts.spreading import Floor, bunched
from yolofleet.planning.packing import FilledGpu

ONE = Slice(0, "1g.6gb")


@st.composite
def floors(draw: st.DrawFn) -> tuple[dict[str, tuple[str, str]], list[tuple[str, Slice]]]:
    where, slots = {}, []
    for zone, nodes in enumerate(draw(st.lists(st.integers(1, 3), min_size=1, max_size=3))):
        for node in range(nodes):
            for gpu in range(draw(st.integers(1, 2))):
                name = f"z{zone}n{node}/{gpu}"
                where[name] = (f"z{zone}", f"z{zone}n{node}")
                slots += [(name, Slice(start, "1g.6gb")) for start in range(draw(st.integers(0, 3)))]
    return where, slots


@given(floors(), st.lists(st.integers(0, 6), max_size=4))
@LAW
def test_each_slot_is_dealt_once_and_as_many_as_there_are(world: tuple, counts: list[int]) -> None:
    where, slots = world
    floor = Floor(slots, where)
    dealt = [slot for count in counts for slot in floor.deal(count, ())]
    assert len(set(dealt)) == len(dealt) == min(sum(counts), len(slots))
    assert set(dealt) <= set(slots)


@given(floors(), st.integers(1, 6), st.data())
@LAW
def test_one_owner_is_spread_as_well_as_by_trying_all(world: tuple, count: int, data: st.DataObject) -> None:
    """Zones as even as can be, and within what the zones get nodes as even as can be."""
    where, slots = world
    assume(count <= len(slots))
    there = data.draw(st.lists(st.sampled_from(sorted(where)), max_size=2))
    dealt = Floor(slots, where).deal(count, there)

    def bunching(gpus: list[str]) -> tuple[int, int]:
        zones, nodes = (Counter(where[gpu][at] for gpu in (*gpus, *there)) for at in (0, 1))
        return sum(n * n for n in zones.values()), sum(n * n for n in nodes.values())

    offered = Counter(gpu for gpu, _ in slots)
    every = set(itertools.combinations(sorted(offered.elements()), count))
    assert bunching([gpu for gpu, _ in dealt])[0] == min(bunching(list(one))[0] for one in every)
    if len({zone for zone, _ in where.values()}) == 1:
        assert bunching([gpu for gpu, _ in dealt]) == min(bunching(list(one)) for one in every)


@given(st.lists(st.integers(1, 4), min_size=1, max_size=5), st.integers(1, 4), st.data())
@LAW
def test_nobody_is_twice_on_a_node_if_that_can_be_had_for_all(
    wanted: list[int], nodes: int, data: st.DataObject
) -> None:
    """Replicas and slots by node as row and column sums: Gale and Ryser say when a table of 0 and 1 has them."""
    homes_of = data.draw(st.lists(st.integers(0, nodes - 1), min_size=sum(wanted), max_size=sum(wanted)))
    offered = [homes_of.count(node) for node in range(nodes)]
    ranked = sorted(wanted, reverse=True)
    fits = all(sum(ranked[:k]) <= sum(min(k, n) for n in offered) for k in range(1, len(ranked) + 1))
    where = {f"n{at}/0": ("", f"n{at}") for at in range(len(offered))}
    floor = Floor([(f"n{at}/0", Slice(s, "1g.6gb")) for at, n in enumerate(offered) for s in range(n)], where)
    homes = [[gpu for gpu, _ in floor.deal(count, ())] for count in ranked]
    assert (all(len(set(gpus)) == len(gpus) for gpus in homes)) == fits


def test_new_replicas_go_to_other_zones_and_nodes_and_what_runs_stays() -> None:
    ones = tuple(Slice(at, "1g.6gb") for at in range(4))
    where = {f"{node}/0": (node[0], node) for node in ("a1", "a2", "b1", "b2")}
    owners = ("gate", "yard", "dock", "tower")
    today = tuple(GpuState(name, "A30", ((ones[0], "gate"),) if name == "a1/0" else ()) for name in where)
    plan = [FilledGpu("A30", tuple((one, owner) for one in ones)) for owner in owners]
    goal, missed = overlay(today, plan, {"A30": lattice("A30")}, where=where)
    assert missed == ()
    assert goal["a1/0"][ones[0]] == "gate"
    for owner in owners:
        counts = {name: list(goal[name].values()).count(owner) for name in where}
        assert set(counts.values()) == {1}, (owner, counts)


def test_who_is_bunched_is_said() -> None:
    where = {"a/0": ("x", "a"), "b/0": ("x", "b")}
    told = bunched({"gate": ["a/0", "a/0"], "yard": ["a/0", "b/0"], "lone": ["a/0"]}, where)
    assert len(told) == 1
    assert told[0].startswith("all replicas of gate are on one node: elsewhere the plan has no slice of their kind")
    assert bunched({"gate": ["a/0", "a/0"]}, {"a/0": ("", "a")}) == ()

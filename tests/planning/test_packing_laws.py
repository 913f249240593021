"""Laws of the optimisation, on drawn problems, and against brute force where that is possible."""

from __future__ import annotations

import dataclasses
import importlib
import inspect

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from tests.planning.packings import LAW, ONE, TWO, brute_force, lattice, products, small_needs
from yolofleet.errors import Refused
from yolofleet.planning.layouts.geometry import conflict
from yolofleet.planning.packing import (
    Need,
    Packing,
    Product,
    certificate,
    changed,
    filled_gpus,
    pack,
    pack_by_priority,
    problem_of,
    recomputed_bound,
    shares,
)
from yolofleet.planning.packing.covering import cheapest_covers
from yolofleet.planning.packing.greedy import greedy


def packed(stock: tuple[Product, ...], needs: tuple[Need, ...]) -> Packing:
    found = pack(problem_of(stock, needs))
    assert found is not None
    return found


@given(small_needs())
@LAW
def test_the_bound_never_exceeds_what_brute_force_finds_and_the_plan_meets_it(needs: tuple[Need, ...]) -> None:
    found, least = packed(ONE, needs), brute_force(ONE, needs)
    assert found.bound <= least + 1e-6
    assert found.cost == pytest.approx(least)


@given(small_needs(TWO, most=2).filter(lambda needs: sum(need.demand for need in needs) < 60))
@LAW
def test_over_two_products_the_bound_holds_and_the_plan_is_never_below_the_best(needs: tuple[Need, ...]) -> None:
    found, least = packed(TWO, needs), brute_force(TWO, needs)
    assert found.bound <= least + 1e-6
    assert found.cost == pytest.approx(least)


@given(small_needs(TWO, most=12))
@LAW
def test_every_demand_is_served_by_slices_that_lie_on_legal_places(needs: tuple[Need, ...]) -> None:
    found = packed(TWO, needs)
    gpus = filled_gpus(found)
    given_out: dict[str, float] = dict.fromkeys((need.name for need in needs), 0.0)
    rates = {need.name: need.rates for need in needs}
    for gpu in gpus:
        assert conflict(lattice(gpu.product), [one for one, _ in gpu.slices]) is None
        for one, owner in gpu.slices:
            if owner:
                given_out[owner] += rates[owner][gpu.product, one.profile]
    assert all(given_out[need.name] >= need.demand * (1 - 1e-6) for need in needs)
    price = {product.name: product.price for product in TWO}
    assert sum(price[gpu.product] for gpu in gpus) == pytest.approx(found.cost)


@given(small_needs(TWO, most=12))
@LAW
def test_the_checker_without_a_solver_agrees_with_the_proof(needs: tuple[Need, ...]) -> None:
    found = packed(TWO, needs)
    assert recomputed_bound(TWO, needs, certificate(found)) >= found.proved - 1e-6


@given(small_needs(TWO, most=6), st.sampled_from([0.1, 0.5]))
@LAW
def test_the_checker_refuses_worths_that_no_gpu_pays_for(needs: tuple[Need, ...], more: float) -> None:
    assume(needs)
    proof = certificate(packed(TWO, needs))
    top = max(proof.slices, key=lambda kind: proof.slices[kind])
    assume(proof.slices[top] > 0)
    forged = dataclasses.replace(
        proof, slices={kind: (1 + more) * worth + more for kind, worth in proof.slices.items()}
    )
    with pytest.raises(ValueError, match="a layout is worth"):
        recomputed_bound(TWO, needs, forged)


def test_the_checker_is_short_and_knows_no_solver() -> None:
    checker = importlib.import_module("yolofleet.planning.packing.certificate")
    parts = (checker.recomputed_bound, checker._dearest_layout, checker._cheapest_cover)
    assert sum(len(inspect.getsource(part).splitlines()) for part in parts) <= 60
    assert not {"numpy", "np", "highspy"} & set(vars(checker))


@given(small_needs(TWO, most=8), st.randoms())
@LAW
def test_the_same_needs_in_any_order_give_the_same_plan(needs: tuple[Need, ...], dice: object) -> None:
    shuffled = list(needs)
    dice.shuffle(shuffled)  # type: ignore[attr-defined]
    first, second = packed(TWO, needs), packed(TWO, tuple(shuffled))
    assert repr(filled_gpus(first)) == repr(filled_gpus(second))
    assert repr(shares(first)) == repr(shares(second))
    assert certificate(first) == certificate(second)


@given(small_needs(most=4), st.integers(2, 5))
@LAW
def test_more_demand_never_needs_fewer_gpus(needs: tuple[Need, ...], times: int) -> None:
    more = tuple(dataclasses.replace(need, demand=need.demand * times) for need in needs)
    assert packed(ONE, more).cost >= packed(ONE, needs).bound - 1e-6


@given(small_needs(TWO, most=8), st.integers(1, 120))
@LAW
def test_one_changed_deployment_is_served_and_its_bound_holds(needs: tuple[Need, ...], demand: int) -> None:
    assume(needs)
    grown = dataclasses.replace(needs[-1], demand=float(demand))
    quick, anew = changed(packed(TWO, needs), grown), packed(TWO, (*needs[:-1], grown))
    assert quick is not None
    assert quick.bound <= anew.cost + 1e-6
    assert quick.cost >= anew.bound - 1e-6
    assert ((quick.problem.rate * quick.counts).sum(1) >= quick.problem.demand - 1e-6).all()
    assert (quick.problem.layouts.T @ quick.gpus >= quick.counts.sum(0)).all()


@given(small_needs(TWO, most=8))
@LAW
def test_greedy_needs_no_solver_and_serves_all_too(needs: tuple[Need, ...]) -> None:
    assume(needs)
    problem = problem_of(TWO, needs)
    counts, gpus, cost = greedy(problem)
    assert ((problem.rate * counts).sum(1) >= problem.demand - 1e-6).all()
    assert (problem.layouts.T @ gpus >= counts.sum(0)).all()
    assert cost >= packed(TWO, needs).bound - 1e-6


@given(st.data())
@LAW
def test_the_cheapest_cover_is_the_cheapest(data: st.DataObject) -> None:
    rates = data.draw(st.lists(st.integers(1, 9), min_size=1, max_size=4))
    price = data.draw(st.lists(st.integers(1, 9), min_size=len(rates), max_size=len(rates)))
    demand = data.draw(st.integers(1, 40))
    least = [0.0] + [np.inf] * demand
    for owed in range(1, demand + 1):
        least[owed] = min(p + least[max(0, owed - r)] for r, p in zip(rates, price, strict=True))
    found = cheapest_covers(np.array([rates], float), np.array([demand], float), np.array(price, float), margin=1.0)
    assert found.best.cost[0] == pytest.approx(least[demand])
    assert found.bound[0] == pytest.approx(least[demand])
    assert found.best.counts[0] @ np.array(rates) >= demand
    assert found.near is not None
    assert (found.near.counts @ np.array(rates) >= demand).all()
    assert found.near.counts @ np.array(price) == pytest.approx(found.near.cost)


@given(small_needs(most=6), st.integers(0, 3))
@LAW
def test_in_a_shortage_gpus_stay_within_the_limit_and_each_shortfall_is_told(
    needs: tuple[Need, ...], limit: int
) -> None:
    assume(needs)
    stock = products(("A30", 1.0, limit))
    found = pack_by_priority(stock, needs, {need.name: at % 2 for at, need in enumerate(needs)})
    used = [gpu for gpu in filled_gpus(found.packing) if gpu.product == "A30"]
    assert len(used) <= limit
    served = dict.fromkeys((need.name for need in needs), 0.0)
    for gpu in used:
        for one, owner in gpu.slices:
            if owner:
                served[owner] += next(need for need in needs if need.name == owner).rates["A30", one.profile]
    for need in needs:
        assert served[need.name] + found.unserved.get(need.name, 0.0) >= need.demand * (1 - 1e-6)
    if limit >= packed(ONE, needs).cost:
        assert not found.unserved


def test_a_higher_priority_is_served_first() -> None:
    rates = {("A30", "4g.24gb"): 100.0}
    needs = (Need("low", 100.0, rates), Need("high", 100.0, rates), Need("mid", 100.0, rates))
    found = pack_by_priority(products(("A30", 1.0, 2)), needs, {"high": 9, "mid": 5})
    assert dict(found.unserved) == {"low": pytest.approx(100.0)}


def test_a_scarce_cheap_product_is_filled_before_a_dear_one_and_bears_a_rent() -> None:
    stock = products(("A30", 1.0, 3), ("A100-80GB", 9.0, None))
    rates = {("A30", "4g.24gb"): 100.0, ("A100-80GB", "7g.80gb"): 100.0}
    needs = tuple(Need(f"d{at}", 100.0, rates) for at in range(5))
    found = packed(stock, needs)
    assert (found.cost, found.bound, found.gap) == (21.0, 21.0, 0.0)
    assert certificate(found).rents["A30"] == pytest.approx(8.0, rel=1e-3)
    assert any("A30 is scarce" in share.why for share in shares(found))
    assert recomputed_bound(stock, needs, certificate(found)) == pytest.approx(21.0, rel=1e-3)


def test_nobody_asks_for_anything() -> None:
    found = packed(ONE, ())
    assert (found.cost, found.bound, found.gap, filled_gpus(found)) == (0.0, 0.0, 0.0, ())


def test_what_no_slice_serves_is_refused_by_name() -> None:
    with pytest.raises(Refused, match=r"rates: no slice kind .* \(got 'lost'\); loosen the objective"):
        problem_of(ONE, [Need("lost", 5.0, {("A30", "9g.99gb"): 1.0})])
    with pytest.raises(Refused, match="two deployments bear one name"):
        problem_of(ONE, [Need("twin", 5.0, {("A30", "1g.6gb"): 1.0})] * 2)


def test_a_reason_names_the_alternative_and_its_worth() -> None:
    rates = {("A30", "1g.6gb"): 10.0, ("A30", "2g.12gb"): 30.0}
    told = shares(packed(ONE, (Need("gate", 60.0, rates),)))[0].why
    assert told.startswith("2 × A30 2g.12gb serve 60 of 60 fps at a worth of 1.000; 6 × A30 1g.6gb alone")

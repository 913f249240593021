"""A plan's JSON held against the input that it answers: layouts, demands, cost and bound, computed without a solver."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from yolofleet.api.outcome import PlanFile, PlannedGpu
from yolofleet.planning.layouts.geometry import Lattice, Layout, Slice, conflict
from yolofleet.planning.packing.certificate import Certificate, recomputed_bound
from yolofleet.planning.packing.problem import Product, next_sum
from yolofleet.planning.sizing.need import Need

_TINY = 1e-6
_ROUNDED = 5e-4  # figures in the file have three decimals


@dataclass(frozen=True)
class Checked:
    """What is wrong with a plan, in words, and the bound that its prices prove (None: it claims none)."""

    faults: tuple[str, ...]
    bound: float | None = None


@dataclass(frozen=True)
class Case:
    """The input that a plan answers, as a problem; `lattices` are all that may lie on a GPU, by product."""

    stock: Sequence[Product]
    needs: Sequence[Need]
    lattices: Mapping[str, Lattice] = field(default_factory=dict)


def checked(case: Case, plan: PlanFile) -> Checked:
    """Say what does not hold: every claim is computed anew from the input and the plan's own figures."""
    faults = [*_geometry(case, plan), *_served(case, plan), *_cost(case, plan)]
    if plan.lower_bound is None:
        return Checked(tuple(faults))
    worths = {(one.product, one.profile): one.worth for one in plan.proof.slices}
    try:
        asked = [need for need in case.needs if need.rates]
        proved = recomputed_bound(case.stock, asked, Certificate(plan.proof.bound, worths, plan.proof.rents))
    except ValueError as error:
        return Checked((*faults, f"proof: {error}"))
    bound = max(0.0, next_sum([product.price for product in case.stock], proved))
    if bound < plan.lower_bound - _TINY * max(1.0, plan.lower_bound):
        faults.append(f"lowerBound: {plan.lower_bound:g} is claimed, the prices prove {bound:g}")
    if plan.proven and plan.cost > plan.lower_bound + _TINY:
        faults.append(f"proven: the cost is {plan.cost:g}, the bound {plan.lower_bound:g}")
    return Checked(tuple(faults), bound)


def _geometry(case: Case, plan: PlanFile) -> Iterator[str]:
    """Say which GPU holds what it cannot, and which product has too few GPUs."""
    lattices = {p.name: p.lattice for p in case.stock if not p.sells} | dict(case.lattices)
    stocks = {(product.sold_as, product.fixed): product for product in case.stock}
    taken: Counter[tuple[str, Layout]] = Counter()
    for at, gpu in enumerate(plan.gpus):
        if gpu.product not in lattices:
            yield f"gpus[{at}]: {gpu.product} is not in the input"
            continue
        try:
            problem = conflict(lattices[gpu.product], [Slice(one.start, one.profile) for one in gpu.slices])
        except KeyError as error:
            problem = str(error)
        if problem:
            yield f"gpus[{at}]: {problem}"
        taken[gpu.product, _foreign(gpu)] += 1
    for key, count in sorted(taken.items()):
        product = stocks.get(key)
        there = 0 if product is None else product.limit
        if there is not None and count > there:
            beside = ", ".join(f"{one.profile} at {one.start}" for one in key[1])
            yield f"gpus: {count} × {key[0]}{f' beside {beside}' if beside else ''}, there are {there}"


def _foreign(gpu: PlannedGpu) -> Layout:
    """Return the slices of a GPU that others hold."""
    return tuple(sorted(Slice(one.start, one.profile) for one in gpu.slices if one.owner == "foreign"))


def _served(case: Case, plan: PlanFile) -> Iterator[str]:
    """Say who is served less than the plan claims, by the slices on its GPUs."""
    held: dict[str, Counter[tuple[str, str]]] = defaultdict(Counter)
    for gpu in plan.gpus:
        for one in gpu.slices:
            if one.owner in ("fleet", "reserved"):
                held[one.deployment or ""][gpu.product, one.profile] += 1
    short = {one.name: one.unserved_fps for one in plan.deployments}
    short |= {one.name: one.unserved for one in plan.reserved}
    for need in case.needs:
        if need.demand <= 0:
            continue
        if need.name not in short:
            yield f"deployments: {need.name} is missing"
            continue
        served = sum(need.rates.get(kind, 0.0) * n for kind, n in held[need.name].items())
        if served + short[need.name] + _ROUNDED < need.demand * (1 - _TINY):
            yield f"{need.name}: {served:g} of {need.demand:g} is served, {short[need.name]:g} are said to be missing"


def _cost(case: Case, plan: PlanFile) -> Iterator[str]:
    price = {product.name: product.price for product in case.stock}
    cost = math.fsum(price.get(gpu.product, 0.0) for gpu in plan.gpus if not _foreign(gpu))
    if abs(cost - plan.cost) > _TINY * max(1.0, cost):
        yield f"cost: {plan.cost:g} is claimed, the GPUs cost {cost:g}"

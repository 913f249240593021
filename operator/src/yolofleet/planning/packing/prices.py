"""Slice prices that prove a lower bound, and the covers met on the way there.

At any prices π ≥ 0 that no layout can beat (Σ of a layout's slices ≤ what its GPU costs, plus a scarcity rent ν of
products in short supply), the sum of every deployment's cheapest cover, less the rents of the GPUs there are, is a
lower bound: a GPU's slices never pay for more than the GPU. The best such prices are found by cutting planes: the
sum is concave in π, and each pricing of all covers gives a plane above it, one for each group of deployments.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from yolofleet.planning.packing.covering import Columns, Covers, cheapest_covers
from yolofleet.planning.packing.problem import Floats, Ints, Problem
from yolofleet.planning.packing.solver import INFINITE, GrowingProgram, Program, Terms

GROUPS = 64
_ENOUGH = 2e-4  # relative distance of bound and planes at which columns are better than more cuts
_MOST_ROUNDS = 60
_STALLED = 6
_HIGHEST = 1e7
_FLOOR = 1e-6


@dataclass
class Prices:
    """The best prices so far, the bound that they prove, and each round's covers and weights."""

    slices: Floats
    rents: Floats
    bound: float = -np.inf
    rounds: list[Columns] = field(default_factory=list)
    groups: Ints = field(default_factory=lambda: np.zeros(0, int))
    weights: Floats = field(default_factory=lambda: np.zeros((0, 0)))

    def learn(self, problem: Problem, covers: Covers, slices: Floats, rents: Floats) -> float:
        """Keep these prices if they prove more; return what they prove."""
        proved = float(covers.bound.sum()) - paid_rents(problem, rents)
        if proved > self.bound:
            self.bound, self.slices, self.rents = proved, slices.copy(), rents.copy()
        return proved


def paid_rents(problem: Problem, rents: Floats) -> float:
    """Return the rents of all GPUs of limited products."""
    limited = list(problem.limited)
    return float(problem.limits[limited] @ rents[limited]) if limited else 0.0


def affordable(problem: Problem, slices: Floats, rents: Floats) -> Floats:
    """Scale prices down, product by product, until no layout beats its GPU's price and rent.

    GPUs that others share cost nothing: there the rent rises instead (in place), to what the dearest layout is worth.
    """
    slices = np.maximum(slices, 0.0)
    worth = problem.layouts @ slices
    load = worth / np.where(problem.whole, problem.price + rents[problem.layout_product], 1.0)
    for product in range(len(problem.products)):
        mine = (problem.layout_product == product) & problem.whole
        worst = float(load[mine].max()) if mine.any() else 0.0
        if worst > 1:
            slices[problem.layouts[mine].any(0)] /= worst * (1 + 1e-12)
    for stock in problem.shared:
        mine = problem.layout_product == stock
        dearest = float((problem.layouts[mine] @ slices).max()) if mine.any() else 0.0
        rents[stock] = max(0.0, dearest - problem.products[stock].price) * (1 + 1e-12)
    return slices


def first_prices(problem: Problem, rents: Floats) -> Floats:
    """Price slices by the largest number of them that fits on a GPU: a start that knows no demand; sets the rents."""
    most = problem.layouts.max(0)
    by_product = np.array([product.price or problem.least_price for product in problem.products])
    raw: Floats = by_product[problem.column_product] / most
    return affordable(problem, raw, rents)


class _Planes:
    """The master programme: maximise Σ θ_g − rents, θ_g below every plane of its group, prices affordable."""

    def __init__(self, problem: Problem, groups: int) -> None:
        _, kinds, layouts = problem.shape
        products = len(problem.products)
        self.kinds, self.products, self.groups = kinds, products, groups
        limits = np.where(np.isfinite(problem.limits), problem.limits, 0.0)
        row, column = np.nonzero(problem.layouts)
        every = np.arange(layouts)
        terms = Terms(
            np.concatenate([row, every]),
            np.concatenate([column, kinds + problem.layout_product]),
            np.concatenate([problem.layouts[row, column], -np.ones(layouts)]),
        )
        rents_upper = np.where(np.isfinite(problem.limits), _HIGHEST, 0.0)
        ceiling = _HIGHEST if problem.limited else 10 * float(problem.price.max())
        start = Program(
            cost=np.concatenate([np.zeros(kinds), limits, -np.ones(groups)]),
            upper=np.concatenate([np.full(kinds, ceiling), rents_upper, np.full(groups, _HIGHEST)]),
            terms=terms,
            row_lower=np.full(layouts, -INFINITE),
            row_upper=problem.price,
        )
        lower = np.concatenate([np.zeros(kinds + products), np.full(groups, -INFINITE)])
        self.programme = GrowingProgram(start, lower=lower)
        self.fixed_rows = layouts

    def cut(self, used: Floats) -> None:
        """Add one plane per group: θ_g ≤ what its covers cost at any prices."""
        group, kind = np.nonzero(used)
        every = np.arange(self.groups)
        row = np.concatenate([group, every])
        column = np.concatenate([kind, self.kinds + self.products + every])
        value = np.concatenate([-used[group, kind], np.ones(self.groups)])
        order = np.lexsort((column, row))
        self.programme.add_rows(Terms(row[order], column[order], value[order]), upper=np.zeros(self.groups))

    def solve(self) -> tuple[float, Floats, Floats, Floats]:
        """Return the planes' height, its prices and rents, and the weight of every plane, round by group."""
        found = self.programme.solve()
        slices, rents = found.values[: self.kinds], found.values[self.kinds : self.kinds + self.products]
        weights = np.abs(found.row_prices[self.fixed_rows :]).reshape(-1, self.groups)
        return -found.cost, slices, rents, weights


def _grouped(problem: Problem, groups: int) -> Ints:
    """Deal needs into groups of like size: planes of needs alike are tighter."""
    needs = len(problem.demand)
    order = np.argsort(problem.demand / problem.rate.max(1), kind="stable")
    group = np.empty(needs, int)
    group[order] = np.arange(needs) * groups // needs
    return group


def find_prices(problem: Problem, *, tolerance: float = 0.0) -> Prices:
    """Return prices and the bound they prove; `tolerance` is the cost that one cover's pricing may miss by."""
    groups = min(len(problem.demand), GROUPS)
    group = _grouped(problem, groups)
    planes = _Planes(problem, groups)
    rents = np.zeros(len(problem.products))
    slices = first_prices(problem, rents)
    prices = Prices(slices, rents, groups=group)
    stalled = 0
    for turn in range(_MOST_ROUNDS):
        covers = cheapest_covers(problem.rate, problem.demand, slices, tolerance=tolerance)
        before = prices.bound
        proved = prices.learn(problem, covers, slices, rents)
        stalled = stalled + 1 if proved < before + 1e-5 * abs(before) else 0
        prices.rounds.append(covers.best)
        used = np.zeros((groups, problem.rate.shape[1]))
        np.add.at(used, group, covers.best.counts)
        planes.cut(used)
        height, near_slices, near_rents, prices.weights = planes.solve()
        if height - prices.bound < _ENOUGH * abs(height) or stalled >= _STALLED:
            break
        # Halfway between the best so far and the planes' own choice: the choice alone jumps about.
        lean = 0.7 if turn <= 1 else 0.5
        rents = lean * prices.rents + (1 - lean) * near_rents
        slices = affordable(problem, lean * prices.slices + (1 - lean) * near_slices, rents)
        slices = np.maximum(slices, _FLOOR * problem.least_price)
        slices = affordable(problem, slices, rents)
    return prices

"""The one optimisation: slices for every deployment and a layout for every GPU, at the least cost, with a proof."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolofleet.planning.packing.greedy import greedy
from yolofleet.planning.packing.pool import gather
from yolofleet.planning.packing.prices import find_prices
from yolofleet.planning.packing.problem import Floats, Ints, Problem
from yolofleet.planning.packing.repair import Draft, repair
from yolofleet.planning.packing.rounding import relax

_TINY = 1e-6
_EXACT = 500
_ENOUGH = 3e-4
_LARGE = 5000


@dataclass(frozen=True)
class Packing:
    """Slices per need and kind, GPUs per layout, what they cost, and the prices that prove the bound."""

    problem: Problem
    counts: Ints
    gpus: Ints
    cost: float
    proved: float
    slices: Floats
    rents: Floats

    @property
    def bound(self) -> float:
        """Return the least that any plan can cost: what is proved, rounded up to whole GPUs."""
        return max(0.0, round(self.problem.rounded_up(self.proved), 6))

    @property
    def gap(self) -> float:
        """Return how far the cost may be above the best, relative to the cost; 0 is proven best."""
        over = self.cost - self.bound
        return over / self.cost if over > _TINY else 0.0


def pack(problem: Problem, *, good_enough: float | None = None) -> Packing | None:
    """Return the plan; None when none was found within the products' limits.

    `good_enough` is the relative gap to stop at; by default 0 up to 500 deployments and 0.03 % above.
    """
    needs, kinds, layouts = problem.shape
    if not needs:
        empty = np.zeros((0, kinds), int)
        return Packing(
            problem, empty, np.zeros(layouts, int), 0.0, 0.0, np.zeros(kinds), np.zeros(len(problem.products))
        )
    large = needs > _LARGE
    enough = good_enough if good_enough is not None else _ENOUGH if needs > _EXACT else 0.0
    prices = find_prices(problem, tolerance=1e-4 * float(problem.price.max()) if large else 0.0)
    pool = gather(problem, prices)
    draft = Draft(*greedy(problem))
    if not _within(problem, draft.gpus):
        draft.cost = np.inf
    repair(problem, relax(problem, pool, prices), prices.bound, draft, enough=enough)
    if not np.isfinite(draft.cost):
        return None
    _check(problem, draft)
    gpus = np.round(draft.gpus).astype(int)
    cost = round(float(gpus @ problem.price), 6)
    return Packing(problem, draft.counts, gpus, cost, prices.bound, prices.slices, prices.rents)


def _within(problem: Problem, gpus: Floats) -> bool:
    totals = np.bincount(problem.layout_product, weights=gpus, minlength=len(problem.products))
    return bool((totals <= problem.limits + _TINY).all())


def _check(problem: Problem, draft: Draft) -> None:
    """Fail loudly rather than hand out a plan that does not hold."""
    served = (problem.rate * draft.counts).sum(1)
    if not (served >= problem.demand * (1 - 1e-7)).all():
        raise AssertionError("a deployment is short of its demand: a bug of the planner")
    if not (problem.layouts.T @ draft.gpus >= draft.counts.sum(0) - _TINY).all():
        raise AssertionError("slices without a GPU: a bug of the planner")

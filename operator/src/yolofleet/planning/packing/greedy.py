"""A plan without a solver: every demand on its own best kind of slice, GPUs filled one layout after another."""

from __future__ import annotations

import numpy as np

from yolofleet.planning.packing.covering import cheapest_covers
from yolofleet.planning.packing.prices import first_prices
from yolofleet.planning.packing.problem import Floats, Ints, Problem


def greedy(problem: Problem) -> tuple[Ints, Floats, float]:
    """Return slices per need, GPUs per layout and their cost: the fallback, and where the search begins.

    It heeds no limits of products: who calls checks them.
    """
    price = first_prices(problem, np.zeros(len(problem.products)))
    counts = cheapest_covers(problem.rate, problem.demand, price, most_states=0).best.counts
    gpus = filled(problem, counts.sum(0), price)
    return counts, gpus, float(gpus @ problem.price)


def filled(problem: Problem, used: Ints, price: Floats) -> Floats:
    """Open GPUs until their layouts hold all slices; each time the layout that takes most for its cost.

    Only whole GPUs: of those that others share there are too few to count on.
    """
    left = used.astype(int)
    layouts = problem.layouts.astype(int)
    gpus = np.zeros(len(layouts))
    cost = np.where(problem.whole, np.maximum(problem.price, problem.least_price), np.inf)
    while left.any():
        worth = (np.minimum(layouts, left) @ price) / cost
        best = int(worth.argmax())
        held = layouts[best]
        full = held[held > 0]
        times = max(1, int((left[held > 0] // full).min()))
        gpus[best] += times
        left = np.maximum(left - times * held, 0)
    return gpus

"""From a pool of covers to one cover per deployment: the relaxation chooses, and few choices are left in fractions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolofleet.planning.packing.covering import Columns
from yolofleet.planning.packing.pool import Pool, joined
from yolofleet.planning.packing.prices import Prices
from yolofleet.planning.packing.problem import Flags, Floats, Ints, Problem
from yolofleet.planning.packing.programmes import choose

_HUGE = 20_000
_FLEXIBLE = 6_000
_GOLDEN = 0.6180339887498949


@dataclass(frozen=True)
class Rounded:
    """A cover for every need, whether the relaxation split it, and the covers to choose anew among.

    `spare` is what the second-best cover costs more: small for needs that can change at no price.
    """

    counts: Ints
    split: Flags
    spare: Floats
    columns: Columns


def relax(problem: Problem, pool: Pool, prices: Prices) -> Rounded:
    """Solve the relaxation over the pool, and take every need's largest share."""
    counts = pool.best.copy()
    columns, spare = pool.columns, _second(problem, pool.columns)
    if len(problem.demand) > _HUGE:
        counts = dealt(prices)
        ranked = np.argsort(spare, kind="stable")
        # Half those that change at least cost, half of every sort: each kind of slice must find its balance.
        flexible = np.concatenate([ranked[:_FLEXIBLE], ranked[_FLEXIBLE :: max(1, len(ranked) // _FLEXIBLE)]])
        free = np.zeros(len(problem.demand), bool)
        free[flexible] = np.isfinite(spare[flexible])
    else:
        free = np.isfinite(spare)
    columns = columns.take(np.flatnonzero(free[columns.need]))
    if len(problem.demand) > _HUGE:
        # What was dealt is always a choice: the relaxation can only be better.
        mine = np.flatnonzero(free)
        columns = joined([columns, Columns(mine, counts[mine], np.zeros(len(mine)))])
    split = np.zeros(len(counts), bool)
    mix = choose(problem, columns, counts[~free].sum(0).astype(float), whole=False) if len(columns) else None
    if mix is None:
        return Rounded(counts, split, spare, columns)
    order = np.lexsort((-mix.shares, columns.need))
    first = order[np.flatnonzero(np.diff(columns.need[order], prepend=-1))]
    counts[columns.need[first]] = columns.counts[first]
    split[columns.need[first]] = mix.shares[first] < 1 - 1e-6
    return Rounded(counts, split, spare, columns)


def _second(problem: Problem, columns: Columns) -> Floats:
    """Return what each need's second cover costs above its first; infinite where there is none."""
    spare = np.full(len(problem.demand), np.inf)
    order = np.lexsort((columns.cost, columns.need))
    need = columns.need[order]
    second = np.flatnonzero(np.arange(len(need)) - np.searchsorted(need, need) == 1)
    spare[need[second]] = columns.cost[order][second]
    return spare


def dealt(prices: Prices) -> Ints:
    """Give each group's needs the covers of the pricing rounds, in the shares that the planes weigh them with.

    Which need gets which round's is dealt by the golden ratio: even at every scale, and the same each time.
    """
    group, rounds = prices.groups, prices.rounds
    place = np.modf((np.arange(len(group)) + 0.5) * _GOLDEN)[0]
    weights = prices.weights[: len(rounds)]
    share = np.cumsum(weights / np.maximum(weights.sum(0), 1e-12), axis=0)
    taken = np.minimum((place[None, :] >= share[:, group]).sum(0), len(rounds) - 1)
    counts = rounds[0].counts.copy()
    for turn, covers in enumerate(rounds):
        mine = taken == turn
        counts[mine] = covers.counts[mine]
    return counts

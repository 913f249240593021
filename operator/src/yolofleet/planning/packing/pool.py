"""Covers worth choosing among: those met while pricing and those near the best, without doubles, cheapest first."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolofleet.planning.packing.covering import Columns, cheapest_covers
from yolofleet.planning.packing.prices import Prices, affordable
from yolofleet.planning.packing.problem import Floats, Ints, Problem
from yolofleet.planning.packing.programmes import Mix, choose

_MOST_COLUMNS = 25_000
_MOST_STATES = 1_500_000
_SMALL = 2000
_FEW = 300
_COLUMN_ROUNDS = 5


@dataclass(frozen=True)
class Pool:
    """The covers, and the best of each need at the best prices."""

    columns: Columns
    best: Ints


def joined(parts: list[Columns]) -> Columns:
    """Put covers together, doubles once, ordered by need."""
    need = np.concatenate([part.need for part in parts])
    counts = np.concatenate([part.counts for part in parts]).astype(np.int32)
    rows = np.ascontiguousarray(np.column_stack([need.astype(np.int32), counts]))
    _, first = np.unique(rows.view([("", rows.dtype)] * rows.shape[1]).ravel(), return_index=True)
    first = first[np.argsort(need[first], kind="stable")]
    return Columns(need[first], counts[first], np.zeros(len(first)))


def margin_of(problem: Problem) -> float:
    """Return how far from the best a cover may be to be worth keeping, in cost: more for fewer deployments."""
    needs = len(problem.demand)
    share = 0.02 if needs <= _FEW else 0.01 if needs <= _SMALL else 0.002
    return share * float(problem.price.max())


def gather(problem: Problem, prices: Prices) -> Pool:
    """Collect covers; with few deployments, also improve the prices by what choosing among the covers tells."""
    margin = margin_of(problem)
    small = len(problem.demand) <= _SMALL
    columns = joined(prices.rounds[-30:] if small else prices.rounds[-12:])
    slices, rents = prices.slices, prices.rents
    for turn in range(_COLUMN_ROUNDS + 1 if small else 1):
        first = turn == 0
        covers = cheapest_covers(
            problem.rate,
            problem.demand,
            slices,
            margin=margin if first else margin / 4,
            most_states=_MOST_STATES if first else _MOST_STATES // 4,
        )
        prices.learn(problem, covers, slices, rents)
        columns = trimmed(problem, joined([columns, covers.best, *([covers.near] if covers.near else [])]), prices)
        if turn == _COLUMN_ROUNDS or not small:
            break
        mix = choose(problem, columns, np.zeros(problem.rate.shape[1]), whole=False)
        if mix is None or mix.cost - prices.bound < 1e-6 * mix.cost or _settled(problem, prices, mix):
            break
        slices, rents = _between(problem, prices, mix, 0.5 if turn <= 1 else 0.3)
    return Pool(columns, _cheapest(problem, columns))


def _cheapest(problem: Problem, columns: Columns) -> Ints:
    order = np.lexsort((columns.cost, columns.need))
    need = columns.need[order]
    first = order[np.flatnonzero(np.diff(need, prepend=-1))]
    best = np.zeros((len(problem.demand), problem.rate.shape[1]), np.int32)
    best[columns.need[first]] = columns.counts[first]
    return best


def _settled(problem: Problem, prices: Prices, mix: Mix) -> bool:
    """Tell whether bound and relaxation round up to the same sum."""
    return problem.rounded_up(prices.bound) >= problem.rounded_up(mix.cost) - 1e-9


def _between(problem: Problem, prices: Prices, mix: Mix, lean: float) -> tuple[Floats, Floats]:
    rents = lean * prices.rents + (1 - lean) * mix.rents
    return affordable(problem, lean * prices.slices + (1 - lean) * mix.slices, rents), rents


def trimmed(problem: Problem, pool: Columns, prices: Prices) -> Columns:
    """Leave what costs little more than the best at the best prices; `cost` becomes that difference."""
    cost = pool.counts @ prices.slices
    least = np.full(len(problem.demand), np.inf)
    np.minimum.at(least, pool.need, cost)
    over = cost - least[pool.need]
    keep = over <= 0.1 * float(problem.price.max())
    most = _MOST_COLUMNS + len(problem.demand)
    if keep.sum() > most:
        keep &= over <= np.partition(over, most)[most]
    at: Ints = np.flatnonzero(keep)
    return Columns(pool.need[at], pool.counts[at], over[at])

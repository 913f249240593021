"""Least movement, first half: of all plans that keep to a budget, the one that starts the fewest new replicas.

Whoever is served well stays, whoever is short gets slices on top, whoever has too much gives some back; the cheapest
covers are choices too. A linear programme chooses within the budget, integer programmes over a few mend the rounding.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from yolofleet.planning.packing.covering import Columns, cheapest_covers
from yolofleet.planning.packing.plan import Packing
from yolofleet.planning.packing.pool import joined
from yolofleet.planning.packing.problem import Flags, Floats, Ints, Problem
from yolofleet.planning.packing.programmes import Mix, choose
from yolofleet.planning.packing.repair import spread

_TINY = 1e-6
_NEAR = 0.02
_MOST_STATES = 400_000
_STARTS_PER_GPU = 50.0
_WIDTH = 4.0
_MOST_EACH = 60
_CALM = 3
_FREED = (40, 80, 120, 200, 400, 800)
_NODES = 100
_ENOUGH = 1.02


def stay(packing: Packing, held: Ints, *, budget: float) -> Packing:
    """Return the plan with the fewest new slices that costs `budget` at most; `held` is what each need has today.

    Never worse than the packing itself where that costs no more than the budget. Its bound stays the packing's.
    """
    problem = packing.problem
    if not len(problem.demand):
        return packing
    columns = _choices(packing, held)
    nobody = np.zeros(problem.rate.shape[1])
    relaxed = choose(problem, columns, nobody, whole=False, budget=budget)
    if relaxed is None:
        return packing
    counts, gpus, started = packing.counts, packing.gpus.astype(float), _started(packing.counts, held)
    picked, split = _rounded(columns, relaxed.shares, len(problem.demand))
    for turn, freed in enumerate(_FREED):
        if started <= max(relaxed.cost * _ENOUGH, np.ceil(relaxed.cost - _TINY)):
            break
        mended = _mended(problem, columns, picked, split | _others(columns, split, freed, turn), budget)
        if mended is None:
            continue
        picked, mix = mended
        split = np.zeros(len(split), bool)
        chosen = columns.counts[picked]
        if _started(chosen, held) < started:
            counts, gpus, started = chosen, np.round(mix.gpus), _started(chosen, held)
    whole = gpus.astype(int)
    return replace(packing, counts=counts, gpus=whole, cost=round(float(whole @ problem.price), 6))


def _started(counts: Ints, held: Ints) -> float:
    return float(np.maximum(counts - held, 0).sum())


def _choices(packing: Packing, held: Ints) -> Columns:
    """Collect covers near the cheapest and near what is held; `cost` is how many slices each has to start."""
    problem = packing.problem
    everyone = np.arange(len(problem.demand))
    covers = cheapest_covers(
        problem.rate,
        problem.demand,
        packing.slices,
        margin=_NEAR * float(problem.price.max()),
        most_states=_MOST_STATES,
    )
    parts = [Columns(everyone, packing.counts, np.zeros(len(everyone))), covers.best, *_stays(packing, held)]
    found = joined([*parts, covers.near] if covers.near is not None else parts)
    starts = np.maximum(found.counts - held[found.need], 0).sum(1).astype(float)
    least = covers.best.counts @ packing.slices
    dearer = (found.counts @ packing.slices - least[found.need]) / float(problem.price.max())
    mine = (found.counts == packing.counts[found.need]).all(1)
    key = np.where(mine, -1.0, starts + _STARTS_PER_GPU * dearer)
    return _worth_it(Columns(found.need, found.counts, starts), key, len(everyone))


def _worth_it(columns: Columns, key: Floats, needs: int) -> Columns:
    """Leave each need those that start little and cost little, those that start least, and the fresh one (key −1)."""
    least = np.full(needs, np.inf)
    np.minimum.at(least, columns.need, np.where(key < 0, np.inf, key))
    near = (_place(columns.need, key) < _MOST_EACH) & (
        key <= np.where(np.isfinite(least), least, 0)[columns.need] + _WIDTH
    )
    calm = _place(columns.need, columns.cost + 1e-3 * key) < _CALM
    return columns.take(np.flatnonzero(near | calm))


def _place(need: Ints, key: Floats) -> Ints:
    """Return each column's place among its need's, the least key first."""
    order = np.lexsort((key, need))
    place = np.empty(len(need), int)
    place[order] = np.arange(len(need)) - np.searchsorted(need[order], need[order])
    return place


def _stays(packing: Packing, held: Ints) -> list[Columns]:
    """Return covers made from what is held: as it is, with some given back, topped up, one exchanged."""
    problem = packing.problem
    parts = []
    served = (problem.rate * held).sum(1)
    enough = served >= problem.demand * (1 - _TINY / 10)
    kept = np.flatnonzero(enough)
    parts.append(Columns(kept, held[kept], np.zeros(len(kept))))
    parts.append(_lean(packing, held, kept))
    parts += _topped_up(packing, np.flatnonzero(~enough), held)
    for kind in range(held.shape[1]):
        rate = np.maximum(problem.rate[:, kind], 1e-12)
        room = np.floor((served - problem.demand) / rate + 1e-9)
        given = np.minimum(held[:, kind], np.where(enough & (problem.rate[:, kind] > 0), room, 0)).astype(int)
        some = np.flatnonzero(given > 0)
        fewer = held[some].copy()
        fewer[:, kind] -= given[some]
        parts.append(Columns(some, fewer, np.zeros(len(some))))
        exchanged = held.copy()
        exchanged[:, kind] -= 1
        parts += _topped_up(packing, np.flatnonzero(held[:, kind] > 0), exchanged)
    return parts


def _lean(packing: Packing, held: Ints, needs: Ints) -> Columns:
    """Give back as much as demand allows, the dearest kinds first."""
    problem, left = packing.problem, held[needs].copy()
    for kind in np.argsort(-packing.slices, kind="stable"):
        rate = problem.rate[needs, kind]
        spare = (problem.rate[needs] * left).sum(1) - problem.demand[needs]
        room = np.floor(spare / np.maximum(rate, 1e-12) + 1e-9)
        left[:, kind] -= np.clip(np.where(rate > 0, room, left[:, kind]), 0, left[:, kind]).astype(left.dtype)
    return Columns(needs, left, np.zeros(len(needs)))


def _topped_up(packing: Packing, needs: Ints, base: Ints) -> list[Columns]:
    """Cover what these needs lack beyond `base` in the cheapest ways; those that lack nothing stay at it."""
    problem = packing.problem
    lacking = problem.demand[needs] - (problem.rate[needs] * base[needs]).sum(1)
    short = needs[lacking > _TINY / 10 * problem.demand[needs]]
    fine = np.setdiff1d(needs, short)
    parts = [Columns(fine, base[fine], np.zeros(len(fine)))]
    if len(short):
        lacking = problem.demand[short] - (problem.rate[short] * base[short]).sum(1)
        margin = _NEAR * float(problem.price.max())
        covers = cheapest_covers(
            problem.rate[short], lacking, packing.slices, margin=margin, most_states=_MOST_STATES // 4
        )
        more = [covers.best, _fewest(problem.rate[short], lacking), *([covers.near] if covers.near else [])]
        parts += [Columns(short[one.need], base[short[one.need]] + one.counts, one.cost) for one in more]
    return parts


def _fewest(rate: Floats, lacking: Floats) -> Columns:
    """Cover what is lacking with the fewest slices: those of the fastest kind."""
    every, fastest = np.arange(len(rate)), rate.argmax(1)
    counts = np.zeros(rate.shape, np.int32)
    counts[every, fastest] = np.ceil(lacking / rate[every, fastest] - _TINY / 10)
    return Columns(every, counts, np.zeros(len(rate)))


def _rounded(columns: Columns, shares: Floats, needs: int) -> tuple[Ints, Flags]:
    """Return the place of each need's largest share, and who was split."""
    order = np.lexsort((-shares, columns.need))
    picked = order[np.flatnonzero(np.diff(columns.need[order], prepend=-1))]
    split = np.zeros(needs, bool)
    split[columns.need[picked]] = shares[picked] < 1 - _TINY
    return picked, split


def _others(columns: Columns, split: Flags, wanted: int, turn: int) -> Flags:
    """Name more needs to choose for anew: those with most to choose from, other ones each turn."""
    choices = np.bincount(columns.need, minlength=len(split))
    ranked = np.argsort(np.where(split, 1, -choices), kind="stable")
    freed = np.zeros(len(split), bool)
    freed[spread(ranked, wanted, turn)] = True
    return freed


def _mended(problem: Problem, columns: Columns, picked: Ints, free: Flags, budget: float) -> tuple[Ints, Mix] | None:
    """Choose whole covers for the free needs beside what the others picked; None if the budget is missed."""
    used = columns.counts[picked[~free]].sum(0).astype(float)
    open_ones = np.flatnonzero(free[columns.need])
    mix = choose(problem, columns.take(open_ones), used, whole=True, most_nodes=_NODES, budget=budget)
    if mix is None:
        return None
    on = open_ones[np.flatnonzero(np.round(mix.shares))]
    anew = picked.copy()
    anew[columns.need[on]] = on
    return anew, mix

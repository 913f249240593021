"""Small integer programmes that mend a rounded plan until it meets the bound, or the rounds are used up."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolofleet.planning.packing.problem import Floats, Ints, Problem
from yolofleet.planning.packing.programmes import Mix, choose, choose_freely, lay_out
from yolofleet.planning.packing.rounding import Rounded

_TINY = 1e-6
_ROUNDS = 8
_FEW = 150
_FREED = (0, 30, 60, 100, 100, 150, 200, 200)
_FREE_COUNTS = 15
_NODES = 200
_ONE_PRODUCT = 6


@dataclass
class Draft:
    """The best plan so far: slices per need, GPUs per layout, their cost."""

    counts: Ints
    gpus: Floats
    cost: float

    def improve(self, counts: Ints, mix: Mix | None) -> None:
        """Take a cheaper plan."""
        if mix is not None and mix.cost < self.cost - _TINY:
            self.counts, self.gpus, self.cost = counts, np.round(mix.gpus), mix.cost


def repair(problem: Problem, rounded: Rounded, proved: float, draft: Draft, *, enough: float) -> None:
    """Lay out the rounded plan, then free ever more needs and choose for them anew."""
    target = problem.rounded_up(proved) + _TINY
    draft.improve(rounded.counts, lay_out(problem, rounded.counts.sum(0).astype(float), stop_at=target))
    if not np.isfinite(draft.cost):
        draft.counts = rounded.counts
    tried: set[bytes] = set()
    for turn in range(_ROUNDS):
        if draft.cost <= target + enough * target:
            return
        if turn % 2 == 1 if len(problem.demand) <= _FEW else turn % 3 == 1:
            _count_anew(problem, rounded, draft, turn, target)
        else:
            _choose_anew(problem, rounded, draft, turn, target, tried=tried)


def _choose_anew(
    problem: Problem, rounded: Rounded, draft: Draft, turn: int, target: float, *, tried: set[bytes]
) -> None:
    """Choose again among the pool's covers: for the split needs, and for those that change at least cost.

    With few needs later turns free the same ones: `tried` holds what was asked already, for it is answered alike.
    """
    several = np.isfinite(rounded.spare)
    free = rounded.split.copy()
    if len(problem.demand) <= _FEW:
        free |= several
    others = np.flatnonzero(several & ~free)
    ranked = others[np.argsort(rounded.spare[others], kind="stable")]
    free[spread(ranked, _FREED[turn], turn)] = True
    columns = rounded.columns.take(np.flatnonzero(free[rounded.columns.need]))
    free[:] = False
    free[columns.need] = True
    used = draft.counts[~free].sum(0).astype(float)
    asked = free.tobytes() + used.tobytes()
    if asked in tried:
        return
    tried.add(asked)
    mix = choose(problem, columns, used, whole=True, most_nodes=_NODES, stop_at=target)
    if mix is None:
        return
    counts = draft.counts.copy()
    on = np.flatnonzero(np.round(mix.shares))
    counts[columns.need[on]] = columns.counts[on]
    draft.improve(counts, mix)


def _count_anew(problem: Problem, rounded: Rounded, draft: Draft, turn: int, target: float) -> None:
    """Choose any whole numbers of slices for a few: it finds what no cover of the pool holds."""
    size = draft.counts.sum(1)
    few = _FREE_COUNTS * (2 if problem.rate.shape[1] <= _ONE_PRODUCT else 1)
    ranked = np.argsort(size if turn > _ROUNDS // 2 else -size, kind="stable")
    split = np.flatnonzero(rounded.split)[:few]
    needs = np.union1d(split, spread(ranked, few - len(split), turn // 3))
    used = (draft.counts.sum(0) - draft.counts[needs].sum(0)).astype(float)
    mix = choose_freely(problem, needs, used, most_nodes=_NODES, stop_at=target)
    if mix is None:
        return
    counts = draft.counts.copy()
    counts[needs] = np.round(mix.shares).astype(int).reshape(len(needs), -1)
    if ((problem.rate[needs] * counts[needs]).sum(1) >= problem.demand[needs] * (1 - _TINY / 10)).all():
        draft.improve(counts, mix)


def spread(ranked: Ints, wanted: int, turn: int) -> Ints:
    """Take `wanted` of the first ranked, other ones each turn, the same each run."""
    if wanted <= 0 or not len(ranked):
        return ranked[:0]
    window = ranked[: wanted * (2 + turn)]
    step = max(1, len(window) // wanted)
    taken: Ints = window[turn % step :: step][:wanted]
    return taken

"""Least movement, second half: which layout each GPU takes, all at once, so that most of what is busy stays.

GPUs that hold the same slices are one pattern. One integer programme says how many GPUs of each pattern take each
layout: choosing the layouts first and matching them to GPUs afterwards moves far more. Its relaxation leaves few
GPUs open; a small programme over these ends it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

import numpy as np

from yolofleet.planning.layouts.geometry import Lattice, Layout, Slice, maximal
from yolofleet.planning.packing.problem import Flags, Floats, Ints
from yolofleet.planning.packing.solver import INFINITE, Program, Terms, solve

_DISPLACED = 1.0
_RECUT = 0.125  # a slice cut or removed beside: less than a replica moved, more than nothing
_OPENED = 1e-3
_MISSING = 1e4
_REOPENED = (0, 20, 60, 200)
_NODES = 200
_TINY = 1e-6


@dataclass(frozen=True, order=True)
class Pattern:
    """What GPUs of one pattern hold: slices not ours, busy ones, free ones."""

    foreign: Layout
    busy: Layout
    free: Layout


@dataclass(frozen=True)
class Assigned:
    """For every pattern the layouts its GPUs take, each with how many (empty: ours are gone); slices without a GPU."""

    layouts: Mapping[Pattern, tuple[tuple[Layout, int], ...]]
    missing: Mapping[str, int]


@dataclass(frozen=True)
class _Choices:
    """Which pattern may take which layout: what it moves, what it offers, whether it opens one of the GPUs allowed."""

    pattern: Ints
    layout: list[Layout]
    cost: Floats
    offer: Floats
    opens: Floats

    def take(self, which: Ints) -> _Choices:
        return _Choices(
            self.pattern[which],
            [self.layout[at] for at in which],
            self.cost[which],
            self.offer[which],
            self.opens[which],
        )


def assign(lattice: Lattice, patterns: Mapping[Pattern, int], wanted: Mapping[str, int], most: int) -> Assigned:
    """Find room for the wanted slices by profile on `most` GPUs; GPUs with slices not ours come on top of these."""
    known = sorted(patterns)
    there: Floats = np.array([patterns[one] for one in known], float)
    need = np.array([wanted.get(kind.profile, 0) for kind in lattice.kinds], float)
    choices = _choices(lattice, known)
    relaxed, _ = _solved(choices, there, need, float(most), whole=False)
    for turn, reopened in enumerate(_REOPENED):
        taken = np.floor(relaxed + _TINY)
        _reopen(taken, reopened, turn)
        left = there - np.bincount(choices.pattern, weights=taken, minlength=len(known))
        lacking = np.maximum(need - taken @ choices.offer, 0)
        some = np.flatnonzero(left[choices.pattern])
        rest, missing = _solved(choices.take(some), left, lacking, most - float(taken @ choices.opens), whole=True)
        if not missing.any() or turn == len(_REOPENED) - 1 or not relaxed.any():
            break
    taken[some] += rest
    found: dict[Pattern, list[tuple[Layout, int]]] = {one: [] for one in known}
    for at in np.flatnonzero(taken):
        found[known[choices.pattern[at]]].append((choices.layout[at], int(taken[at])))
    names = [kind.profile for kind in lattice.kinds]
    short = {name: round(n) for name, n in zip(names, missing, strict=True) if n}
    return Assigned({one: tuple(rows) for one, rows in found.items()}, short)


def _reopen(taken: Floats, wanted: int, turn: int) -> None:
    """Leave one GPU more of some patterns open, other ones each turn: the last few must be free to fit together."""
    on = np.flatnonzero(taken)
    if wanted and len(on):
        taken[on[turn % 2 :: max(1, len(on) // wanted)]] -= 1


@cache
def _full_layouts(lattice: Lattice, foreign: Layout) -> tuple[tuple[Layout, ...], tuple[Slice, ...], Flags, Floats]:
    """Return the layouts into which nothing more fits, their slices as a table over all places, and by profile."""
    full = maximal(lattice, foreign)
    places = tuple(Slice(start, kind.profile) for kind in lattice.kinds for start in kind.starts)
    where = {one: at for at, one in enumerate(places)}
    table = np.zeros((len(full), len(places)), bool)
    for row, layout in zip(table, full, strict=True):
        row[[where[one] for one in layout]] = True
    kinds = np.repeat(np.arange(len(lattice.kinds)), [len(kind.starts) for kind in lattice.kinds])
    ours = table & ~np.isin(np.arange(len(places)), [where[one] for one in foreign])
    offer = np.stack([ours[:, kinds == k].sum(1) for k in range(len(lattice.kinds))], axis=1).astype(float)
    return full, places, ours, offer


def _choices(lattice: Lattice, known: list[Pattern]) -> _Choices:
    """Lay out, for each pattern, the layout of each offer that moves least, and that of leaving."""
    owner, layouts, cost, offer, opens = [], [], [], [], []
    for at, pattern in enumerate(known):
        full, places, ours, offers = _full_layouts(lattice, pattern.foreign)
        busy = np.isin(np.arange(len(places)), [places.index(one) for one in pattern.busy])
        free = np.isin(np.arange(len(places)), [places.index(one) for one in pattern.free])
        moved = _DISPLACED * (len(pattern.busy) - (ours & busy).sum(1))
        recut = len(pattern.free) - (ours & free).sum(1) + (ours & ~busy & ~free).sum(1)
        price = moved + _RECUT * recut + (_OPENED if not pattern.busy else 0.0)
        order = np.lexsort((price, *offers.T))
        first = order[np.flatnonzero(np.any(np.diff(offers[order], axis=0, prepend=-1), axis=1))]
        owner += [at] * (len(first) + 1)
        layouts += [full[one] for one in first] + [()]
        cost += [*price[first], _DISPLACED * len(pattern.busy)]
        offer += [*offers[first], np.zeros(len(lattice.kinds))]
        opens += [0.0 if pattern.foreign else 1.0] * len(first) + [0.0]
    return _Choices(
        np.array(owner, int),
        layouts,
        np.array(cost, float),
        np.array(offer, float).reshape(-1, len(lattice.kinds)),
        np.array(opens, float),
    )


def _solved(choices: _Choices, there: Floats, need: Floats, most: float, *, whole: bool) -> tuple[Floats, Floats]:
    """Return how many GPUs take each choice, and what finds no room."""
    rows, kinds, columns = len(there), len(need), len(choices.cost)
    every, kind = np.arange(columns), np.arange(kinds)
    at, offered = np.nonzero(choices.offer)
    opening = np.flatnonzero(choices.opens)
    terms = Terms(
        np.concatenate([choices.pattern, rows + offered, np.full(len(opening), rows + kinds), rows + kind]),
        np.concatenate([every, at, opening, columns + kind]),
        np.concatenate([np.ones(columns), choices.offer[at, offered], np.ones(len(opening)), np.ones(kinds)]),
    )
    program = Program(
        cost=np.concatenate([choices.cost, np.full(kinds, _MISSING)]),
        upper=np.concatenate([there[choices.pattern], need]),
        terms=terms,
        row_lower=np.concatenate([there, need, [-INFINITE]]),
        row_upper=np.concatenate([there, np.full(kinds, INFINITE), [most]]),
        whole=np.ones(columns + kinds, bool) if whole else None,
    )
    found = solve(program, most_nodes=_NODES)
    if found is None:
        raise AssertionError("no layouts although leaving every GPU is a choice: a bug of the planner")
    values = np.round(found.values) if whole else found.values
    return values[:columns], values[columns:]

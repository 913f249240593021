"""The three programmes that plans are made of: covers to choose among, free counts for a few, layouts alone."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from yolofleet.planning.packing.covering import Columns
from yolofleet.planning.packing.problem import Floats, Ints, Problem
from yolofleet.planning.packing.solver import INFINITE, Program, Terms, solve


@dataclass(frozen=True)
class Mix:
    """What a programme chose: a share per cover, GPUs per layout, their cost; prices where it had fractions."""

    shares: Floats
    gpus: Floats
    cost: float
    slices: Floats
    rents: Floats


def nothing(problem: Problem) -> Columns:
    """Return no covers."""
    return Columns(np.zeros(0, int), np.zeros((0, problem.rate.shape[1]), np.int32), np.zeros(0))


def choose(
    problem: Problem,
    columns: Columns,
    used: Floats,
    *,
    whole: bool,
    most_nodes: int = 200,
    stop_at: float | None = None,
    budget: float | None = None,
) -> Mix | None:
    """Give every need that has covers here one of them, beside what is `used` already, at the least cost of GPUs.

    With a `budget` GPUs may cost that much, and what is least is the sum of the covers' own `cost`.
    """
    ids, owner = np.unique(columns.need, return_inverse=True)
    every = np.arange(len(columns))
    one_each = (owner, every, np.ones(len(columns)))
    body = columns.counts
    least, most = np.ones(len(ids)), np.ones(len(ids))
    program = _program(problem, (one_each, body), used, (least, most), np.ones(len(columns)), whole=whole)
    if budget is not None:
        program = _within(program, columns.cost, budget)
    return _mix(problem, program, len(columns), len(ids), most_nodes=most_nodes, stop_at=stop_at)


def choose_freely(
    problem: Problem, needs: Ints, used: Floats, *, most_nodes: int = 200, stop_at: float | None = None
) -> Mix | None:
    """Give a few needs any whole numbers of slices that cover their demand; `shares` holds these, need by need."""
    kinds = problem.rate.shape[1]
    rate, demand = problem.rate[needs], problem.demand[needs]
    # Rates per demand: rows of like size, whatever the demand.
    share = (rate / demand[:, None]).ravel()
    owner, kind = np.repeat(np.arange(len(needs)), kinds), np.tile(np.arange(kinds), len(needs))
    usable = share > 0
    upper = np.where(usable, np.ceil(1 / np.where(usable, share, 1.0)), 0.0)
    body = np.zeros((len(share), kinds))
    body[np.arange(len(share)), kind] = 1
    covers = (owner[usable], np.flatnonzero(usable), share[usable])
    limits = (np.ones(len(needs)), np.full(len(needs), INFINITE))
    program = _program(problem, (covers, body), used, limits, upper, whole=True)
    return _mix(problem, program, len(share), len(needs), most_nodes=most_nodes, stop_at=stop_at)


def lay_out(problem: Problem, used: Floats, *, stop_at: float | None = None) -> Mix | None:
    """Find the cheapest GPUs whose layouts hold these slices."""
    return choose(problem, nothing(problem), used, whole=True, most_nodes=2000, stop_at=stop_at)


def _program(
    problem: Problem,
    body: tuple[tuple[Ints, Ints, Floats], Floats | Ints],
    used: Floats,
    first_rows: tuple[Floats, Floats],
    upper: Floats,
    *,
    whole: bool,
) -> Program:
    """Rows: first the needs', then one per slice kind (layouts hold what is taken), then one per limited product."""
    (row, column, value), taken = body
    _, kinds, layouts = problem.shape
    chosen, needs = len(taken), len(first_rows[0])
    at, kind = np.nonzero(taken)
    layout, held = np.nonzero(problem.layouts)
    rows = [row, needs + kind, needs + held]
    columns = [column, at, chosen + layout]
    values = [value, -taken[at, kind].astype(float), problem.layouts[layout, held]]
    for extra, product in enumerate(problem.limited):
        mine = np.flatnonzero(problem.layout_product == product)
        rows.append(np.full(len(mine), needs + kinds + extra))
        columns.append(chosen + mine)
        values.append(np.ones(len(mine)))
    limits = problem.limits[list(problem.limited)]
    return Program(
        cost=np.concatenate([np.zeros(chosen), problem.price]),
        upper=np.concatenate([upper, np.full(layouts, INFINITE)]),
        terms=Terms(np.concatenate(rows), np.concatenate(columns), np.concatenate(values)),
        row_lower=np.concatenate([first_rows[0], used, np.full(len(limits), -INFINITE)]),
        row_upper=np.concatenate([first_rows[1], np.full(kinds, INFINITE), limits]),
        whole=np.ones(chosen + layouts, bool) if whole else None,
    )


def _within(program: Program, cost: Floats, budget: float) -> Program:
    """Make the cost of GPUs a last row instead of the aim: a penalty for it would drown the aim."""
    chosen, rows = len(cost), len(program.row_lower)
    layouts = np.arange(chosen, len(program.cost))
    terms = program.terms
    return replace(
        program,
        cost=np.concatenate([cost, np.zeros(len(layouts))]),
        terms=Terms(
            np.concatenate([terms.row, np.full(len(layouts), rows)]),
            np.concatenate([terms.column, layouts]),
            np.concatenate([terms.value, program.cost[chosen:]]),
        ),
        row_lower=np.append(program.row_lower, -INFINITE),
        row_upper=np.append(program.row_upper, budget),
    )


def _mix(
    problem: Problem, program: Program, chosen: int, needs: int, *, most_nodes: int, stop_at: float | None
) -> Mix | None:
    found = solve(program, most_nodes=most_nodes, stop_at=stop_at)
    if found is None:
        return None
    kinds = problem.rate.shape[1]
    rents = np.zeros(len(problem.products))
    slices = np.zeros(kinds)
    if program.whole is None:
        slices = np.maximum(found.row_prices[needs : needs + kinds], 0)
        limited = list(problem.limited)
        rents[limited] = np.maximum(-found.row_prices[needs + kinds :][: len(limited)], 0)
    return Mix(found.values[:chosen], found.values[chosen:], found.cost, slices, rents)

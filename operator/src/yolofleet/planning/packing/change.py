"""One deployment changed: a new plan from the old one in milliseconds, with a bound of its own.

The old prices stay valid, whoever asks for what: only this deployment's cheapest cover changes in the sum that they
prove. Slices that are spare on the GPUs of the old plan are taken first.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from yolofleet.errors import Refused
from yolofleet.planning.packing.covering import cheapest_covers
from yolofleet.planning.packing.greedy import filled
from yolofleet.planning.packing.plan import Packing
from yolofleet.planning.packing.pool import margin_of
from yolofleet.planning.packing.problem import Floats, Ints
from yolofleet.planning.packing.programmes import lay_out
from yolofleet.planning.sizing.need import Need

_TINY = 1e-6


def changed(packing: Packing, need: Need) -> Packing | None:
    """Return the plan with this deployment's demand and rates replaced; None when the limits leave no room."""
    problem = packing.problem
    if need.name not in problem.needs:
        raise Refused(
            field="name", value=need.name, message="no such deployment in the plan", remedy="pack the fleet anew"
        )
    row = problem.needs.index(need.name)
    rates = np.array([need.rates.get(kind, 0.0) for kind in problem.columns])
    if need.demand <= 0 or not rates.any():
        raise Refused(
            field="demand, rates", value=need.name, message="asks for nothing that the plan has", remedy="pack anew"
        )
    rate, demand = problem.rate.copy(), problem.demand.copy()
    rate[row], demand[row] = rates, need.demand
    anew = replace(problem, rate=rate, demand=demand)
    before = _cost(problem.rate[row], float(problem.demand[row]), packing.slices)
    after = cheapest_covers(rates[None], np.array([need.demand]), packing.slices, margin=margin_of(problem))
    proved = packing.proved - before + float(after.bound[0])
    near = after.near.counts if after.near is not None else after.best.counts
    old = replace(packing, problem=anew, proved=proved)
    return _placed(old, row, near[np.argsort(near @ packing.slices, kind="stable")])


def _cost(rates: Floats, demand: float, slices: Floats) -> float:
    return float(cheapest_covers(rates[None], np.array([demand]), slices).best.cost[0])


def _placed(packing: Packing, row: int, covers: Ints) -> Packing | None:
    """Take the first cover that spare slices hold; else the cheapest, on further GPUs or on layouts chosen anew."""
    problem, counts = packing.problem, packing.counts.copy()
    others = counts.sum(0) - counts[row]
    spare = problem.layouts.T @ packing.gpus - others
    fits = np.flatnonzero((covers <= spare + _TINY).all(1))
    counts[row] = covers[fits[0] if len(fits) else 0]
    used = counts.sum(0)
    short = np.maximum(used - problem.layouts.T @ packing.gpus, 0).round().astype(int)
    more: Ints = (packing.gpus + filled(problem, short, packing.slices + _TINY)).astype(int)
    if (float(more @ problem.price) > packing.bound + _TINY and len(fits) == 0) or not _within(packing, more):
        again = lay_out(problem, used.astype(float), stop_at=packing.bound + _TINY)
        if again is not None and (again.cost < float(more @ problem.price) - _TINY or not _within(packing, more)):
            more = np.round(again.gpus).astype(int)
    if not _within(packing, more):
        return None
    return replace(packing, counts=counts, gpus=more, cost=round(float(more @ problem.price), 6))


def _within(packing: Packing, gpus: Ints) -> bool:
    problem = packing.problem
    totals = np.bincount(problem.layout_product, weights=gpus, minlength=len(problem.products))
    return bool((totals <= problem.limits + _TINY).all())

"""Demand has changed: the next plan on the GPUs there are, within a budget above the best, with little moved."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from yolofleet.planning.layouts.geometry import Lattice
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState, Holding, overlay
from yolofleet.planning.layouts.spreading import Place
from yolofleet.planning.packing.outcome import filled_gpus
from yolofleet.planning.packing.plan import Packing
from yolofleet.planning.packing.problem import Ints, Problem
from yolofleet.planning.packing.staying import stay

SLACK = 0.005
"""How much more than the best a plan may cost so that less moves: half a hundredth."""


@dataclass(frozen=True)
class Settled:
    """The plan, what each GPU shall become, and in words what finds no room there."""

    packing: Packing
    goal: Mapping[str, Holding]
    missed: tuple[str, ...]


def settle(
    packing: Packing,
    today: Sequence[GpuState],
    lattices: Mapping[str, Lattice] | None = None,
    *,
    slack: float = SLACK,
    where: Mapping[str, Place] | None = None,
) -> Settled:
    """Return the plan that moves little and costs at most `slack` more than this one, on these GPUs.

    `lattices` name all profiles that may lie on a GPU today, where that is more than the plan may use; `where` says
    zone and node of each GPU, for new replicas to be spread over.
    """
    problem = packing.problem
    budget = packing.cost * (1 + slack) + 1e-6
    found = stay(packing, held_by_need(problem, today), budget=budget)
    most = Counter[str]()
    for owner, count in zip(problem.layout_product, found.gpus, strict=True):
        if not problem.products[owner].fixed:
            most[problem.products[owner].name] += int(count)
    whole = [product for product in problem.products if not product.fixed]
    if len(whole) == 1 and whole[0].price > 0:
        # One product: what the budget leaves may be opened too.
        most[whole[0].name] = int(budget / whole[0].price)
    known = {product.name: product.lattice for product in whole} | dict(lattices or {})
    goal, missed = overlay(today, filled_gpus(found), known, most=most, where=where)
    return Settled(found, goal, missed)


def held_by_need(problem: Problem, today: Sequence[GpuState]) -> Ints:
    """Count what each need holds today, by kind of slice."""
    rows = {name: at for at, name in enumerate(problem.needs)}
    kinds = {kind: at for at, kind in enumerate(problem.columns)}
    held = np.zeros((len(rows), len(kinds)), np.int32)
    for gpu in today:
        for one, owner in gpu.slices:
            if owner not in (None, FOREIGN) and owner in rows and (gpu.product, one.profile) in kinds:
                held[rows[owner], kinds[gpu.product, one.profile]] += 1
    return held

"""What a packing means to its readers: who gets what and why, which GPU holds what, and the proof."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from yolofleet.planning.layouts.geometry import Slice
from yolofleet.planning.packing.certificate import Certificate
from yolofleet.planning.packing.plan import Packing
from yolofleet.planning.packing.stock import is_reserve

FOREIGN = "(foreign)"
"""Who holds a slice of somebody else's pod: no step may touch it. No deployment can have this name."""
Kind = tuple[str, str]
_TINY = 1e-6


@dataclass(frozen=True)
class Share:
    """The slices that one deployment gets: how many of which kind, what they serve, and why these."""

    name: str
    slices: tuple[tuple[Kind, int], ...]
    demand: float
    served: float
    why: str


@dataclass(frozen=True)
class FilledGpu:
    """One GPU: its layout, and whose each slice is; None for one that nobody needs yet, FOREIGN for others' pods."""

    product: str
    slices: tuple[tuple[Slice, str | None], ...]


def certificate(packing: Packing) -> Certificate:
    """Return the numbers that prove the packing's bound; kinds that nobody can use are worth nothing."""
    columns, products = packing.problem.columns, packing.problem.products
    return Certificate(
        packing.proved,
        {kind: float(worth) for kind, worth in zip(columns, packing.slices, strict=True)},
        {product.name: float(rent) for product, rent in zip(products, packing.rents, strict=True)},
    )


def shares(packing: Packing) -> tuple[Share, ...]:
    """Return what each deployment gets, and the reason, in order of name."""
    return tuple(_share(packing, row) for row in range(len(packing.problem.needs)))


def _share(packing: Packing, row: int) -> Share:
    problem, counts = packing.problem, packing.counts[row]
    taken = tuple((problem.columns[at], int(counts[at])) for at in counts.nonzero()[0])
    served = float(problem.rate[row] @ counts)
    return Share(problem.needs[row], taken, float(problem.demand[row]), served, _why(packing, row, served))


def _why(packing: Packing, row: int, served: float) -> str:
    problem, counts = packing.problem, packing.counts[row]
    demand = float(problem.demand[row])
    cost = float(packing.slices @ counts)
    taken = " + ".join(f"{int(counts[at])} × {' '.join(problem.columns[at])}" for at in counts.nonzero()[0])
    if is_reserve(problem.needs[row]):
        return f"{taken} kept for what the pool reserves, at a worth of {cost:.3f}"
    told = [f"{taken} serve {served:.0f} of {demand:.0f} fps at a worth of {cost:.3f}"]
    for at in _smaller(packing, row):
        rate = float(problem.rate[row, at])
        kind = " ".join(problem.columns[at])
        if rate <= 0:
            told.append(f"{kind} does not meet the objective, or is not allowed")
            continue
        need = math.ceil(demand / rate - 1e-9)
        told.append(f"{need} × {kind} alone would be worth {need * float(packing.slices[at]):.3f}")
    told += [
        f"{product.name} is scarce: each further GPU would save {rent:.2f}"
        for product, rent in zip(problem.products, packing.rents, strict=True)
        if rent > _TINY and any(product.sold_as == problem.columns[at][0] for at in counts.nonzero()[0])
    ]
    return "; ".join(told)


def _smaller(packing: Packing, row: int) -> Iterator[int]:
    """Yield, per product, the next smaller kind than the smallest taken."""
    problem, counts = packing.problem, packing.counts[row]
    for product in sorted({int(problem.column_product[at]) for at in counts.nonzero()[0]}):
        mine = [int(at) for at in (problem.column_product == product).nonzero()[0]]
        smallest = next(at for at in mine if counts[at])
        if smallest != mine[0]:
            yield smallest - 1


def filled_gpus(packing: Packing) -> tuple[FilledGpu, ...]:
    """Deal the slices out to GPUs: by layout, and by name of deployment; the same each time."""
    problem = packing.problem
    queues: dict[Kind, list[str]] = {kind: [] for kind in problem.columns}
    for name, counts in zip(problem.needs, packing.counts, strict=True):
        for at in counts.nonzero()[0]:
            queues[problem.columns[at]] += [name] * int(counts[at])
    for queue in queues.values():
        queue.reverse()
    made = []
    for layout, owner, count in zip(problem.placed, problem.layout_product, packing.gpus, strict=True):
        stock = problem.products[owner]
        fixed = tuple((one, FOREIGN) for one in stock.fixed)
        for _ in range(int(count)):
            slices = tuple((one, _next(queues[stock.sold_as, one.profile])) for one in layout)
            if not fixed or any(holder for _, holder in slices):
                made.append(FilledGpu(stock.sold_as, tuple(sorted((*fixed, *slices), key=lambda item: item[0]))))
    return tuple(made)


def _next(queue: list[str]) -> str | None:
    return queue.pop() if queue else None

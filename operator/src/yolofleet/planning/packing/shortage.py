"""When the GPUs there are do not suffice: serve by priority, tenth by tenth of demand, and say who goes short.

What is not served is bought from a made-up product, one per priority, that sells tenths of a demand at a price no
GPU can beat; the same optimisation does the rest. Priorities are strict: each is solved with what those above it
left unserved as a limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from yolofleet.planning.layouts.geometry import Kind, Lattice
from yolofleet.planning.packing.plan import Packing, pack
from yolofleet.planning.packing.problem import Product, problem_of
from yolofleet.planning.sizing.need import Need

TENTHS = 10
_TENTH = "tenth"
_ONE = Lattice((Kind(_TENTH, 1, (0,), 1),))


@dataclass(frozen=True)
class Shortfall:
    """A packing, and by how much which deployments go short, in frames per second."""

    packing: Packing
    unserved: Mapping[str, float]


def unserved_name(priority: int) -> str:
    """Return the name of the made-up product of one priority."""
    return f"unserved at priority {priority}"


def pack_by_priority(products: Sequence[Product], needs: Sequence[Need], priority: Mapping[str, int]) -> Shortfall:
    """Serve as much as the limits allow, higher priorities first; those not named in `priority` have 0."""
    classes = sorted({priority.get(need.name, 0) for need in needs}, reverse=True)
    allowed: dict[int, int | None] = dict.fromkeys(classes)
    prices = dict.fromkeys(classes, _ruinous(products, needs))
    found = _solve(products, needs, priority, allowed, prices)
    if _unserved(found) and len(classes) > 1:
        for at, rank in enumerate(classes):
            told = [need for need in needs if priority.get(need.name, 0) in classes[: at + 1]]
            found = _solve(products, told, priority, allowed, prices)
            allowed[rank] = round(_bought(found, rank))
    short = _unserved(found)
    return Shortfall(found if short else _without_markets(found, len(products)), short)


def _without_markets(packing: Packing, products: int) -> Packing:
    """Return a packing that buys nothing from made-up products without them; they come last among the products.

    What is proved with a choice more is proved without it.
    """
    problem = packing.problem
    columns = np.flatnonzero(problem.column_product < products)
    layouts = np.flatnonzero(problem.layout_product < products)
    real = replace(
        problem,
        products=problem.products[:products],
        columns=tuple(problem.columns[at] for at in columns),
        column_product=problem.column_product[columns],
        layouts=problem.layouts[np.ix_(layouts, columns)],
        layout_product=problem.layout_product[layouts],
        placed=tuple(problem.placed[at] for at in layouts),
        rate=problem.rate[:, columns],
    )
    return replace(
        packing,
        problem=real,
        counts=packing.counts[:, columns],
        gpus=packing.gpus[layouts],
        slices=packing.slices[columns],
        rents=packing.rents[:products],
    )


def _ruinous(products: Sequence[Product], needs: Sequence[Need]) -> float:
    """Return a price above what any tenth can cost on GPUs, a whole number: bounds round up to whole prices."""
    price = {product.name: product.price for product in products}
    tenths = (
        min(
            (
                math.ceil(need.demand / TENTHS / rate) * price[product]
                for (product, _), rate in need.rates.items()
                if rate
            ),
            default=0,
        )
        for need in needs
    )
    return float(math.ceil(2 * max((*tenths, *price.values()), default=1.0)))


def _solve(
    products: Sequence[Product],
    needs: Sequence[Need],
    priority: Mapping[str, int],
    allowed: Mapping[int, int | None],
    prices: Mapping[int, float],
) -> Packing:
    markets = [Product(unserved_name(rank), _ONE, prices[rank], limit) for rank, limit in allowed.items()]
    asked = [
        replace(
            need,
            rates={**need.rates, (unserved_name(priority.get(need.name, 0)), _TENTH): need.demand / TENTHS},
        )
        for need in needs
    ]
    found = pack(problem_of([*products, *markets], asked))
    if found is None:
        raise AssertionError("no plan although leaving everything unserved is one: a bug of the planner")
    return found


def _bought(packing: Packing, rank: int) -> float:
    name = unserved_name(rank)
    at = [at for at, column in enumerate(packing.problem.columns) if column[0] == name]
    return float(packing.counts[:, at].sum())


def _unserved(packing: Packing) -> dict[str, float]:
    problem = packing.problem
    real = [at for at, column in enumerate(problem.columns) if column[1] != _TENTH]
    served = (problem.rate[:, real] * packing.counts[:, real]).sum(1)
    short = problem.demand - served
    return {
        name: float(missing)
        for name, missing, demand in zip(problem.needs, short, problem.demand, strict=True)
        if missing > 1e-7 * demand
    }

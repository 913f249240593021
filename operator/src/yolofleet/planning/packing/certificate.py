"""A plan's proof, and its check: a few numbers from which anybody recomputes the lower bound without a solver.

If no layout's slices are worth more than their GPU costs (with its rent, if the product is scarce), then any plan
costs at least the sum of every deployment's cheapest cover at these worths, less the rents of the GPUs there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from yolofleet.planning.layouts.geometry import Lattice
from yolofleet.planning.packing.problem import Product
from yolofleet.planning.sizing.need import Need

_TINY = 1e-9
_DEEPEST = 40


@dataclass(frozen=True)
class Certificate:
    """What is claimed: no plan costs less than `bound`; with what each slice is worth, and each product's rent."""

    bound: float
    slices: Mapping[tuple[str, str], float]
    rents: Mapping[str, float]


def recomputed_bound(products: Sequence[Product], needs: Sequence[Need], proof: Certificate) -> float:
    """Return the bound that these worths prove; ValueError where a layout is worth more than its GPU."""
    total = 0.0
    for product in products:
        rent = proof.rents.get(product.name, 0.0)
        worths = tuple(proof.slices.get((product.sold_as, kind.profile), 0.0) for kind in product.lattice.kinds)
        worth = _dearest_layout(product.lattice, worths)
        if worth > (product.price + rent) * (1 + _TINY) or rent < 0 or min(worths, default=0) < 0:
            raise ValueError(f"{product.name}: a layout is worth {worth}, its GPU costs {product.price} + {rent}")
        total -= rent * product.limit if product.limit is not None else math.inf if rent > 0 else 0.0
    sold = {(product.sold_as, kind.profile) for product in products for kind in product.lattice.kinds}
    for need in needs:
        offers = [(r, proof.slices.get(kind, 0.0)) for kind, r in need.rates.items() if r > 0 and kind in sold]
        total += _cheapest_cover(need.demand, offers) if need.demand > 0 else 0.0
    return total


def _dearest_layout(lattice: Lattice, worths: tuple[float, ...]) -> float:
    @cache
    def most(at: int, left: tuple[int, ...]) -> float:
        best = most(at + 1, left) if any(start > at for kind in lattice.kinds for start in kind.starts) else 0.0
        for k, kind in enumerate(lattice.kinds):
            g = lattice.groups[k]
            if at in kind.starts and left[g]:
                best = max(best, worths[k] + most(at + kind.size, (*left[:g], left[g] - 1, *left[g + 1 :])))
        return best

    return most(0, tuple(kind.limit for kind in lattice.kinds))


def _cheapest_cover(demand: float, offers: list[tuple[float, float]]) -> float:
    """Return the least cost of whole slices that serve `demand`; never too much, where the search is cut off."""
    ratio, bulk = min((worth / rate, -rate) for rate, worth in offers)
    others = sorted((max(0.0, worth - ratio * rate), rate) for rate, worth in offers)
    best = math.inf

    def search(first: int, owing: float, extra: float, depth: int) -> None:
        nonlocal best
        fill = math.ceil(max(owing, 0.0) / -bulk - _TINY)
        best = min(best, extra + ratio * max(0.0, fill * -bulk - owing), extra if depth == 0 else math.inf)
        for at in range(first, len(others)):
            dearer, rate = others[at]
            if owing > _TINY * demand and rate != -bulk and extra + dearer < best:
                search(at, owing - rate, extra + dearer, depth - 1)

    search(0, demand, 0.0, _DEEPEST)
    return ratio * demand + best

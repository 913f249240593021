"""Packing problems for tests: small drawn ones, a brute force to hold against, and large seeded ones."""

from __future__ import annotations

import itertools
import math
import os
from functools import cache

from hypothesis import settings
from hypothesis import strategies as st

from yolofleet.planning.capabilities import GPUS
from yolofleet.planning.layouts.geometry import Lattice, counts_of, lattice_of, layouts
from yolofleet.planning.packing import Need, Product

LAW = settings(max_examples=int(os.environ.get("LAW_CASES", "20")), deadline=None)
"""LAW_CASES=3000 for the thorough run."""


def lattice(key: str) -> Lattice:
    gpu = next(gpu for gpu in GPUS if gpu.key == key)
    return lattice_of(gpu, [one.profile for one in gpu.profiles if "+" not in one.profile])


def products(*prices: tuple[str, float, int | None]) -> tuple[Product, ...]:
    return tuple(Product(key, lattice(key), price, limit) for key, price, limit in prices)


ONE = products(("A30", 1.0, None))
TWO = products(("A30", 1.0, None), ("A100-80GB", 2.5, None))


@st.composite
def small_needs(draw: st.DrawFn, stock: tuple[Product, ...] = ONE, most: int = 3) -> tuple[Need, ...]:
    """A few needs, each of which a handful of slices covers; some kinds of slices are out."""
    needs = []
    for at in range(draw(st.integers(1, most))):
        rates = {}
        for product in stock:
            for kind in product.lattice.kinds:
                # Between what few memory slices and what ideal scaling give; 0: not within the objective.
                rate = draw(st.integers(8, 12)) * kind.size * draw(st.sampled_from((0.0, 0.8, 1.0)))
                if rate:
                    rates[product.name, kind.profile] = rate
        if rates:
            needs.append(Need(f"d{at}", float(draw(st.integers(1, 60))), rates))
    return tuple(needs)


@cache
def fewest_gpus(cut: Lattice, wanted: tuple[int, ...]) -> int:
    """Count GPUs by trying every layout: slow, and beyond doubt."""
    if not any(wanted):
        return 0
    tried = {tuple(max(0, w - c) for w, c in zip(wanted, counts_of(cut, one), strict=True)) for one in layouts(cut)}
    best: list[tuple[int, ...]] = []
    for left in sorted(tried):  # what leaves more than another is never better
        if not any(all(b <= a for b, a in zip(other, left, strict=True)) for other in best):
            best.append(left)
    return 1 + min(fewest_gpus(cut, left) for left in best)


def brute_force(stock: tuple[Product, ...], needs: tuple[Need, ...]) -> float:
    """Return the least cost over all combinations of all covers that hold no slice too many."""
    kinds = [(product.name, kind.profile) for product in stock for kind in product.lattice.kinds]
    options = [_covers(need, kinds) for need in needs]
    least = math.inf
    for combination in itertools.product(*options):
        totals = tuple(map(sum, zip(*combination, strict=True))) if combination else (0,) * len(kinds)
        cost, at = 0.0, 0
        for product in stock:
            size = len(product.lattice.kinds)
            cost += product.price * fewest_gpus(product.lattice, totals[at : at + size])
            at += size
        least = min(least, cost)
    return least


def _covers(need: Need, kinds: list[tuple[str, str]]) -> list[tuple[int, ...]]:
    rates = [need.rates.get(kind, 0.0) for kind in kinds]
    ranges = [range(math.ceil(need.demand / rate - 1e-9) + 1) if rate else range(1) for rate in rates]
    found = []
    for counts in itertools.product(*ranges):
        served = sum(c * r for c, r in zip(counts, rates, strict=True))
        spare = served - need.demand
        if spare >= -1e-9 and all(not c or r > spare + 1e-9 for c, r in zip(counts, rates, strict=True)):
            found.append(counts)
    return found

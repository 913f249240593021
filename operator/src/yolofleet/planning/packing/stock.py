"""What there is to plan with: GPUs as foreign pods leave them, and the slices that a pool keeps for itself."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from yolofleet.planning.layouts.geometry import Layout, residual
from yolofleet.planning.packing.problem import Product
from yolofleet.planning.sizing.need import Need

_RESERVED = "reserved for "


def stocks(products: Sequence[Product], foreign: Iterable[tuple[str, Layout]]) -> tuple[Product, ...]:
    """Return the products, and beside each the stocks of its GPUs that others share, one per layout of theirs.

    `foreign` names per shared GPU its product and the slices there that are not ours. What is left of such a GPU costs
    nothing more, so it is filled first; a limit of the product counts these GPUs too.
    """
    shared = Counter((name, tuple(sorted(fixed))) for name, fixed in foreign if fixed)
    made: list[Product] = []
    for product in products:
        mine = sorted((fixed, count) for (name, fixed), count in shared.items() if name == product.name)
        total = sum(count for _, count in mine)
        made.append(product if product.limit is None else replace(product, limit=max(0, product.limit - total)))
        for fixed, count in mine:
            beside = ", ".join(f"{one.profile} at {one.start}" for one in fixed)
            left = residual(product.lattice, fixed)
            if left.kinds:
                made.append(Product(f"{product.name} beside {beside}", left, 0.0, count, product.name, fixed))
    return tuple(made)


def reserve(profile: str, count: int, purpose: str, kinds: Iterable[tuple[str, str]]) -> Need:
    """Return the need of slices that a pool keeps free: one of any of these kinds serves one of this profile."""
    return Need(f"{_RESERVED}{purpose}: {profile}", float(count), dict.fromkeys(kinds, 1.0))


def is_reserve(name: str) -> bool:
    """Tell whether a need is what a pool reserves; no deployment's name has a blank in it."""
    return name.startswith(_RESERVED)

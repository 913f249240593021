"""The packing problem as arrays: which slices may cover which demand, and which layouts a GPU may take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolofleet.errors import Refused
from yolofleet.planning.geometry import Lattice, Layout, worthwhile

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]
_GRAIN = 1_000_000  # prices count to six decimals, as the API has them


@dataclass(frozen=True)
class Product:
    """A GPU product: how it can be cut, what one costs, and how many there are (None: as many as one likes)."""

    name: str
    lattice: Lattice
    price: float = 1.0
    limit: int | None = None


@dataclass(frozen=True)
class Need:
    """What one deployment asks for: `demand` frames per second, and what one slice serves of it.

    `rates` maps (product, profile) to frames per second within the objective; what is absent is not allowed.
    """

    name: str
    demand: float
    rates: Mapping[tuple[str, str], float]


@dataclass(frozen=True)
class Problem:
    """The arrays: N needs, P slice kinds (`columns`: product and profile), K layouts.

    `rate` is N × P frames per second (0: not allowed), `layouts` K × P slice counts, `limits` GPUs per product.
    """

    products: tuple[Product, ...]
    columns: tuple[tuple[str, str], ...]
    column_product: Ints
    layouts: Floats
    layout_product: Ints
    placed: tuple[Layout, ...]
    needs: tuple[str, ...]
    rate: Floats
    demand: Floats
    price: Floats = field(init=False)
    limits: Floats = field(init=False)

    def __post_init__(self) -> None:
        """Derive the price of every layout, and the limits (infinite where none is set)."""
        prices = np.array([product.price for product in self.products], float)
        limits = np.array([math.inf if p.limit is None else p.limit for p in self.products], float)
        object.__setattr__(self, "price", prices[self.layout_product])
        object.__setattr__(self, "limits", limits)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Return the numbers of needs, slice kinds and layouts."""
        return (*self.rate.shape, len(self.layouts))

    @property
    def limited(self) -> tuple[int, ...]:
        """Return the products whose GPUs are counted."""
        return tuple(int(at) for at in np.flatnonzero(np.isfinite(self.limits)))

    def rounded_up(self, bound: float) -> float:
        """Raise a lower bound to the next sum that whole GPUs can cost."""
        grain = math.gcd(*(round(product.price * _GRAIN) for product in self.products)) / _GRAIN
        return math.ceil(bound / grain - 1e-6) * grain if grain > 0 else bound


def problem_of(products: Sequence[Product], needs: Iterable[Need]) -> Problem:
    """Lay out the arrays; needs without demand ask for nothing, those that no slice serves are refused."""
    asked = tuple(sorted((need for need in needs if need.demand > 0), key=lambda need: need.name))
    _check(asked)
    wanted = {key for need in asked for key, rate in need.rates.items() if rate > 0}
    columns, owners, rows, layout_owner, placed = _cut(products, wanted)
    where = {column: at for at, column in enumerate(columns)}
    rate = np.zeros((len(asked), len(columns)))
    for row, need in enumerate(asked):
        for key, value in need.rates.items():
            if key in where:
                rate[row, where[key]] = value
    stray = [need.name for row, need in zip(rate, asked, strict=True) if not row.any()]
    if stray:
        have = ", ".join(f"{product} {profile}" for product, profile in columns) or "none"
        raise Refused(
            field="rates",
            value=stray[0],
            message=f"no slice kind of the products serves {len(stray)} deployment(s) within the objective",
            remedy=f"loosen the objective, or allow other products or profiles than {have}",
        )
    layouts = np.zeros((len(rows), len(columns)))
    for held, (offset, counts) in zip(layouts, rows, strict=True):
        held[offset : offset + len(counts)] = counts
    demand = np.array([need.demand for need in asked], float)
    names = tuple(need.name for need in asked)
    return Problem(tuple(products), columns, owners, layouts, layout_owner, placed, names, rate, demand)


def _check(asked: tuple[Need, ...]) -> None:
    for first, second in pairwise(asked):
        if first.name == second.name:
            raise Refused(
                field="name", value=first.name, message="two deployments bear one name", remedy="name each once"
            )
    for need in asked:
        if not math.isfinite(need.demand) or not all(math.isfinite(r) and r >= 0 for r in need.rates.values()):
            raise Refused(
                field="demand, rates",
                value=need.name,
                message="not a finite number ≥ 0",
                remedy="give frames per second",
            )


def _cut(
    products: Sequence[Product], wanted: set[tuple[str, str]]
) -> tuple[tuple[tuple[str, str], ...], Ints, list[tuple[int, tuple[int, ...]]], Ints, tuple[Layout, ...]]:
    """Return slice kinds that somebody can use, and the layouts of these alone."""
    columns: list[tuple[str, str]] = []
    owners: list[int] = []
    rows: list[tuple[int, tuple[int, ...]]] = []
    layout_owner: list[int] = []
    placed: list[Layout] = []
    for at, product in enumerate(products):
        kinds = tuple(kind for kind in product.lattice.kinds if (product.name, kind.profile) in wanted)
        if not kinds:
            continue
        for counts, layout in worthwhile(Lattice(kinds)):
            rows.append((len(columns), counts))
            placed.append(layout)
            layout_owner.append(at)
        columns += [(product.name, kind.profile) for kind in kinds]
        owners += [at] * len(kinds)
    return tuple(columns), np.array(owners, int), rows, np.array(layout_owner, int), tuple(placed)

"""The packing problem as arrays: which slices may cover which demand, and which layouts a GPU may take."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from yolofleet.errors import Refused
from yolofleet.planning.layouts.geometry import Lattice, Layout, worthwhile
from yolofleet.planning.sizing.need import Need

Floats = NDArray[np.float64]
Ints = NDArray[np.integer[Any]]
Flags = NDArray[np.bool_]
_GRAIN = 1_000_000  # prices count to six decimals, as the API has them


@dataclass(frozen=True)
class Product:
    """A GPU product: how it can be cut, what one costs, and how many there are (None: as many as one likes).

    GPUs that foreign pods share are a stock of their own beside the whole ones: `sells` names the product whose
    slices they offer, `fixed` the slices that stay; they cost nothing more, and there are only so many.
    """

    name: str
    lattice: Lattice
    price: float = 1.0
    limit: int | None = None
    sells: str = ""
    fixed: Layout = ()

    @property
    def sold_as(self) -> str:
        """Return the product that its slices are slices of."""
        return self.sells or self.name


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
        return next_sum([product.price for product in self.products], bound)

    @property
    def shared(self) -> tuple[int, ...]:
        """Return the stocks of GPUs that others are on."""
        return tuple(at for at, product in enumerate(self.products) if product.fixed)

    @property
    def whole(self) -> Flags:
        """Tell which layouts are those of GPUs that nobody else is on."""
        found: Flags = ~np.isin(self.layout_product, self.shared)
        return found

    @property
    def least_price(self) -> float:
        """Return the least price of a GPU that costs anything."""
        return min((product.price for product in self.products if product.price > 0), default=1.0)


def next_sum(prices: Iterable[float], bound: float) -> float:
    """Raise a bound to the next sum that whole GPUs at these prices can cost."""
    grain = math.gcd(*(round(price * _GRAIN) for price in prices)) / _GRAIN
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
    for held, (at, counts) in zip(layouts, rows, strict=True):
        held[list(at)] = counts
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
) -> tuple[tuple[tuple[str, str], ...], Ints, list[tuple[tuple[int, ...], tuple[int, ...]]], Ints, tuple[Layout, ...]]:
    """Return slice kinds that somebody can use, and the layouts of these alone."""
    columns: list[tuple[str, str]] = []
    owners: list[int] = []
    for at, product in enumerate(products):
        offered = [(product.sold_as, kind.profile) for kind in product.lattice.kinds]
        fresh = [column for column in offered if column in wanted and column not in columns]
        columns += fresh
        owners += [at] * len(fresh)
    rows: list[tuple[tuple[int, ...], tuple[int, ...]]] = []
    layout_owner: list[int] = []
    placed: list[Layout] = []
    for at, product in enumerate(products):
        kinds = tuple(kind for kind in product.lattice.kinds if (product.sold_as, kind.profile) in wanted)
        where = tuple(columns.index((product.sold_as, kind.profile)) for kind in kinds)
        for counts, layout in worthwhile(Lattice(kinds)) if kinds else ():
            rows.append((where, counts))
            placed.append(layout)
            layout_owner.append(at)
    return tuple(columns), np.array(owners, int), rows, np.array(layout_owner, int), tuple(placed)

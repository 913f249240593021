"""The cheapest way to cover each demand at given slice prices: exact, and for all deployments at once.

Per deployment this is min Σ pₖxₖ with Σ rₖxₖ ≥ d, x whole. Let ρ be the best price per frame. A cover costs
ρ·d, plus ρ times what it overshoots, plus (pₖ − ρrₖ) for every slice k beside those of the best ratio. Both extras
only grow, so the search goes over the slices beside the best, cheapest extra first, and stops where the extra
alone exceeds the best cover so far; the best-ratio slices fill up the rest.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from yolofleet.planning.packing.problem import Floats, Ints

_TINY = 1e-9
_DEEPEST = 40


@dataclass(frozen=True)
class Columns:
    """Covers, one per row: whose it is, how many slices of each kind, and what it costs at the prices asked."""

    need: Ints
    counts: Ints
    cost: Floats

    def __len__(self) -> int:
        return len(self.need)

    def take(self, which: Ints) -> Columns:
        """Return these rows."""
        return Columns(self.need[which], self.counts[which], self.cost[which])


@dataclass(frozen=True)
class Covers:
    """The best cover of every need, a valid lower bound on its cost, and near-best ones if asked for."""

    best: Columns
    bound: Floats
    near: Columns | None


@dataclass
class _Frontier:
    """Unfinished covers: what they still owe, their extra, the last kind added (no earlier one may follow)."""

    need: Ints
    owing: Floats
    extra: Floats
    last: Ints
    counts: Ints

    def __len__(self) -> int:
        return len(self.need)

    def keep(self, which: Ints) -> _Frontier:
        return _Frontier(self.need[which], self.owing[which], self.extra[which], self.last[which], self.counts[which])


class _Search:
    """One run for all needs; kinds are in each need's own order, the best ratio first."""

    def __init__(self, rate: Floats, demand: Floats, price: Floats, *, margin: float, tolerance: float) -> None:
        self.margin, self.tolerance = margin, tolerance
        needs, kinds = rate.shape
        usable = rate > 0
        safe = np.where(usable, rate, 1.0)
        self.ratio = np.where(usable, price / safe, np.inf).min(1)
        extra = np.maximum(np.where(usable, price - rate * self.ratio[:, None], np.inf), 0.0)
        # Of equal extras the larger slice first: it leaves less to search.
        order = np.argsort(extra - _TINY * rate / rate.max(1, keepdims=True), axis=1, kind="stable")
        self.order = order
        self.extra = np.take_along_axis(extra, order, 1)
        self.rate = np.take_along_axis(rate, order, 1)
        self.bulk = self.rate[:, 0]
        self.usable = int(usable.sum(1).max())
        self.demand, self.kinds = demand, kinds
        everyone = np.arange(needs)
        filled = np.ceil(demand / self.bulk - _TINY)
        self.best = self.ratio * np.maximum(filled * self.bulk - demand, 0)
        self.counts = np.zeros((needs, kinds), np.int32)
        self.counts[everyone, order[:, 0]] = filled
        self.pruned = np.full(needs, np.inf)
        self.found = [Columns(everyone, self.counts.copy(), self.best.copy())]

    def start(self) -> _Frontier:
        needs = len(self.demand)
        zero = np.zeros(needs)
        return _Frontier(
            np.arange(needs),
            self.demand.astype(float),
            zero,
            np.ones(needs, np.int16),
            np.zeros((needs, self.kinds), np.int16),
        )

    def grow(self, front: _Frontier) -> _Frontier | None:
        """Add one more slice to every unfinished cover, in every way that may still be the best."""
        parts = [part for kind in range(1, self.usable) if len(part := self._with(front, kind))]
        if not parts:
            return None
        return _Frontier(
            np.concatenate([p.need for p in parts]),
            np.concatenate([p.owing for p in parts]),
            np.concatenate([p.extra for p in parts]),
            np.concatenate([p.last for p in parts]),
            np.concatenate([p.counts for p in parts]),
        )

    def _with(self, front: _Frontier, kind: int) -> _Frontier:
        at = np.flatnonzero(front.last <= kind)
        need = front.need[at]
        extra = front.extra[at] + self.extra[need, kind]
        left = self._worth(at, need, extra)
        need = front.need[left]
        counts = front.counts[left]
        counts[np.arange(len(left)), self.order[need, kind]] += 1
        owing = front.owing[left] - self.rate[need, kind]
        extra = front.extra[left] + self.extra[need, kind]
        return _Frontier(need, owing, extra, np.full(len(left), kind, np.int16), counts)

    def _worth(self, at: Ints, need: Ints, extra: Floats) -> Ints:
        """Leave what may beat the best; remember the least of what the tolerance alone dropped."""
        keep = extra < self.best[need] - self.tolerance + self.margin
        if self.tolerance > 0:
            lost = ~keep & (extra < self.best[need])
            np.minimum.at(self.pruned, need[lost], extra[lost])
        left: Ints = at[keep]
        return left

    def close(self, front: _Frontier) -> None:
        """Fill every cover up with best-ratio slices, and note the best."""
        need = front.need
        fill = np.ceil(np.maximum(front.owing, 0) / self.bulk[need] - _TINY)
        total = front.extra + self.ratio[need] * np.maximum(fill * self.bulk[need] - front.owing, 0)
        before = self.best.copy()
        np.minimum.at(self.best, need, total)
        better = np.flatnonzero((total <= self.best[need]) & (total < before[need]))
        self.counts[need[better]] = self._filled(front, better, fill)
        if self.margin > 0:
            near = np.flatnonzero(total <= self.best[need] + self.margin)
            self.found.append(Columns(need[near], self._filled(front, near, fill), total[near]))

    def _filled(self, front: _Frontier, which: Ints, fill: Floats) -> Ints:
        counts: Ints = front.counts[which].astype(np.int32)
        counts[np.arange(len(which)), self.order[front.need[which], 0]] += fill[which].astype(np.int32)
        return counts

    def live(self, front: _Frontier) -> _Frontier:
        """Leave what still owes something and could take one more slice."""
        owes = np.flatnonzero(front.owing > _TINY * self.demand[front.need])
        need = front.need[owes]
        return front.keep(self._worth(owes, need, front.extra[owes] + self.extra[need, front.last[owes]]))

    def give_up(self, front: _Frontier) -> None:
        np.minimum.at(self.pruned, front.need, front.extra + self.extra[front.need, front.last])

    def result(self) -> Covers:
        base = self.ratio * self.demand
        best = Columns(np.arange(len(self.demand)), self.counts, base + self.best)
        near = None
        if self.margin > 0:
            need = np.concatenate([one.need for one in self.found])
            counts = np.concatenate([one.counts for one in self.found])
            cost = np.concatenate([one.cost for one in self.found])
            keep = np.flatnonzero(cost <= self.best[need] + self.margin + 1e-12)
            near = Columns(need[keep], counts[keep], cost[keep] + base[need[keep]])
        return Covers(best, base + np.minimum(self.best, self.pruned), near)


def cheapest_covers(
    rate: Floats,
    demand: Floats,
    price: Floats,
    *,
    margin: float = 0.0,
    tolerance: float = 0.0,
    most_states: int = 3_000_000,
) -> Covers:
    """Return the cheapest cover of each row of `rate` (N × P, 0 = not allowed), and those within `margin` of it.

    With `tolerance` a cover may miss the best by that much; the bound accounts for it, and for the limit of states.
    """
    search = _Search(rate, demand, np.maximum(price, 0.0), margin=margin, tolerance=tolerance)
    front: _Frontier | None = search.start()
    states = 0
    for _ in range(_DEEPEST):
        front = search.grow(front) if front is not None else None
        if front is None:
            break
        states += len(front)
        search.close(front)
        front = search.live(front)
        if not len(front) or states > most_states:
            break
    if front is not None and len(front):
        search.give_up(front)
    return search.result()

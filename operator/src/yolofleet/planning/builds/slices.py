"""Which slice a build is made on: a free one, one kept for builds, one that a deployment lends, or none yet.

An engine is compiled on the kind of slice that will serve it. Choices are made one after the other, each on what the
former ones left. Whoever waits for a slice holds none, and what is lent is lent for a bounded time: no deadlock.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from yolofleet.api.build import BuildSlice
from yolofleet.api.recipe import Target
from yolofleet.planning.engines import target_in
from yolofleet.planning.placing.choice import market
from yolofleet.planning.scaling.replicas import floor_of
from yolofleet.planning.slices.profiles import Offer
from yolofleet.planning.snapshot import DeploymentView, EngineView, Lender, PoolView, Snapshot


@dataclass(frozen=True)
class Stock:
    """The slices of one kind in one pool; `held` by whomever, those promised to builds that have no node yet included.

    `kept_for_builds` is what of the pool's reserve no build has taken, `kept_warm` what is reserved for replicas.
    """

    pool: str
    profile: str
    resource: str
    product: str
    target: Target
    product_labels: tuple[str, ...]
    node_selector: tuple[tuple[str, str], ...]
    total: int
    held: int
    kept_for_builds: int = 0
    kept_warm: int = 0

    @property
    def unheld(self) -> int:
        """What nobody holds."""
        return max(0, self.total - self.held)

    def taken(self) -> Stock:
        """Return what is left when one more is held."""
        return replace(self, held=self.held + 1)


@dataclass(frozen=True)
class Given:
    """A slice for a build: which, how the build came by it, and why so."""

    stock: Stock
    taken: BuildSlice
    why: str


@dataclass(frozen=True)
class NotYet:
    """No slice for a build, and what it waits for."""

    why: str


@dataclass(frozen=True)
class Shelf:
    """What can be given: stocks, and deployments that may lend."""

    stocks: tuple[Stock, ...]
    lenders: tuple[Lender, ...] = ()

    def give(self, target: Target, pools: frozenset[str]) -> tuple[Given | NotYet, Shelf]:
        """Return a slice for a build that serves these pools, or why there is none; and what is left."""
        fitting = [stock for stock in self.stocks if stock.target == target.hardware and stock.pool in pools]
        if not fitting:
            told = f"no Ready node of MigPool {', '.join(sorted(pools))} offers a slice of {_words(target)}"
            return NotYet(f"{told}; add nodes, or have GPUs cut so"), self
        for stock in fitting:
            if stock.unheld > stock.kept_for_builds + stock.kept_warm:
                return self._given(stock, "Free", f"{stock.unheld} of {stock.total} are free"), self._without(stock)
        for stock in fitting:
            if stock.kept_for_builds and stock.unheld > stock.kept_warm:
                left = replace(stock, kept_for_builds=stock.kept_for_builds - 1)
                return self._given(stock, "Reserved", "kept for builds by the MigPool"), self._without(stock, left)
        return self._lent(fitting)

    def _lent(self, fitting: list[Stock]) -> tuple[Given | NotYet, Shelf]:
        able = [(stock, one) for stock in fitting for one in self.lenders if one.spare > 0 and _serves_on(one, stock)]
        if not able:
            return NotYet("; ".join(_why_not(stock, self.lenders) for stock in fitting)), self
        stock, lender = max(able, key=lambda pair: (pair[1].spare, pair[1].namespace, pair[1].name))
        why = f"lent by {lender.namespace}/{lender.name}, {lender.spare} above its floor of {lender.floor}"
        rest = tuple(replace(one, lent=one.lent + 1) if one == lender else one for one in self.lenders)
        left = replace(self._without(stock), lenders=rest)
        return self._given(stock, "Borrowed", why, lender), left

    def _given(self, stock: Stock, way: str, why: str, lender: Lender | None = None) -> Given:
        told = {"way": way, "pool": stock.pool, "profile": stock.profile, "resource": stock.resource}
        told |= {"product": stock.product}
        lent = {"lender": {"namespace": lender.namespace, "name": lender.name}} if lender else {}
        return Given(stock, BuildSlice.model_validate(told | lent), f"{stock.profile} ({way}): {why}")

    def _without(self, stock: Stock, left: Stock | None = None) -> Shelf:
        rest = tuple((left or stock).taken() if one == stock else one for one in self.stocks)
        return replace(self, stocks=rest)


def lender_of(view: DeploymentView, *, lent: int, now: datetime) -> Lender | None:
    """Return what a deployment could lend from; None where it moves, isn't all ready, or others scale it."""
    scaling = view.status.scaling
    if view.spec.suspend or view.spec.scaling.mode == "External" or scaling is None or len(view.groups) != 1:
        return None
    (group,) = view.groups
    if not group.settled or group.ready_replicas != group.replicas or group.total_replicas != group.replicas:
        return None
    product = next((one.product for one in view.status.groups if one.profile == group.profile), "")
    return Lender(
        namespace=view.namespace,
        name=view.name,
        pool=view.spec.placement.pool_ref.name,
        profile=group.profile,
        product=product,
        replicas=min(scaling.desired_replicas, group.ready_replicas + lent),
        floor=floor_of(view, now),
        lent=lent,
    )


def needs_slice(view: EngineView) -> bool:
    """Tell whether a build has to be given a slice before it can start."""
    return view.spec.target is not None and view.status.artifact is None and view.job is None


def shelf_of(snapshot: Snapshot) -> Shelf:
    """Return what a snapshot's builds can be given."""
    builds = [view for view in snapshot.engines.values() if _runs_on_a_slice(view)]
    waiting = Counter(_place(view) for view in builds if view.job is not None and view.job.unplaced)
    on_reserve = Counter(_place(view) for view in builds if _way(view) == "Reserved")
    stocks = []
    kept = _kept_back(snapshot.pools)
    for pool, stall in market(snapshot.nodes, snapshot.pools).items():
        for (resource, profile, product, target), found in _kinds(stall.offers).items():
            places = [(offer.node, resource) for offer in found]
            at = (pool, resource, profile)
            stocks.append(
                Stock(
                    pool=pool,
                    profile=profile,
                    resource=resource,
                    product=product,
                    target=target,
                    product_labels=tuple(sorted({one.product_label for one in found if one.product_label})),
                    node_selector=stall.node_selector,
                    total=sum(offer.allocatable for offer in found),
                    held=sum(snapshot.devices_used.get(p, 0) + snapshot.devices_foreign.get(p, 0) for p in places)
                    + waiting[at],
                    kept_for_builds=max(0, kept[pool, profile, "Build"] - on_reserve[at]),
                    kept_warm=kept[pool, profile, "Warm"],
                )
            )
    return Shelf(tuple(sorted(stocks, key=lambda s: (s.pool, s.profile, s.product, s.resource))), snapshot.lenders)


def _runs_on_a_slice(view: EngineView) -> bool:
    return view.job is not None and view.job.active and view.job.slice is not None


def _way(view: EngineView) -> str:
    return view.job.slice.way if view.job is not None and view.job.slice is not None else ""


def _place(view: EngineView) -> tuple[str, str, str]:
    taken = view.job.slice if view.job is not None else None
    return (taken.pool, taken.resource, taken.profile) if taken is not None else ("", "", "")


def _kept_back(pools: Iterable[PoolView]) -> Counter[tuple[str, str, str]]:
    """Count what pools keep back, by pool, profile and purpose."""
    kept: Counter[tuple[str, str, str]] = Counter()
    for pool in pools:
        for one in pool.spec.reserved:
            kept[pool.name, one.profile.replace("+", "."), one.purpose] += one.count
    return kept


def _kinds(offered: Iterable[Offer]) -> dict[tuple[str, str, str, Target], list[Offer]]:
    """Group offers by what an engine is compiled for; a node whose labels do not tell is left out."""
    found: dict[tuple[str, str, str, Target], list[Offer]] = {}
    for offer in offered:
        target = target_in(dict(offer.labels), offer.resource, offer.profile)
        if isinstance(target, Target):
            found.setdefault((offer.resource, offer.profile, offer.product or "", target), []).append(offer)
    return found


def _serves_on(lender: Lender, stock: Stock) -> bool:
    return (lender.pool, lender.profile, lender.product) == (stock.pool, stock.profile, stock.product)


def _why_not(stock: Stock, lenders: tuple[Lender, ...]) -> str:
    there = sorted((one for one in lenders if _serves_on(one, stock)), key=lambda one: (one.namespace, one.name))
    at_floor = ", ".join(f"{one.namespace}/{one.name} (floor {one.floor})" for one in there[:3])
    others = f"no deployment there is above its floor: {at_floor}" if there else "no deployment there can lend one"
    return (
        f"{stock.unheld} of {stock.total} {stock.profile} of MigPool {stock.pool} are free"
        f"{f' and kept for replicas ({stock.kept_warm})' if stock.unheld else ''}, none is left of what is kept for "
        f"builds, and {others}; it starts when one is free"
    )


def _words(target: Target) -> str:
    return f"{target.sm_count} SMs and {target.memory_mib} MiB with compute capability {target.compute_capability}"

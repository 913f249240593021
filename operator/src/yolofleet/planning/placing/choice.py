"""Which profile a deployment gets, of those that Ready nodes really offer and the spec allows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from yolofleet.api.conditions import Reason
from yolofleet.api.migpool import DEFAULT_POOL
from yolofleet.planning.placing.fitting import Lot, NoFit, Room, Worths, fit, lots_of
from yolofleet.planning.slices.pools import shared_out
from yolofleet.planning.slices.profiles import Offer, offers, same_profile, size_of
from yolofleet.planning.snapshot import DeploymentView, NodeView, PoolView


@dataclass(frozen=True)
class Choice:
    """A profile, where it is offered, and why it was taken; `labels` are those of one node that offers it."""

    profile: str
    resource: str
    product: str
    product_labels: tuple[str, ...]
    node_selector: tuple[tuple[str, str], ...]
    offered: int
    why: str
    nodes: tuple[str, ...] = ()
    labels: tuple[tuple[str, str], ...] = ()
    products: tuple[str, ...] = ()
    free: int = 0
    alternatives: tuple[Alternative, ...] = ()


@dataclass(frozen=True)
class Alternative:
    """Slices of another profile that carry at least as much each; `dearer` than the chosen ones, by share and price."""

    lots: tuple[Lot, ...]
    dearer: bool

    @property
    def profile(self) -> str:
        """Return the profile."""
        return self.lots[0].profile

    def choice(self, own: Choice) -> Choice:
        """Return them as a choice, beside the one that they help out."""
        alike = [offer for lot in self.lots for offer in lot.offers]
        return _chosen(alike[0], alike, own.node_selector, f"as no {own.profile} is free")


@dataclass(frozen=True)
class NoChoice:
    """No profile fits; the reason and the words that the condition shows."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Stall:
    """What one pool's own nodes offer, by kind too; the labels by which pods find them; prices, if all are told."""

    offers: tuple[Offer, ...]
    node_selector: tuple[tuple[str, str], ...] = ()
    lots: tuple[Lot, ...] = ()
    costs: Mapping[str, float] = field(default_factory=dict)


Market = Mapping[str, Stall]
"""All pools' stalls by name, laid out once per pass."""


def market(nodes: Iterable[NodeView], pools: Iterable[PoolView]) -> Market:
    """Lay out what every pool offers; where no MigPool is named `default`, that pool is every node."""
    everywhere = tuple(nodes)
    stalls = {
        pool.name: _stall(
            pool.name,
            offers(own),
            tuple(sorted(pool.spec.node_selector.match_labels.items())),
            {one.product: float(one.per_gpu_hour) for one in pool.spec.costs},
        )
        for pool, own, _ in shared_out(pools, everywhere)
    }
    return stalls if DEFAULT_POOL in stalls else {DEFAULT_POOL: _stall(DEFAULT_POOL, offers(everywhere))} | stalls


def kinds_of(offered: Market) -> tuple[tuple[str, str], ...]:
    """Return the kinds of slices on offer: product and profile."""
    return tuple(sorted({(lot.product, lot.profile) for stall in offered.values() for lot in stall.lots}))


def _stall(
    pool: str,
    offered: tuple[Offer, ...],
    node_selector: tuple[tuple[str, str], ...] = (),
    told: Mapping[str, float] = MappingProxyType({}),
) -> Stall:
    lots = lots_of(pool, offered)
    priced = all(lot.product in told for lot in lots)  # half of the prices say nothing about which is cheaper
    return Stall(offered, node_selector, lots, dict(told) if priced else {})


def choose(
    deployment: DeploymentView, offered: Market, worths: Worths | None = None, room: Room | None = None
) -> Choice | NoChoice:
    """Choose the profile: by the curves where there are some; else the one in use while it can be, or the smallest."""
    spec = deployment.spec.placement
    stall = offered.get(spec.pool_ref.name)
    if stall is None:
        return NoChoice(
            Reason.POOL_NOT_FOUND,
            f"placement.poolRef.name: no MigPool is named {spec.pool_ref.name!r}; create it, or name another",
        )
    found = _by_curves(deployment, stall, worths or Worths(), room or Room({}, {}))
    if isinstance(found, Choice):
        return found
    allowed = [offer for offer in stall.offers if may_use(offer, spec.profiles, spec.products)]
    if not allowed:
        return NoChoice(Reason.NO_MATCHING_PROFILE, _nothing(spec.profiles, spec.products, stall.offers))
    current = {group.profile for group in deployment.groups if not group.overflow}
    products = {group.profile: group.product for group in deployment.status.groups if group.product}
    first = min(allowed, key=lambda o: (o.profile not in current, o.product != products.get(o.profile, o.product)))
    # A TensorRT engine runs on the product that it was built for; ONNX runs on any.
    exact = deployment.spec.engine.backend == "TensorRT"
    alike = [o for o in allowed if (o.profile, o.resource) == (first.profile, first.resource)]
    alike = [o for o in alike if o.product == first.product] if exact else alike
    why = "already serving on it" if first.profile in current else "the smallest profile that is offered and allowed"
    return _chosen(first, alike, stall.node_selector, f"{why}; by its curves none serves: {found}" if found else why)


def _by_curves(deployment: DeploymentView, stall: Stall, worths: Worths, room: Room) -> Choice | str:
    """Return what the curves choose; in words why none of them serves, "" where nobody knows."""
    placement = deployment.spec.placement
    if len(placement.profiles) == 1 or worths.ask(deployment) is None:
        return ""
    lots = [lot for lot in stall.lots if may_use(lot, placement.profiles, placement.products)]
    found = fit(deployment, lots, worths=worths, room=room, costs=stall.costs)
    if isinstance(found, NoFit):
        return found.why
    taken = found.candidate
    others = tuple(Alternative(one.lots, round(one.each - taken.each, 6) > 0) for one in found.others)
    if not deployment.spec.suspend:
        room.take(taken.lots, taken.count - (taken.holds if taken.serving else 0))
    alike = [offer for lot in taken.lots for offer in lot.offers]
    return replace(_chosen(alike[0], alike, stall.node_selector, found.why), free=taken.free, alternatives=others)


def may_use(offer: Offer | Lot, profiles: list[str], products: list[str]) -> bool:
    """Tell whether a spec that names these profiles and products allows an offer; empty lists allow all."""
    profile_fits = not profiles or any(same_profile(asked, offer.profile) for asked in profiles)
    return profile_fits and (not products or offer.product in products)


def _chosen(first: Offer, alike: list[Offer], node_selector: tuple[tuple[str, str], ...], why: str) -> Choice:
    return Choice(
        profile=first.profile,
        resource=first.resource,
        product=first.product or "",
        product_labels=tuple(sorted({offer.product_label for offer in alike if offer.product_label})),
        node_selector=node_selector,
        offered=sum(offer.allocatable for offer in alike),
        why=f"{first.profile}: {why}",  # no counts: each node that comes or goes would change every status
        nodes=tuple(sorted({offer.node for offer in alike})),
        labels=first.labels,
        products=tuple(sorted({offer.product for offer in alike if offer.product})),
    )


def _nothing(profiles: list[str], products: list[str], pooled: tuple[Offer, ...]) -> str:
    asked = [f"placement.profiles {profiles}" if profiles else "", f"placement.products {products}" if products else ""]
    wanted = " and ".join(part for part in asked if part) or "any profile"
    return f"{wanted}: on no Ready node of the pool; offered now: {describe(pooled)}; {_remedy(profiles, products)}"


def _remedy(profiles: list[str], products: list[str]) -> str:
    if profiles or products:
        return "name what is offered, leave the lists empty, or add nodes"
    return "add GPU nodes, or check that NVIDIA's device plugin runs there"


def describe(offered: Iterable[Offer]) -> str:
    """Say what is offered: `1g.10gb ×7, gpu ×2 (NVIDIA-H100-80GB-HBM3)`."""
    totals: dict[str, int] = {}
    products: set[str] = set()
    for offer in offered:
        totals[offer.profile] = totals.get(offer.profile, 0) + offer.allocatable
        products |= {offer.product} if offer.product else set()
    if not totals:
        return "nothing"
    counts = ", ".join(f"{profile} ×{totals[profile]}" for profile in sorted(totals, key=size_of))
    return counts + (f" ({', '.join(sorted(products))})" if products else "")

"""Which profile a deployment gets: the first that Ready nodes really offer and that the spec allows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from yolofleet.api.conditions import Reason
from yolofleet.planning.profiles import Offer, offers, same_profile, size_of
from yolofleet.planning.snapshot import DeploymentView, NodeView, PoolView

DEFAULT_POOL = "default"


@dataclass(frozen=True)
class Choice:
    """A profile, where it is offered, and why it was taken."""

    profile: str
    resource: str
    product: str
    product_labels: tuple[str, ...]
    node_selector: tuple[tuple[str, str], ...]
    offered: int
    why: str


@dataclass(frozen=True)
class NoChoice:
    """No profile fits; the reason and the words that the condition shows."""

    reason: Reason
    message: str


def choose(deployment: DeploymentView, nodes: Iterable[NodeView], pools: Iterable[PoolView]) -> Choice | NoChoice:
    """Choose the profile: the one in use while it stays allowed and offered, else the smallest."""
    spec = deployment.spec.placement
    pool = next((p for p in pools if p.name == spec.pool_ref.name), None)
    if pool is None and spec.pool_ref.name != DEFAULT_POOL:
        return NoChoice(
            Reason.POOL_NOT_FOUND,
            f"placement.poolRef.name: no MigPool is named {spec.pool_ref.name!r}; create it, or name another",
        )
    selector = dict(pool.spec.node_selector.match_labels) if pool else {}
    pooled = offers(node for node in nodes if _selected(node, selector))
    allowed = [offer for offer in pooled if _allowed(offer, spec.profiles, spec.products)]
    if not allowed:
        return NoChoice(Reason.NO_MATCHING_PROFILE, _nothing(spec.profiles, spec.products, pooled))
    current = {group.profile for group in deployment.groups}
    first = next((offer for offer in allowed if offer.profile in current), allowed[0])
    return _chosen(first, allowed, selector, kept=first.profile in current)


def _selected(node: NodeView, selector: dict[str, str]) -> bool:
    return all(node.labels.get(key) == value for key, value in selector.items())


def _allowed(offer: Offer, profiles: list[str], products: list[str]) -> bool:
    profile_fits = not profiles or any(same_profile(asked, offer.profile) for asked in profiles)
    return profile_fits and (not products or offer.product in products)


def _chosen(first: Offer, allowed: list[Offer], selector: dict[str, str], *, kept: bool) -> Choice:
    alike = [offer for offer in allowed if offer.profile == first.profile and offer.resource == first.resource]
    count = sum(offer.allocatable for offer in alike)
    why = "already serving on it" if kept else "the smallest profile that is offered and allowed"
    return Choice(
        profile=first.profile,
        resource=first.resource,
        product=first.product or "",
        product_labels=tuple(sorted({offer.product_label for offer in alike if offer.product_label})),
        node_selector=tuple(sorted(selector.items())),
        offered=count,
        why=f"{first.profile}: {why} ({count} on {len({offer.node for offer in alike})} nodes)",
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

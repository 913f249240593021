"""Which nodes a MigPool has, what they offer, and who else claims them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from yolofleet.planning.slices.profiles import offers, size_of
from yolofleet.planning.snapshot import NodeView, PoolView


@dataclass(frozen=True)
class PoolPlan:
    """A pool's nodes, its slices by profile as (total, used by this fleet), and nodes that an older pool has."""

    view: PoolView
    nodes: int
    slices: tuple[tuple[str, int, int], ...]
    contested: tuple[tuple[str, str], ...]


def pool_plans(
    pools: Iterable[PoolView], nodes: Iterable[NodeView], used: Mapping[tuple[str, str], int]
) -> tuple[PoolPlan, ...]:
    """Return one plan per pool; `used` counts this fleet's devices by node and resource."""
    plans = []
    for pool, own, contested in shared_out(pools, nodes):
        plans.append(PoolPlan(pool, len(own), _slices(own, used), contested))
    return tuple(plans)


def shared_out(
    pools: Iterable[PoolView], nodes: Iterable[NodeView]
) -> tuple[tuple[PoolView, tuple[NodeView, ...], tuple[tuple[str, str], ...]], ...]:
    """Return each pool with its nodes, and the nodes that it claims in vain with the pool that has them.

    A node belongs to the oldest pool that selects it, ties by name.
    """
    owner: dict[str, str] = {}
    shares = []
    offering = sorted((node for node in nodes if node.devices), key=lambda n: n.name)
    for pool in sorted(pools, key=lambda p: (p.created, p.name)):
        selected = [node for node in offering if _selects(pool, node)]
        contested = tuple((node.name, owner[node.name]) for node in selected if node.name in owner)
        own = tuple(node for node in selected if node.name not in owner)
        owner |= {node.name: pool.name for node in own}
        shares.append((pool, own, contested))
    return tuple(shares)


@dataclass(frozen=True)
class SliceUse:
    """Slices of one kind over all nodes; pods of this fleet hold those `used`, other people's the `foreign`."""

    product: str
    profile: str
    total: int
    used: int
    foreign: int

    @property
    def free(self) -> int:
        """What nobody holds."""
        return self.total - self.used - self.foreign


Held = Mapping[tuple[str, str], int]
"""Devices that pods hold, by node and resource."""


def slice_uses(nodes: Iterable[NodeView], used: Held, foreign: Held) -> tuple[SliceUse, ...]:
    """Return what all nodes offer, by product and profile."""
    totals: Counter[tuple[str, str]] = Counter()
    taken: Counter[tuple[str, str]] = Counter()
    others: Counter[tuple[str, str]] = Counter()
    for offer in offers(nodes):
        kind, place = (offer.product or "", offer.profile), (offer.node, offer.resource)
        ours = min(used.get(place, 0), offer.allocatable)
        totals[kind] += offer.allocatable
        taken[kind] += ours
        others[kind] += min(foreign.get(place, 0), offer.allocatable - ours)
    return tuple(SliceUse(*kind, totals[kind], taken[kind], others[kind]) for kind in sorted(totals))


def _selects(pool: PoolView, node: NodeView) -> bool:
    return all(node.labels.get(key) == value for key, value in pool.spec.node_selector.match_labels.items())


def _slices(nodes: Iterable[NodeView], used: Mapping[tuple[str, str], int]) -> tuple[tuple[str, int, int], ...]:
    totals: Counter[str] = Counter()
    taken: Counter[str] = Counter()
    for offer in offers(nodes):
        totals[offer.profile] += offer.allocatable
        taken[offer.profile] += used.get((offer.node, offer.resource), 0)
    return tuple(
        (profile, totals[profile], min(taken[profile], totals[profile])) for profile in sorted(totals, key=size_of)
    )

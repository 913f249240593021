"""What a MigPool's nodes offer, and who else claims them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from yolofleet.planning.profiles import offers, size_of
from yolofleet.planning.snapshot import NodeView, PoolView


@dataclass(frozen=True)
class PoolPlan:
    """A pool's nodes, its slices by profile as (total, used by this fleet), and nodes that an older pool has."""

    view: PoolView
    nodes: int
    slices: tuple[tuple[str, int, int], ...]
    contested: tuple[tuple[str, str], ...]


def pool_plans(
    pools: tuple[PoolView, ...], nodes: tuple[NodeView, ...], used: Mapping[str, int]
) -> tuple[PoolPlan, ...]:
    """Return one plan per pool; a node belongs to the oldest pool that selects it, ties by name."""
    owner: dict[str, str] = {}
    plans = []
    for pool in sorted(pools, key=lambda p: (p.created, p.name)):
        selected = [node for node in nodes if node.devices and _selects(pool, node)]
        contested = tuple((node.name, owner[node.name]) for node in selected if node.name in owner)
        own = [node for node in selected if node.name not in owner]
        owner |= {node.name: pool.name for node in own}
        plans.append(PoolPlan(pool, len(own), _slices(own, used), contested))
    return tuple(plans)


def _selects(pool: PoolView, node: NodeView) -> bool:
    return all(node.labels.get(key) == value for key, value in pool.spec.node_selector.match_labels.items())


def _slices(nodes: list[NodeView], used: Mapping[str, int]) -> tuple[tuple[str, int, int], ...]:
    totals: Counter[str] = Counter()
    taken: dict[str, int] = {}
    for offer in offers(nodes):
        totals[offer.profile] += offer.allocatable
        taken[offer.profile] = used.get(offer.resource, 0)
    return tuple(
        (profile, totals[profile], min(taken[profile], totals[profile])) for profile in sorted(totals, key=size_of)
    )

"""What the operator's pass would decide on a snapshot, on the slices that exist: the pass itself, on a file's views."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from yolofleet.api.conditions import Reason
from yolofleet.api.migpool import LabelSelector
from yolofleet.api.recipe import Builder
from yolofleet.api.snapshot import Holder, SnapshotDeployment, SnapshotFile, SnapshotNode, SnapshotSlice
from yolofleet.api.yolodeployment_status import YoloDeploymentStatus
from yolofleet.planning.plan import DeploymentPlan, plan
from yolofleet.planning.scaling.signals import Signals
from yolofleet.planning.slices.host_link import share_of
from yolofleet.planning.slices.profiles import GPU_RESOURCE, MIG_PREFIX, PRODUCT_LABEL, WHOLE, profile_behind, slug
from yolofleet.planning.snapshot import DeploymentView, GroupView, NodeView, PodView, Policy, PoolView, Snapshot
from yolofleet.planning.whatif.seating import name_of
from yolofleet.planning.whatif.survey import curves_of

POOL_LABEL = "yolofleet.dev/snapshot-pool"
"""Stands for whatever labels a pool selects by: a snapshot says which node is whose."""
NOBODY = Policy(builder=Builder(image="none", version="none"), backoff_s=1)
"""Which engine is built does not matter to where it goes."""
SHORT = frozenset({Reason.NO_MATCHING_PROFILE, Reason.POOL_NOT_FOUND})
Replicas = tuple[tuple[str, int], ...]
"""Replicas by profile."""


@dataclass(frozen=True)
class Foretold:
    """One deployment: what runs, what the operator would have, why, and in words what cannot be served."""

    name: str
    demand_fps: float | None
    now: Replicas
    then: Replicas
    product: str
    why: str
    short: str = ""

    @property
    def changes(self) -> bool:
        """Tell whether anything would be started or stopped."""
        return Counter(dict(self.now)) != Counter(dict(self.then))

    @property
    def steps(self) -> tuple[str, ...]:
        """Return what the operator would do, in its order: what is new serves before what is old goes."""
        before, after = Counter(dict(self.now)), Counter(dict(self.then))
        more, less = after - before, before - after
        starts = [f"{self.name}: start {n} × {profile}" for profile, n in sorted(more.items())]
        waits = ", once the new ones serve" if more and set(more) != set(less) else ""
        return (*starts, *(f"{self.name}: drain {n} × {profile}{waits}" for profile, n in sorted(less.items())))


def foretold(snapshot: SnapshotFile) -> tuple[Foretold, ...]:
    """Return what the operator would decide for every deployment, by name."""
    world = views_of(snapshot)
    made = [_told(one) for one in plan(world).deployments]
    return tuple(_homeless(made, snapshot))


def _told(planned: DeploymentPlan) -> Foretold:
    view, wanted, placed = planned.view, planned.desired, planned.judgement.placed
    now = tuple(sorted((group.profile, group.replicas) for group in view.groups if group.replicas))
    short = placed.message if placed.reason in SHORT else ""
    if not short and wanted.reason == Reason.AT_MAX_REPLICAS:
        short = wanted.message
    then = now if placed.reason in SHORT else tuple(sorted(planned.mix.by_profile(planned.profile).items()))
    product = next((group.product for group in view.status.groups if group.profile == planned.profile), "")
    why = "spec.suspend is true" if view.spec.suspend else placed.message
    return Foretold(f"{view.namespace}/{view.name}", wanted.figures.planned, now, then, product, why, short)


def _homeless(told: list[Foretold], snapshot: SnapshotFile) -> list[Foretold]:
    """Say who asks for slices of a kind of which there are not so many, the last by name and priority first."""
    pools = {name_of(one): one.spec.placement.pool_ref.name for one in snapshot.deployments}
    rank = {name_of(one): (-one.priority, name_of(one)) for one in snapshot.deployments}
    left = _offered(snapshot)
    found = {}
    for one in sorted(told, key=lambda each: rank[each.name]):
        for profile, count in one.then:
            at = (pools[one.name], profile)
            missing = max(0, count - max(0, left[at]))
            left[at] -= count
            if missing and not one.short:
                words = (
                    f"{missing} of {count} × {profile} would find no free slice; free some, add nodes, or allow others"
                )
                found[one.name] = replace(one, short=words)
    return [found.get(one.name, one) for one in told]


def _offered(snapshot: SnapshotFile) -> Counter[tuple[str, str]]:
    """Count the slices that are not other people's, by pool and profile."""
    left: Counter[tuple[str, str]] = Counter()
    for node in snapshot.nodes:
        if node.ready and node.schedulable:
            held = held_on(node)
            for resource, count in devices_of(node).items():
                foreign = sum(one.count for one in held if one.resource == resource and one.deployment is None)
                left[node.pool, profile_of(node, resource)] += max(0, count - foreign)
    return left


def devices_of(node: SnapshotNode) -> Mapping[str, int]:
    """Return the devices that a node offers, counted on its GPUs where only those are told."""
    told = {name: one.allocatable for name, one in node.resources.items() if one.allocatable}
    return told or Counter(_resource(slot) for gpu in node.gpus or () for slot in gpu.layout)


def held_on(node: SnapshotNode) -> list[Holder]:
    """Return who holds devices of a node, as its GPUs tell where its pods do not."""
    slots = [slot for gpu in node.gpus or () for slot in gpu.layout if slot.owner != "free"]
    return list(node.holders or ()) or [
        Holder(name=slot.pod or f"{node.name}/{at}", resource=_resource(slot), deployment=slot.deployment)
        for at, slot in enumerate(slots)
    ]


def _resource(slot: SnapshotSlice) -> str:
    profile = slot.profile.replace("+", ".")
    return GPU_RESOURCE if profile == WHOLE else f"{MIG_PREFIX}{profile}"


def profile_of(node: SnapshotNode, resource: str) -> str:
    """Return the profile behind a resource of a node."""
    return profile_behind(resource, node.labels) or WHOLE


def views_of(snapshot: SnapshotFile) -> Snapshot:
    """Return a file as the pass sees the world; nothing of it is built, nobody's turn but the deployments'."""
    used: Counter[tuple[str, str]] = Counter()
    foreign: Counter[tuple[str, str]] = Counter()
    pods: dict[str, list[PodView]] = defaultdict(list)
    for node in snapshot.nodes:
        for holder in held_on(node):
            (foreign if holder.deployment is None else used)[node.name, holder.resource] += holder.count
            if holder.deployment is not None:
                profile = slug(profile_of(node, holder.resource))
                pods[holder.deployment].append(PodView(holder.name, profile, "", ready=True, terminating=False))
    pools = [
        PoolView(
            pool.name,
            0,
            pool.created,
            pool.spec.model_copy(update={"node_selector": LabelSelector(match_labels={POOL_LABEL: pool.name})}),
        )
        for pool in snapshot.pools
    ]
    return Snapshot(
        taken_at=_moment(snapshot.taken_at),
        policy=NOBODY,
        nodes=tuple(_node(node) for node in snapshot.nodes),
        pools=tuple(pools),
        deployments=tuple(_deployment(one, tuple(pods[name_of(one)])) for one in snapshot.deployments),
        devices_used=used,
        devices_foreign=foreign,
        curves=curves_of(snapshot),
    )


def _moment(told: str) -> datetime:
    """Return when the snapshot was taken; without a time nothing is due."""
    try:
        moment = datetime.fromisoformat(told)
    except ValueError:
        return datetime(1970, 1, 1, tzinfo=UTC)
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)


def _node(node: SnapshotNode) -> NodeView:
    product = {PRODUCT_LABEL: node.product} if node.product else {}
    labels = product | node.labels | {POOL_LABEL: node.pool}
    return NodeView(node.name, node.ready, node.schedulable, labels, devices_of(node))


def _signals(one: SnapshotDeployment) -> Signals | None:
    told = one.signals
    if told is None:
        return None
    return Signals(
        arrival_fps=told.arrival_fps,
        served_fps=told.served_fps,
        failed_fps=None,
        queue_us=told.queue_microseconds,
        p99_us=told.p99_microseconds,
        mean_batch=None,
        busy=told.busy_fraction,
        engine_active=told.engine_active,
        age_s=told.age_seconds or 0.0,
    )


def _deployment(one: SnapshotDeployment, pods: tuple[PodView, ...]) -> DeploymentView:
    groups = tuple(
        GroupView(
            name=f"{one.name}-{slug(group.profile)}",
            uid="",
            profile=group.profile,
            engine=group.engine_ref.name if group.engine_ref else "",
            engine_key="",
            template_hash="",
            replicas=group.replicas,
            ready_replicas=group.ready_replicas,
            updated_replicas=group.replicas,
            total_replicas=group.replicas,
            settled=True,
            surge=True,
            overflow=bool(group.overflow),
        )
        for group in one.groups
    )
    status = YoloDeploymentStatus(groups=one.groups, scaling=one.scaling, observed_generation=one.generation)
    return DeploymentView(
        namespace=one.namespace,
        name=one.name,
        uid=one.uid or name_of(one),
        generation=one.generation,
        spec=one.spec,
        status=status,
        groups=groups,
        pods=pods,
        signals=_signals(one),
    )


@dataclass(frozen=True)
class Bill:
    """What the slices that replicas hold cost: their share of a GPU each, at its price where all prices are told."""

    now: float
    then: float
    unit: str


def cost_of(snapshot: SnapshotFile, rows: Sequence[Foretold]) -> Bill:
    """Return what the fleet costs now and then; where a replica may go to several products, the dearest counts."""
    pools = {name_of(one): one.spec.placement.pool_ref.name for one in snapshot.deployments}
    prices = {(pool.name, one.product): float(one.per_gpu_hour) for pool in snapshot.pools for one in pool.spec.costs}
    there = {(node.pool, node.product) for node in snapshot.nodes if node.product}
    priced = there <= prices.keys()

    def worth(row: Foretold, profile: str) -> float:
        pool = pools[row.name]
        products = [row.product] if row.product else [product for home, product in there if home == pool]
        each = [share_of(p, profile) * (prices[pool, p] if priced else 1.0) for p in products if (pool, p) in there]
        return max(each, default=0.0)

    now = sum(n * worth(row, profile) for row in rows for profile, n in row.now)
    then = sum(n * worth(row, profile) for row in rows for profile, n in row.then)
    return Bill(round(now, 3), round(then, 3), "an hour" if priced else "GPUs' worth of slices")

"""From the cluster to a snapshot, as far as whoever asks may see; what is not seen is said, never guessed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from yolofleet.api.migpool import DEFAULT_POOL
from yolofleet.api.snapshot import (
    Devices,
    Holder,
    MigConfig,
    SnapshotDeployment,
    SnapshotEngine,
    SnapshotFile,
    SnapshotNode,
    SnapshotPool,
    SnapshotSignals,
)
from yolofleet.api.yoloengine import YoloEngineSpec
from yolofleet.cli.session import Cluster, Session
from yolofleet.cli.standing import number, standing
from yolofleet.errors import ApiServerError, CannotAskError
from yolofleet.kube import Resource
from yolofleet.observe import reading
from yolofleet.observe.devices import held_by
from yolofleet.observe.resources import MIGPOOL, NODE, POD, YOLODEPLOYMENT, YOLOENGINE
from yolofleet.planning.sizing.curves import told_by
from yolofleet.planning.slices.pools import shared_out
from yolofleet.planning.slices.profiles import PRODUCT_LABEL
from yolofleet.planning.snapshot import DeploymentView
from yolofleet.render.meta import DEPLOYMENT_LABEL, MANAGED_BY, MANAGER

Object = dict[str, Any]
PRIORITY_CLASS = Resource("scheduling.k8s.io/v1", "PriorityClass", "priorityclasses", namespaced=False)
ZONE_LABEL = "topology.kubernetes.io/zone"
GPU_LABELS = "nvidia.com/"
FROM_STATUS = "read from status, to two digits"


@dataclass(frozen=True)
class Seen:
    """Raw objects, and what could not be had, with the reason."""

    nodes: Sequence[Object]
    pools: Sequence[Object] = ()
    deployments: Sequence[Object] = ()
    engines: Sequence[Object] = ()
    pods: Sequence[Object] = ()
    priorities: Sequence[Object] = ()
    unseen: Mapping[str, str] = field(default_factory=dict)


async def gathered(session: Session, manifests: Sequence[Object] = ()) -> SnapshotFile:
    """Look at the cluster; manifests stand in for the deployments that they name, as if they were applied."""
    async with session.cluster() as cluster:
        home = session.flags.namespace
        wide = cluster if home else replace(cluster, namespace=None)
        try:
            seen = await _look(wide)
        except ApiServerError as error:
            if error.status != HTTPStatus.FORBIDDEN or wide.namespace is not None:
                raise
            seen = await _look(cluster)
            told = f"not allowed to look at all namespaces: only {cluster.namespace} is planned; ask for `view` on all"
            seen = replace(seen, unseen={**seen.unseen, "namespaces": told})
        namespace = cluster.namespace or "default"
    return snapshot_of(applied(seen, manifests, namespace), datetime.now(UTC))


async def _look(cluster: Cluster) -> Seen:
    unseen: dict[str, str] = {}
    nodes = await cluster.items(NODE)
    deployments = await cluster.items(YOLODEPLOYMENT)
    engines = await cluster.items(YOLOENGINE)
    everywhere = replace(cluster, namespace=None)
    pods = await _allowed(everywhere, POD, unseen, "slices of other people's pods count as free")
    if "pods" in unseen:
        pods = await _allowed(cluster, POD, unseen, "who holds slices is not known")
    pools = await _allowed(cluster, MIGPOOL, unseen, "all nodes count as one pool, `default`")
    priorities = await _allowed(cluster, PRIORITY_CLASS, unseen, "all deployments count as equally important")
    return Seen(nodes, pools, deployments, engines, pods, priorities, unseen)


async def _allowed(cluster: Cluster, resource: Resource, unseen: dict[str, str], then: str) -> list[Object]:
    try:
        return await cluster.items(resource)
    except ApiServerError as error:
        if error.status not in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND):
            raise
        unseen[resource.plural] = f"not allowed to see {resource.plural}: {then}"
        return []


def applied(seen: Seen, manifests: Sequence[Object], namespace: str) -> Seen:
    """Return what would be there were the manifests applied; what runs of a deployment stays."""
    if not manifests:
        return seen
    there = {(one["metadata"]["namespace"], one["metadata"]["name"]): one for one in seen.deployments}
    for one in manifests:
        meta = one["metadata"]
        key = (meta.get("namespace") or namespace, meta["name"])
        before = there.get(key, {"metadata": {"namespace": key[0], "name": key[1], "uid": "/".join(key)}})
        there[key] = before | {"spec": one["spec"]}
    return replace(seen, deployments=list(there.values()))


def snapshot_of(seen: Seen, now: datetime) -> SnapshotFile:
    """Return the snapshot that these objects are."""
    held_by = _holders(seen)
    pools = [reading.pool(one) for one in seen.pools]
    views = [reading.node(one) for one in seen.nodes]
    homes = {view.name: pool.name for pool, own, _ in shared_out(pools, views) for view in own}
    default = "" if any(pool.name == DEFAULT_POOL for pool in pools) else DEFAULT_POOL
    selected = {key for pool in pools for key in pool.spec.node_selector.match_labels}
    nodes = [_node(one, homes.get(one["metadata"]["name"], default), held_by, selected) for one in seen.nodes]
    ranks = {one["metadata"]["name"]: int(one.get("value", 0)) for one in seen.priorities}
    return SnapshotFile(
        version=1,
        taken_at=now.isoformat(timespec="seconds"),
        nodes=[node for node in nodes if node.resources],
        deployments=[_deployment(one, ranks) for one in seen.deployments],
        engines=[_engine(one) for one in seen.engines],
        pools=[SnapshotPool(name=pool.name, created=pool.created, spec=pool.spec) for pool in pools],
        unseen=dict(seen.unseen),
    )


def _holders(seen: Seen) -> dict[str, list[Holder]]:
    """Return who holds devices, by node; pods of ours are known by their labels and their namespace's deployment."""
    ours = {(one["metadata"]["namespace"], one["metadata"]["name"]) for one in seen.deployments}
    found: dict[str, list[Holder]] = {}
    for pod in seen.pods:
        meta = pod["metadata"]
        labels = meta.get("labels") or {}
        mine = (meta["namespace"], labels.get(DEPLOYMENT_LABEL, ""))
        replica = labels.get(MANAGED_BY) == MANAGER and mine in ours
        for (node, resource), count in held_by(pod):
            holder = Holder(
                name=f"{meta['namespace']}/{meta['name']}",
                resource=resource,
                count=count,
                deployment="/".join(mine) if replica else None,
            )
            found.setdefault(node, []).append(holder)
    return found


def _node(obj: Object, pool: str, held_by: Mapping[str, list[Holder]], selected: set[str]) -> SnapshotNode:
    view = reading.node(obj)
    labels = view.labels
    product, _, sliced = labels.get(PRODUCT_LABEL, "").partition("-MIG-")
    holders = held_by.get(view.name, [])
    count = labels.get("nvidia.com/gpu.count", "")
    state, wanted = (labels.get(f"nvidia.com/mig.config{end}") for end in (".state", ""))
    return SnapshotNode(
        name=view.name,
        product=product or None,
        ready=view.ready,
        schedulable=view.schedulable,
        pool=pool,
        zone=labels.get(ZONE_LABEL),
        # With strategy *single* the label counts slices.
        gpu_count=int(count) if count.isdecimal() and int(count) and not sliced else None,
        resources={
            name: Devices(allocatable=n, requested=sum(h.count for h in holders if h.resource == name))
            for name, n in view.devices.items()
        },
        holders=holders,
        labels={key: told for key, told in labels.items() if key.startswith(GPU_LABELS) or key in selected},
        mig_config=MigConfig(label=wanted, state=state) if wanted or state else None,
        unseen={"gpus": "extended resources tell counts, not which slice lies on which GPU"},
    )


def _deployment(obj: Object, ranks: Mapping[str, int]) -> SnapshotDeployment:
    view = _read(obj)
    placement = view.spec.placement
    told = standing(obj)
    demanded = number(told.demanded_fps)
    return SnapshotDeployment(
        namespace=view.namespace,
        name=view.name,
        uid=view.uid,
        generation=view.generation,
        spec=view.spec,
        priority=ranks.get(placement.priority_class_name, 0),
        groups=view.status.groups,
        scaling=view.status.scaling,
        signals=None if demanded is None else SnapshotSignals(arrival_fps=demanded, served_fps=number(told.served_fps)),
        unseen={"signals": "the operator has seen no load" if demanded is None else FROM_STATUS},
    )


def _read(obj: Object) -> DeploymentView:
    try:
        return reading.deployment(obj, groups=(), pods=(), refusals=())
    except ValueError as error:
        meta = obj["metadata"]
        words = " ".join(str(error).split())[:300]
        told = f"YoloDeployment {meta['namespace']}/{meta['name']} cannot be read: {words}; upgrade the plugin"
        raise CannotAskError(told) from error


def _engine(obj: Object) -> SnapshotEngine:
    view = reading.engine(obj, job=None, progress=None, refused="")
    spec: YoloEngineSpec = view.spec
    return SnapshotEngine(
        namespace=view.namespace,
        name=view.name,
        key=spec.key,
        recipe=spec.recipe,
        target=spec.target,
        state="Published" if view.artifact else view.status.stage or "Waiting",
        curves=list(told_by(view.status)),
        work=view.status.work,
    )

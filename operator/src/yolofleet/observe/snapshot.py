"""From the cache to the frozen snapshot of one pass."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from pydantic import ValidationError

from yolofleet.api.build import Progress
from yolofleet.observe import reading
from yolofleet.observe.cache import Cache, Key
from yolofleet.planning.snapshot import (
    DeploymentView,
    EngineView,
    NodeView,
    Policy,
    PoolView,
    Refusal,
    Snapshot,
    UnreadableView,
)
from yolofleet.render.meta import DEPLOYMENT_LABEL, ENGINE_LABEL

Object = dict[str, Any]
Name = tuple[str, str]


class Observer:
    """Makes snapshots; parsed engines, nodes and pools are kept while their objects stay the same."""

    def __init__(self, cache: Cache, policy: Policy) -> None:
        self._cache = cache
        self._policy = policy
        self._engines: dict[Key, tuple[tuple[Any, ...], EngineView]] = {}
        self._nodes: tuple[int, tuple[NodeView, ...], tuple[PoolView, ...]] = (-1, (), ())
        self.progress: dict[Name, Progress] = {}
        self.refusals: dict[Key, tuple[Refusal, ...]] = {}

    def look(self, keys: frozenset[Key], now: datetime) -> tuple[Snapshot, tuple[UnreadableView, ...]]:
        """Return the snapshot for these keys, and the objects among them that cannot be read."""
        unreadable: list[UnreadableView] = []
        deployments = [view for key in sorted(keys) if (view := self._deployment(key, unreadable)) is not None]
        engines = self._all_engines()
        nodes, pools = self._nodes_and_pools()
        due = tuple(sorted((key.namespace, key.name) for key in keys if key.kind == "YoloEngine"))
        running = [view for view in engines.values() if view.job is not None and view.job.active]
        snapshot = Snapshot(
            taken_at=now,
            policy=self._policy,
            nodes=nodes,
            pools=pools,
            deployments=tuple(deployments),
            engines=engines,
            engines_by_owner=self._by_owner(deployments),
            engines_due=due,
            pools_due=any(key.kind in ("MigPool", "Node", "YoloDeployment") for key in keys) and bool(pools),
            builds_running=len(running),
            devices_used=self._devices_used(),
        )
        return snapshot, tuple(unreadable)

    def builds(self) -> list[tuple[Key, str]]:
        """Return the engines whose build pod runs, with its address; forget the progress of others."""
        found = []
        for (namespace, name), view in self._all_engines().items():
            if view.job is not None and view.job.pod_ip and view.job.active:
                found.append((Key("YoloEngine", namespace, name), view.job.pod_ip))
        running = {(key.namespace, key.name) for key, _ in found}
        self.progress = {name: told for name, told in self.progress.items() if name in running}
        return found

    def _deployment(self, key: Key, unreadable: list[UnreadableView]) -> DeploymentView | None:
        obj = self._cache.get(key) if key.kind == "YoloDeployment" else None
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            return None
        namespace, name = key.namespace, key.name
        groups = self._cache.labelled("Deployment", namespace, DEPLOYMENT_LABEL, name)
        pods = self._cache.labelled("Pod", namespace, DEPLOYMENT_LABEL, name)
        try:
            return reading.deployment(
                obj,
                groups=tuple(reading.group(g) for g in groups if "deletionTimestamp" not in g["metadata"]),
                pods=tuple(reading.pod(p) for p in pods),
                refusals=self.refusals.get(key, ()),
            )
        except ValidationError as error:
            unreadable.append(_unreadable(key, obj, error))
            return None

    def _all_engines(self) -> Mapping[Name, EngineView]:
        views = {}
        for key, obj in self._cache.all("YoloEngine").items():
            if "deletionTimestamp" in obj["metadata"]:
                continue
            views[(key.namespace, key.name)] = self._engine(key, obj)
        return views

    def _engine(self, key: Key, obj: Object) -> EngineView:
        job = self._cache.get(Key("Job", key.namespace, key.name))
        if job is not None and "deletionTimestamp" in job["metadata"]:
            job = None
        pods = [
            pod
            for pod in self._cache.labelled("Pod", key.namespace, ENGINE_LABEL, key.name)
            if DEPLOYMENT_LABEL not in pod["metadata"].get("labels", {})
        ]
        progress = self.progress.get((key.namespace, key.name))
        versions = [o["metadata"]["resourceVersion"] for o in (obj, *([job] if job else []), *pods)]
        refused = next((r.message for r in self.refusals.get(key, ())), "")
        stamp = (*versions, progress, refused)
        known = self._engines.get(key)
        if known is not None and known[0] == stamp:
            return known[1]
        view = reading.engine(obj, job=reading.job(job, pods) if job else None, progress=progress, refused=refused)
        self._engines[key] = (stamp, view)
        return view

    def _nodes_and_pools(self) -> tuple[tuple[NodeView, ...], tuple[PoolView, ...]]:
        if self._nodes[0] != self._cache.generation:
            nodes = tuple(reading.node(obj) for _, obj in sorted(self._cache.all("Node").items()))
            pools = tuple(reading.pool(obj) for _, obj in sorted(self._cache.all("MigPool").items()))
            self._nodes = (self._cache.generation, nodes, pools)
        return self._nodes[1], self._nodes[2]

    def _by_owner(self, deployments: list[DeploymentView]) -> dict[str, tuple[Name, ...]]:
        return {d.uid: tuple((key.namespace, key.name) for key in self._cache.owned(d.uid)) for d in deployments}

    def _devices_used(self) -> Mapping[str, int]:
        used: Counter[str] = Counter()
        for pod in self._cache.all("Pod").values():
            if pod["spec"].get("nodeName") and pod.get("status", {}).get("phase") not in ("Succeeded", "Failed"):
                for limits in pod["spec"]["limits"]:
                    used.update({n: int(c) for n, c in limits.items() if n.startswith(reading.DEVICE_PREFIX)})
        return {resource: used[resource] for node in self._nodes[1] for resource in node.devices}


def _unreadable(key: Key, obj: Object, error: ValidationError) -> UnreadableView:
    first = error.errors()[0]
    where = ".".join(map(str, first["loc"]))
    told = f"spec.{where}: {first['msg']} (got {str(first['input'])[:100]!r}); mend the field, or upgrade the operator"
    return UnreadableView(key.kind, key.namespace, key.name, obj["metadata"].get("generation", 0), told)

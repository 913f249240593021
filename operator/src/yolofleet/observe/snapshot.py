"""From the cache to the frozen snapshot of one pass."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

from pydantic import ValidationError

from yolofleet.api.build import Progress
from yolofleet.api.migpool import DEFAULT_POOL
from yolofleet.observe import reading
from yolofleet.observe.cache import TARGET, Cache, Key
from yolofleet.observe.devices import Devices
from yolofleet.observe.resources import AUTOSCALER
from yolofleet.planning.builds.mending import as_stored
from yolofleet.planning.builds.slices import lender_of, needs_slice
from yolofleet.planning.portable import arriving, level_of
from yolofleet.planning.rollout.comparing import Comparison
from yolofleet.planning.scaling.memory import Memory, stands
from yolofleet.planning.scaling.signals import Signals
from yolofleet.planning.sizing.curves import Curves, told_by
from yolofleet.planning.slices.pools import SliceUse, slice_uses
from yolofleet.planning.snapshot import (
    DeploymentView,
    EngineView,
    Lender,
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
V = TypeVar("V")
ODD = (ValueError, KeyError, TypeError, ArithmeticError)
"""What reading an object of an unknown shape raises; pydantic's ValidationError is a ValueError."""
log = logging.getLogger(__name__)


class Observer:
    """Makes snapshots; parsed engines, nodes and pools are kept while their objects stay the same."""

    def __init__(self, cache: Cache, policy: Policy) -> None:
        self._cache = cache
        self._policy = policy
        self._engines: dict[Name, EngineView] = {}
        self._asked: tuple[Mapping[Name, EngineView], list[tuple[Key, str]]] = ({}, [])
        self._devices = Devices(cache)
        self._nodes: tuple[int, tuple[NodeView, ...], tuple[PoolView, ...]] = (-1, (), ())
        self._progress: dict[Name, Progress] = {}
        self._refusals: dict[Key, tuple[Refusal, ...]] = {}
        self._told: set[Key] = set()
        self._unreadable: dict[Key, UnreadableView] = {}
        self._memories: dict[Key, Memory] = {}
        self.wanting: list[EngineView] = []
        self.curves = Curves()
        self.signals: Callable[[DeploymentView], Signals | None] = lambda _view: None
        self.comparison: Callable[[DeploymentView], Comparison | None] = lambda _view: None
        self.foreign: Callable[[], Mapping[tuple[str, str], int]] = dict

    def look(self, keys: frozenset[Key], now: datetime) -> tuple[Snapshot, tuple[UnreadableView, ...]]:
        """Return the snapshot for these keys, and the objects among them that cannot be read."""
        deployments = [view for key in sorted(keys) if (view := self._deployment(key)) is not None]
        engines = self._all_engines()
        nodes, pools = self._nodes_and_pools()
        due = tuple(sorted((key.namespace, key.name) for key in keys if key.kind == "YoloEngine"))
        running = [view for view in engines.values() if view.job is not None and view.job.active]
        turns = [engines[name] for name in due if name in engines]
        self.wanting = [view for view in turns if needs_slice(view)]
        loans = loans_of(running)
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
            devices_used=self._devices.used(),
            devices_foreign=self.foreign() if self.curves or self.wanting else {},
            curves=self.curves,
            lenders=self._lenders(loans, now) if self.wanting else (),
            loans=loans,
            engine_pools={(view.namespace, view.name): self._pools_of(view) for view in self.wanting},
            engines_behind=frozenset((v.namespace, v.name) for v in self.wanting if self._behind(v, engines)),
        )
        return snapshot, tuple(self._unreadable[key] for key in sorted(keys) if key in self._unreadable)

    def _lenders(self, loans: Mapping[Name, int], now: datetime) -> tuple[Lender, ...]:
        """Return the deployments that may lend a slice to a build: those of which one has more than one replica."""
        several = {
            Key("YoloDeployment", key.namespace, obj["metadata"].get("labels", {}).get(DEPLOYMENT_LABEL, ""))
            for key, obj in self._cache.all("Deployment").items()
            if obj["spec"]["replicas"] > 1
        }
        views = [view for key in sorted(several) if (view := self._deployment(key)) is not None]
        found = [lender_of(view, lent=loans.get((view.namespace, view.name), 0), now=now) for view in views]
        return tuple(lender for lender in found if lender is not None)

    def _behind(self, view: EngineView, engines: Mapping[Name, EngineView]) -> bool:
        """Tell whether replicas of an engine's owners are about to take slices with a portable one in its place."""
        if level_of(view) is not None:
            return False
        owners = (self._deployment(Key("YoloDeployment", view.namespace, owner.name)) for owner in view.owners)
        return any(arriving(owner, engines) for owner in owners if owner is not None)

    def _pools_of(self, view: EngineView) -> frozenset[str]:
        """Return the pools that the owners of an engine serve from."""
        keys = [Key("YoloDeployment", view.namespace, owner.name) for owner in view.owners]
        specs = [obj["spec"] for key in keys if (obj := self._cache.get(key)) is not None]
        refs = [(spec.get("placement") or {}).get("poolRef") or {} for spec in specs]
        return frozenset(ref.get("name", DEFAULT_POOL) for ref in refs)

    def hear(self, key: Key, told: Progress) -> bool:
        """Take what a build says of itself; False when it is no news."""
        name = (key.namespace, key.name)
        if self._progress.get(name) == told:
            return False
        self._progress[name] = told
        self._told.add(key)
        return True

    def refused(self, key: Key, told: tuple[Refusal, ...]) -> bool:
        """Take what the API server refused for an object, () when all went well; False when it is no news."""
        if self._refusals.get(key, ()) == told:
            return False
        self._refusals[key] = told
        if not told:
            del self._refusals[key]
        if key.kind == "YoloEngine":
            self._told.add(key)
        return True

    def remember(self, view: DeploymentView, memory: Memory) -> None:
        """Keep what a decision leaves to the next one, where more of it matters than stands in the status by now."""
        key = Key("YoloDeployment", view.namespace, view.name)
        if view.pods or memory.claims or not stands(memory, view.status):
            self._memories[key] = memory
        else:
            self._memories.pop(key, None)

    def memory(self, key: Key) -> Memory | None:
        """Return what the last decision on a deployment left behind."""
        return self._memories.get(key)

    def forget(self, key: Key) -> None:
        """Forget what was kept of an object that is gone."""
        self._memories.pop(key, None)
        self._refusals.pop(key, None)

    def weighs_slices(self) -> bool:
        """Tell whether decisions depend on which slices are free."""
        return bool(self.curves) or bool(self.wanting)

    def slices(self) -> tuple[SliceUse, ...]:
        """Return what all nodes offer, and how much of it this fleet and others hold."""
        return slice_uses(self._nodes_and_pools()[0], self._devices.used(), self.foreign())

    def stages(self) -> Mapping[str, int]:
        """Count the engines by stage: Published when done, Waiting before the first build."""
        views = self._all_engines().values()
        return Counter("Published" if view.artifact else view.status.stage or "Waiting" for view in views)

    def builds(self) -> list[tuple[Key, str]]:
        """Return the engines whose build pod runs, with its address; forget the progress of others."""
        engines = self._all_engines()
        if engines is not self._asked[0]:  # asked for every second, and seldom another answer
            found = [
                (Key("YoloEngine", namespace, name), view.job.pod_ip)
                for (namespace, name), view in engines.items()
                if view.job is not None and view.job.pod_ip and view.job.active
            ]
            self._asked = engines, found
            running = {(key.namespace, key.name) for key, _ in found}
            self._progress = {name: told for name, told in self._progress.items() if name in running}
        return self._asked[1]

    def _deployment(self, key: Key) -> DeploymentView | None:
        if key.kind != "YoloDeployment":
            return None
        obj = self._cache.get(key)
        if obj is None or "deletionTimestamp" in obj["metadata"]:
            self._unreadable.pop(key, None)
            return None
        namespace, name, uid = key.namespace, key.name, obj["metadata"]["uid"]
        targeting = self._cache.labelled(AUTOSCALER, namespace, TARGET, name)
        groups = self._cache.labelled("Deployment", namespace, DEPLOYMENT_LABEL, name)
        ours = [g for g in groups if reading.serves(g, uid)]
        stable, canaries = [g for g in ours if not reading.is_canary(g)], [g for g in ours if reading.is_canary(g)]
        pods = self._cache.labelled("Pod", namespace, DEPLOYMENT_LABEL, name)
        view = self._read(
            key,
            obj,
            lambda: reading.deployment(
                obj,
                groups=tuple(reading.group(g) for g in stable),
                canary=next((reading.group(g) for g in canaries), None),
                pods=tuple(reading.pod(p) for p in pods),
                refusals=self._refusals.get(key, ()),
                autoscalers=tuple(a["metadata"]["name"] for a in targeting),
            ),
        )
        return view and replace(
            view, signals=self.signals(view), memory=self._memories.get(key), comparison=self.comparison(view)
        )

    def _read(self, key: Key, obj: Object, read: Callable[[], V]) -> V | None:
        """Read one object; one that cannot be read must not stop the pass for all others."""
        self._unreadable.pop(key, None)
        try:
            return read()
        except ODD as error:
            self._unreadable[key] = told = _unreadable(key, obj, error)
            log.warning("cannot be read", extra={"object": "/".join(key), "error": told.message})
            return None

    def _all_engines(self) -> Mapping[Name, EngineView]:
        """Return all engines; only those of which something changed are read anew."""
        stale, self._cache.stale_engines = self._cache.stale_engines | self._told, set()
        if not stale:
            return self._engines
        self._told.clear()
        self._engines = dict(self._engines)  # a snapshot that was given away stays as it is
        for key in stale:
            self._engines.pop((key.namespace, key.name), None)
            self.curves.drop(key.namespace, key.name)
            self._unreadable.pop(key, None)
            obj = self._cache.get(key)
            if obj is None or "deletionTimestamp" in obj["metadata"]:
                continue
            if (view := self._read(key, obj, partial(self._engine, key, obj))) is not None:
                self._engines[(key.namespace, key.name)] = view
                told, made = told_by(view.status), view.spec
                self.curves.put(key.namespace, key.name, made.recipe, told, view.status.work, made.target)
        return self._engines

    def _engine(self, key: Key, obj: Object) -> EngineView:
        job = self._cache.get(Key("Job", key.namespace, key.name))
        pods = [
            pod
            for pod in self._cache.labelled("Pod", key.namespace, ENGINE_LABEL, key.name)
            if DEPLOYMENT_LABEL not in pod["metadata"].get("labels", {})
        ]
        refused = next((r.message for r in self._refusals.get(key, ())), "")
        told = self._progress.get((key.namespace, key.name))
        seen = reading.job(job, pods, engine_uid=obj["metadata"]["uid"]) if job else None
        view = reading.engine(obj, job=seen, progress=told, refused=refused)
        return as_stored(view, self._policy.store)

    def _nodes_and_pools(self) -> tuple[tuple[NodeView, ...], tuple[PoolView, ...]]:
        if self._nodes[0] != self._cache.generation:
            nodes = [
                self._read(key, obj, partial(reading.node, obj)) for key, obj in sorted(self._cache.all("Node").items())
            ]
            self._unreadable = {
                key: told for key, told in self._unreadable.items() if key.kind not in ("Node", "MigPool")
            }
            pools = [
                self._read(key, obj, partial(reading.pool, obj))
                for key, obj in sorted(self._cache.all("MigPool").items())
            ]
            self._nodes = (
                self._cache.generation,
                tuple(node for node in nodes if node is not None),
                tuple(pool for pool in pools if pool is not None),
            )
        return self._nodes[1], self._nodes[2]

    def _by_owner(self, deployments: list[DeploymentView]) -> dict[str, tuple[Name, ...]]:
        return {d.uid: tuple((key.namespace, key.name) for key in self._cache.owned(d.uid)) for d in deployments}


def loans_of(building: list[EngineView]) -> Mapping[Name, int]:
    """Count the slices that deployments have lent to builds which run."""
    lenders = [view.job.slice.lender for view in building if view.job is not None and view.job.slice is not None]
    return Counter((lender.namespace, lender.name) for lender in lenders if lender is not None)


def _unreadable(key: Key, obj: Object, error: Exception) -> UnreadableView:
    told = f"{type(error).__name__}: {error}; the object has a shape that this operator does not know: upgrade it"
    if isinstance(error, ValidationError):
        first = error.errors()[0]
        where, got = ".".join(map(str, first["loc"])), repr(str(first["input"])[:100])
        told = f"spec.{where}: {first['msg']} (got {got}); mend the field, or upgrade the operator"
    return UnreadableView(
        key.kind,
        key.namespace,
        key.name,
        obj["metadata"].get("generation", 0),
        told,
        status=obj.get("status") or {},
        conditions=reading.conditions(obj),
    )

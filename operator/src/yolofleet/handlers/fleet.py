"""The one pass for the whole fleet: look, decide, describe, do; fed by a dirty set."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import Any

import aiohttp
import orjson

from yolofleet.api.recipe import Builder
from yolofleet.apply.writer import Outcome, Writer
from yolofleet.errors import ApiServerError
from yolofleet.handlers.figures import figure_of
from yolofleet.handlers.following import Follower
from yolofleet.handlers.health import Health
from yolofleet.handlers.metrics import Metrics
from yolofleet.handlers.store_keeper import StoreKeeper
from yolofleet.handlers.sweeper import Sweeper
from yolofleet.kube import Kube, Resource
from yolofleet.observe import progress
from yolofleet.observe.audit import audit
from yolofleet.observe.cache import Cache, Key
from yolofleet.observe.neighbours import Neighbours
from yolofleet.observe.reflector import reflect, relist
from yolofleet.observe.resources import CHILDREN, FOREIGN, MIGPOOL, OWN, YOLODEPLOYMENT, YOLOENGINE
from yolofleet.observe.snapshot import Observer
from yolofleet.planning.plan import Plan, plan
from yolofleet.planning.snapshot import Policy, Refusal, Snapshot
from yolofleet.render.store import address
from yolofleet.render.writes import Target, writes
from yolofleet.settings import Settings

log = logging.getLogger(__name__)

DEBOUNCE_S = 0.01
BITE = 100
"""Keys of one pass: a change in a fleet that is just starting waits for a second, not for all of it, and what a pass
makes of its keys (a hundred times more than the cache keeps of them) does not add up."""
RETRY_S = 1.0
LONGEST_RETRY_S = 60.0
MAX_DOUBLINGS = 10
REFUSED_RETRY_S = 15.0
PROGRESS_PERIOD_S = 1.0
REFLECTED = (*CHILDREN, *FOREIGN)
KINDS: tuple[Resource, ...] = (*OWN, *REFLECTED)


class _Known:
    """The cache, as the writer sees it."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def stands(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        return self._cache.get(Key(kind, namespace, name))

    def knows(self, kind: str, namespace: str, name: str) -> bool:
        return Key(kind, namespace, name) in self._cache.all(kind)

    def took(self, kind: str, obj: dict[str, Any]) -> None:
        self._cache.put(kind, obj)

    def gone(self, kind: str, obj: dict[str, Any]) -> None:
        self._cache.remove(kind, obj)


class Fleet:
    """Holds the cache and runs the passes; made once at start-up."""

    def __init__(self, settings: Settings, kube: Kube, *, metrics: Metrics, health: Health) -> None:
        builder = Builder(
            image=settings.images.builder,
            version=settings.builds.version,
            tensorrt_version=settings.builds.tensorrt_version,
        )
        self.cache = Cache()
        self._settings = settings
        self._kube = kube
        self._metrics = metrics
        self._health = health
        policy = Policy(
            builder=builder,
            backoff_s=settings.builds.backoff_seconds,
            stale_s=float(settings.scaling.stale_seconds),
            store=address(settings),
            image=settings.images.triton,
            load_s=float(settings.serving.load_timeout_seconds),
        )
        self._observer = Observer(self.cache, policy)
        self._neighbours = Neighbours(self.cache)
        self._observer.foreign = self._neighbours.used
        self._writer = Writer(kube, _Known(self.cache), (YOLODEPLOYMENT, YOLOENGINE, MIGPOOL, *CHILDREN))
        metrics.dirty.set_function(lambda: len(self.cache.dirty))  # also while a pass hangs
        metrics.figures.slices = self._observer.slices
        metrics.figures.engines = self._observer.stages
        self._follower = Follower(settings, cache=self.cache, observer=self._observer, figures=metrics.figures)
        self._store = StoreKeeper(settings)
        self._timers: dict[Key, asyncio.TimerHandle] = {}
        self._failures: dict[Key, int] = {}
        self._loans: dict[tuple[str, str], int] = {}
        self._versions: dict[tuple[str, str | None], str] = {}

    @property
    def namespaces(self) -> tuple[str | None, ...]:
        """Return the namespaces to look at; (None,) means all."""
        return tuple(self._settings.watch_namespaces) or (None,)

    async def load(self) -> None:
        """List everything before the first pass: a restart must not act on half a picture."""
        for resource in KINDS:
            for namespace in self.namespaces if resource.namespaced else (None,):
                version = await relist(self._kube, self.cache, resource, namespace)
                self._versions[(resource.kind, namespace)] = version
        listed = self.cache.dirty.take(len(self.cache.dirty))
        self.cache.dirty.add(*self._by_engine(), *self.cache.all("YoloEngine"), *sorted(listed))
        self._health.synced = len(self.cache.dirty) == 0  # nothing to do is done
        log.info("listed", extra={resource.plural: len(self.cache.all(resource.kind)) for resource in KINDS})

    def _by_engine(self) -> list[Key]:
        """Return all YoloDeployments, those together that ask for the same: a shared engine gets its owners at once."""
        asked = {
            key: (key.namespace, orjson.dumps([obj["spec"].get(part) for part in ("model", "engine")]), key.name)
            for key, obj in self.cache.all("YoloDeployment").items()
        }
        return sorted(asked, key=lambda key: asked[key])

    async def run(self) -> None:
        """Run passes, reflectors, audits and progress polls until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for resource in REFLECTED:
                for namespace in self.namespaces:
                    since = self._versions[(resource.kind, namespace)]
                    tasks.create_task(reflect(self._kube, self.cache, resource, namespace, since, back=self.back))
            tasks.create_task(self._passes())
            tasks.create_task(self._audits())
            tasks.create_task(self._follow_builds())
            tasks.create_task(self._follower.run(self._kube))
            tasks.create_task(Sweeper(self._settings, self.cache, self._store).run())
            if not self._settings.watch_namespaces:  # else its rights end before other people's pods
                tasks.create_task(self._neighbours.run(self._kube, needed=self._observer.weighs_slices))

    async def _passes(self) -> None:
        while True:
            await self.cache.dirty.wait()
            await asyncio.sleep(DEBOUNCE_S)
            keys = self.cache.dirty.take(BITE)
            self._health.pass_began = time.monotonic()
            if await self._survived(keys):
                self._health.synced = True
            self._metrics.pass_seconds.observe(time.monotonic() - self._health.pass_began)
            self._health.pass_began = None
            self._metrics.passes.inc()

    async def _survived(self, keys: frozenset[Key]) -> bool:
        """Run a pass; where it meets a bug, halve it, until the bug stands alone with its key and stops no other."""
        try:
            await self.one_pass(keys)
        except Exception:
            self._metrics.failed_passes.inc()
            if len(keys) > 1:
                ordered = sorted(keys)
                halves = ordered[: len(keys) // 2], ordered[len(keys) // 2 :]
                return any([await self._survived(frozenset(half)) for half in halves])
            # A bug must not end the operator; it is loud, counted, and tried again.
            log.exception("a pass failed", extra={"keys": ["/".join(key) for key in keys]})
            for key in keys:
                self._failed(key)
            return False
        return True

    async def one_pass(self, keys: frozenset[Key]) -> Outcome:
        """Look, decide, describe, do, remember, count."""
        now = datetime.now(UTC)
        snapshot, unreadable = self._observer.look(keys, now)
        decided, grants = await self._store.granted(plan(await self._store.looked(snapshot)), now)
        wanted = writes(decided, unreadable, settings=self._settings, now=now, grants=grants)
        outcome = await self._writer.carry_out(wanted)
        self._lend(snapshot)
        self._remember(decided, outcome, now)
        self._count(decided, outcome, now)
        self._follow(keys, decided, now)
        return outcome

    def _lend(self, snapshot: Snapshot) -> None:
        """Wake the deployments that have lent a slice to a build, or got it back."""
        changed = {name for name, _ in snapshot.loans.items() ^ self._loans.items()}
        self._loans = dict(snapshot.loans)
        self.cache.dirty.add(*(Key("YoloDeployment", *name) for name in changed))

    def _follow(self, keys: frozenset[Key], decided: Plan, now: datetime) -> None:
        """Keep what the decisions on replicas leave to the next ones, and wake those that wait for a moment."""
        seen = set()
        for planned in decided.deployments:
            key = Key("YoloDeployment", planned.view.namespace, planned.view.name)
            seen.add(key)
            self._observer.remember(planned.view, planned.desired.memory)
            self._metrics.figures.take(key, figure_of(planned))
            self._follower.take(key, planned)
            for due in (planned.desired.due, planned.rollout.due if planned.rollout else None):
                if due is not None:
                    self._wake(key, max(0.0, (due - now).total_seconds()))
        for key in keys - seen:
            if key.kind == "YoloDeployment":
                self._observer.forget(key)
                self._metrics.figures.forget(key)
                self._follower.forget(key)

    def _remember(self, decided: Plan, outcome: Outcome, now: datetime) -> None:
        for planned in decided.engines:
            if planned.due is not None:
                key = Key("YoloEngine", planned.view.namespace, planned.view.name)
                self._wake(key, max(0.0, (planned.due - now).total_seconds()))
        askers = _askers(decided)
        again = {key for target in outcome.again for key in _with(askers, target)}
        refused: dict[Key, list[ApiServerError]] = {}
        for target, errors in outcome.refused.items():
            for key in _with(askers, target):
                refused.setdefault(key, []).extend(errors)
        for key in again:
            self._failed(key)
        for key, errors in refused.items():
            self._refused(key, errors)
        for key in {_key(target) for target in outcome.done} - refused.keys() - again:
            self._well(key)

    def _failed(self, key: Key) -> None:
        failed = self._failures[key] = min(self._failures.get(key, 0) + 1, MAX_DOUBLINGS)
        self._wake(key, min(LONGEST_RETRY_S, RETRY_S * 2 ** (failed - 1)))

    def back(self) -> None:
        """Try at once what could not be written: the API server answers again, and a wait was for that."""
        self.cache.dirty.add(*self._failures)
        self._failures.clear()

    def _well(self, key: Key) -> None:
        self._failures.pop(key, None)
        # What an engine was refused stands until the timer lets its build be tried again.
        if key.kind != "YoloEngine" and self._observer.refused(key, ()):
            self.cache.dirty.add(key)

    def _refused(self, key: Key, errors: list[ApiServerError]) -> None:
        told = tuple(Refusal(error.reason, error.status, error.message) for error in errors)
        if self._observer.refused(key, told):
            self.cache.dirty.add(key)
        self._wake(key, REFUSED_RETRY_S)

    def _wake(self, key: Key, delay_s: float) -> None:
        loop = asyncio.get_running_loop()
        if (timer := self._timers.get(key)) is not None:
            if timer.when() <= loop.time() + delay_s:
                return  # it will see then what is due later
            timer.cancel()
        self._timers[key] = loop.call_later(delay_s, self._awake, key)

    def _awake(self, key: Key) -> None:
        self._timers.pop(key, None)
        if key.kind == "YoloEngine":
            self._observer.refused(key, ())
        self.cache.dirty.add(key)

    def _count(self, decided: Plan, outcome: Outcome, now: datetime) -> None:
        for (verb, kind), count in outcome.written.items():
            self._metrics.writes.labels(verb, kind).inc(count)
        for target, errors in outcome.refused.items():
            for error in errors:
                self._metrics.refusals.labels(target.kind, str(error.status)).inc()
        for planned in decided.deployments:
            told = planned.judgement
            for name, judged in (("Ready", told.ready), ("EngineReady", told.engine_ready), ("Placed", told.placed)):
                self._metrics.decisions.labels(name, judged.reason.value).inc()
        for built in decided.engines:
            if Target("YoloEngine", built.view.namespace, built.view.name, built.view.uid) not in outcome.again:
                self._metrics.count_build(built, now)
        for resource in KINDS:
            self._metrics.objects.labels(resource.kind).set(len(self.cache.all(resource.kind)))

    async def _audits(self) -> None:
        while True:
            await asyncio.sleep(self._settings.resync_seconds)
            self._writer.prune()
            self._failures = {key: count for key, count in self._failures.items() if key in self.cache.all(key.kind)}
            for resource in KINDS:
                for namespace in self.namespaces if resource.namespaced else (None,):
                    await self._audit(resource, namespace)

    async def _audit(self, resource: Resource, namespace: str | None) -> None:
        grace = self._settings.watch_grace_seconds
        try:
            finding = await audit(self._kube, self.cache, resource, namespace=namespace, grace_s=grace)
        except (ApiServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
            log.warning("audit failed", extra={"kind": resource.kind, "error": str(error)})
            return
        self._health.heard(finding)
        if finding.missed:
            self._metrics.missed.labels(finding.kind).inc(finding.missed)
            log.warning("a watch was silent", extra={"kind": finding.kind, "missed": finding.missed})

    async def _follow_builds(self) -> None:
        async with aiohttp.ClientSession() as session:
            while True:
                await asyncio.sleep(PROGRESS_PERIOD_S)
                await asyncio.gather(*(self._ask(session, key, ip) for key, ip in self._observer.builds()))

    async def _ask(self, session: aiohttp.ClientSession, key: Key, ip: str) -> None:
        told = await progress.ask(session, ip)
        if told is not None and self._observer.hear(key, told):
            self.cache.dirty.add(key)


def _key(target: Target) -> Key:
    return Key(target.kind, target.namespace, target.name)


def _askers(decided: Plan) -> dict[Key, tuple[Key, ...]]:
    """Return, by engine, the deployments that must come back when its owners could not be written."""
    return {
        Key("YoloEngine", planned.namespace, planned.wish.name): tuple(
            Key("YoloDeployment", planned.namespace, name) for name in planned.askers
        )
        for planned in decided.owners
    }


def _with(askers: dict[Key, tuple[Key, ...]], target: Target) -> tuple[Key, ...]:
    return (_key(target), *askers.get(_key(target), ()))

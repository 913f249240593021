"""Sweeps an S3 store now and then: what nobody uses goes, and where all of it is used and too much, no build starts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import partial

from yolofleet.apply.engine_store import EngineStore
from yolofleet.errors import StoreError
from yolofleet.handlers.store_keeper import StoreKeeper
from yolofleet.observe.cache import Cache
from yolofleet.planning.builds.sweeping import GIB, Deletion, InUse, Place, Sweep, SweepPolicy, Why, full, sweep
from yolofleet.render.meta import ATTEMPT_ANNOTATION, ENGINE_LABEL
from yolofleet.settings import Settings

log = logging.getLogger(__name__)

USERS = ("Deployment", "Pod", "Job")
"""Kinds that name their engine by a label: it is used while any of them does, also one that an upgrade leaves."""


class Sweeper:
    """Remembers since when each engine is unused; a restart begins anew, and so takes nothing early."""

    def __init__(self, settings: Settings, cache: Cache, keeper: StoreKeeper) -> None:
        s3 = settings.store.s3
        self._period_s = s3.sweep_seconds
        self._namespaces = frozenset(settings.watch_namespaces)
        self._cache = cache
        self._keeper = keeper
        self._unused_since: Mapping[Place, datetime] = {}
        self.policy = SweepPolicy(
            retention_s=s3.retention_seconds,
            leftover_s=keeper.grant_seconds * 2,
            quota_bytes=s3.quota_gib * GIB or None,
        )

    async def run(self) -> None:
        """Sweep until cancelled; a store that does not answer is swept another time."""
        while self._keeper.store is not None:
            try:
                await self.once(self._keeper.store, datetime.now(UTC))
            except StoreError as error:
                log.warning("the store was not swept", extra={"error": str(error)})
            await asyncio.sleep(self._period_s)

    async def once(self, store: EngineStore, now: datetime) -> Sweep:
        """Sweep once; each deletion asks again, at the last moment, whether anybody has come to use it."""
        survey = await store.survey(self._namespaces)
        made = sweep(survey, self.in_use(), self._unused_since, policy=self.policy, now=now)
        self._unused_since = made.unused_since
        self._keeper.full = full(made, self.policy)
        for doomed in made.deletions:
            if await store.discard(doomed, partial(self._still, doomed)):
                told = {"engine": "/".join(doomed.place), "reason": doomed.why.value, "bytes": doomed.size_bytes}
                log.info("removed from the store: %s", doomed.message, extra=told)
        return made

    def in_use(self) -> InUse:
        """Return what the cluster uses, as the cache has it now."""
        engines = {(key.namespace, key.name) for key in self._cache.all("YoloEngine")}
        attempts: set[tuple[str, str]] = set()
        for kind in USERS:
            for key, obj in self._cache.all(kind).items():
                engines |= _labelled(key.namespace, obj["metadata"].get("labels", {}).get(ENGINE_LABEL))
                attempts |= _labelled(key.namespace, obj["metadata"].get("annotations", {}).get(ATTEMPT_ANNOTATION))
        return InUse(engines, attempts)

    def _still(self, doomed: Deletion) -> bool:
        """Tell whether it may go yet: an attempt that came to nothing may, an engine only while nobody names it."""
        return doomed.why == Why.LEFTOVER or not self.in_use().has(doomed.place)


def _labelled(namespace: str, name: str | None) -> set[tuple[str, str]]:
    return {(namespace, name)} if name else set()

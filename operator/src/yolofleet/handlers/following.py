"""Follow the load: look at all serving pods, decide again, and wake only what would come out otherwise."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import aiohttp

from yolofleet.handlers.figures import Figures
from yolofleet.kube import Kube
from yolofleet.observe.cache import Cache, Key
from yolofleet.observe.engine_activity import EngineActivity, Where
from yolofleet.observe.scraping import CONCURRENCY, Scraper
from yolofleet.observe.snapshot import Observer
from yolofleet.planning.judging import objective_met
from yolofleet.planning.plan import DeploymentPlan
from yolofleet.planning.rollout.steps import judged
from yolofleet.planning.scaling.replicas import Desired, decide
from yolofleet.settings import Settings

log = logging.getLogger(__name__)
DCGM_PERIOD_S = 5.0


class Follower:
    """Holds the plans of deployments that have pods."""

    def __init__(self, settings: Settings, *, cache: Cache, observer: Observer, figures: Figures) -> None:
        told, where = settings.scaling, settings.dcgm
        self._period_s = float(told.scrape_seconds)
        self._stale_s = float(told.stale_seconds)
        self._cache = cache
        self._observer = observer
        self._figures = figures
        asked = Where(where.namespace, where.service, where.port) if where.enabled else None
        self._activity = EngineActivity(asked, stale_s=max(self._stale_s, 3 * DCGM_PERIOD_S))
        self._scraper = Scraper(period_s=self._period_s, stale_s=self._stale_s, activity=self._activity)
        self._plans: dict[Key, DeploymentPlan] = {}
        observer.signals = self._scraper.signals
        observer.comparison = self._scraper.comparison

    def take(self, key: Key, planned: DeploymentPlan) -> None:
        """Take what a pass decided."""
        if planned.view.pods:
            self._plans[key] = planned
        else:
            self._plans.pop(key, None)

    def forget(self, key: Key) -> None:
        """Forget a deployment that is gone."""
        self._plans.pop(key, None)

    async def run(self, kube: Kube) -> None:
        """Look for ever; a fleet too large for the period is looked at half of the time."""
        asked_dcgm = float("-inf")
        connector = aiohttp.TCPConnector(limit=CONCURRENCY)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            while True:
                began = time.monotonic()
                if began - asked_dcgm >= DCGM_PERIOD_S:
                    asked_dcgm = began
                    await self._activity.look(kube, session)
                await self.look(session)
                took = time.monotonic() - began
                await asyncio.sleep(max(self._period_s - took, took))

    async def look(self, session: aiohttp.ClientSession) -> None:
        """Look once, and mark those deployments whose status or replicas would change."""
        await self._scraper.look(session, [planned.view for planned in self._plans.values()])
        now = datetime.now(UTC)
        for key, planned in list(self._plans.items()):
            try:
                self._again(key, planned, now)
            except Exception:  # a bug in one decision must not end the looks at all others
                log.exception("a decision failed", extra={"key": "/".join(key)})

    def _again(self, key: Key, planned: DeploymentPlan, now: datetime) -> None:
        signals = self._scraper.signals(planned.view)
        view = replace(planned.view, signals=signals, memory=self._observer.memory(key))
        told = decide(view, profile=planned.profile, measured=planned.measured, now=now, stale_s=self._stale_s)
        objective = objective_met(view)
        changed = objective.reason != planned.judgement.objective_met.reason or self._decided(planned)
        if changed or _visible(told) != _visible(planned.desired):
            self._cache.dirty.add(key)
            return
        self._observer.remember(view, told.memory)
        if signals is not None:
            self._figures.see(key, signals, told)

    def _decided(self, planned: DeploymentPlan) -> bool:
        """Tell whether a comparison that was under way has its end."""
        if planned.rollout is None or not planned.rollout.undecided:
            return False
        return judged(replace(planned.view, comparison=self._scraper.comparison(planned.view))) is not None


def _visible(told: Desired) -> Mapping[str, Any]:
    """Return what would be written of a decision."""
    parts = ("replicas", "reason", "message", "fps", "capacity", "claims", "headroom")
    return {part: getattr(told, part) for part in parts}

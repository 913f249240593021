"""What a pass asks of an S3 store: grants for builds that start, and whether those that ended told the truth."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path

from yolofleet.api.build import Artifact, BuildResult, Failure
from yolofleet.api.conditions import Reason
from yolofleet.api.store import CREDENTIAL_PATH, Grant
from yolofleet.apply.engine_store import Attempt, EngineStore, FalseReportError
from yolofleet.errors import StoreError
from yolofleet.objects import credential_in
from yolofleet.planning.builds.building import EnginePlan, found_in_store, held_by_store
from yolofleet.planning.plan import Plan
from yolofleet.planning.snapshot import EngineView, JobView, Snapshot
from yolofleet.render.store import bucket, in_s3
from yolofleet.settings import Settings

log = logging.getLogger(__name__)

Name = tuple[str, str]
AFTER_DEADLINE_S = 600
"""A grant outlives its build's deadline by so much: pods wait for their node before the clock of some runs."""
SILENCE_S = 10.0
"""After the store did not answer, nobody asks it for so long: passes must not queue behind it."""


@dataclass(frozen=True)
class _Report:
    """A build that says what it published."""

    view: EngineView
    job: JobView
    result: BuildResult
    artifact: Artifact


class StoreKeeper:
    """The S3 store of a fleet; with a store on claims it has nothing to do, and asks nobody."""

    def __init__(self, settings: Settings) -> None:
        self.grant_seconds = settings.builds.deadline_seconds + AFTER_DEADLINE_S
        self.full = ""
        self._away: tuple[float, str] = (0.0, "")
        self.store: EngineStore | None = None
        if in_s3(settings):
            self.store = EngineStore(bucket(settings), partial(credential_in, Path(CREDENTIAL_PATH)))

    async def looked(self, snapshot: Snapshot) -> Snapshot:
        """Return the snapshot with what the store says of the builds that report success."""
        if self.store is None:
            return snapshot
        told = [one for key in snapshot.engines_due if (one := _reporting(snapshot.engines.get(key))) is not None]
        if not told:
            return snapshot
        known = await asyncio.gather(*(self._confirmed(self.store, one) for one in told))
        seen = {(view.namespace, view.name): view for view in known}
        return replace(snapshot, engines={**snapshot.engines, **seen})

    async def granted(self, decided: Plan, now: datetime) -> tuple[Plan, Mapping[Name, Grant]]:
        """Return a grant for each build that is to start.

        A build whose grant can't be made does not start, nor one whose engine is there from former days.
        """
        starting = [planned for planned in decided.engines if planned.start]
        if self.store is None or not starting:
            return decided, {}
        if self.full:
            return _all_held(decided, self.full, now), {}
        made = await asyncio.gather(*(self._grant(self.store, planned, now) for planned in starting))
        told = {_name(planned.view): answer for planned, answer in zip(starting, made, strict=True)}
        engines = tuple(_after(planned, told.get(_name(planned.view)), now) for planned in decided.engines)
        return replace(decided, engines=engines), {name: one for name, one in told.items() if isinstance(one, Grant)}

    async def _grant(self, store: EngineStore, planned: EnginePlan, now: datetime) -> Grant | BuildResult | str:
        view, attempt = planned.view, f"{now:%Y%m%dT%H%M%SZ}-{planned.status.attempts}"
        if why := self._silence():
            return why
        try:
            # What was found damaged once goes through a build each time, which looks at every byte.
            if view.status.damage is None and (found := await store.standing(view.namespace, view.spec.key)):
                return found
            asked = Attempt(view.namespace, view.spec.key, attempt)
            return await store.grant(asked, seconds=self.grant_seconds, timings_of=planned.timings_of)
        except StoreError as error:
            return self._heard(error)

    async def _confirmed(self, store: EngineStore, told: _Report) -> EngineView:
        view, job = told.view, told.job
        if why := self._silence():
            return replace(view, held=why)
        attempt = Attempt(view.namespace, view.spec.key, job.attempt or "", job.replaces)
        try:
            artifact = await store.confirm(attempt, told.artifact)
        except FalseReportError as error:
            return replace(view, job=replace(job, result=_lied(error)))
        except StoreError as error:
            return replace(view, held=self._heard(error))
        return replace(view, job=replace(job, result=told.result.model_copy(update={"artifact": artifact})))

    def _silence(self) -> str:
        until, why = self._away
        return why if time.monotonic() < until else ""

    def _heard(self, error: StoreError) -> str:
        log.warning("the store refused", extra={"error": str(error)})
        self._away = (time.monotonic() + SILENCE_S, str(error))
        return str(error)


def _after(planned: EnginePlan, answer: Grant | BuildResult | str | None, now: datetime) -> EnginePlan:
    """Return the step of an engine after the store's answer."""
    if isinstance(answer, str):
        return held_by_store(planned.view, answer, now)
    return found_in_store(planned.view, answer) if isinstance(answer, BuildResult) else planned


def _all_held(decided: Plan, why: str, now: datetime) -> Plan:
    held = (held_by_store(p.view, why, now, Reason.STORE_FULL) if p.start else p for p in decided.engines)
    return replace(decided, engines=tuple(held))


def _reporting(view: EngineView | None) -> _Report | None:
    """Return what a build says that it published, as long as nobody has confirmed it."""
    if view is None or view.status.artifact is not None or view.job is None or view.job.result is None:
        return None
    result = view.job.result
    return _Report(view, view.job, result, result.artifact) if result.artifact is not None else None


def _lied(error: FalseReportError) -> BuildResult:
    failure = Failure(message=f"the store holds something else than the build reports: {error}"[:1024])
    return BuildResult(outcome="Failed", failure=failure.model_copy(update={"remedy": "it is tried again"}))


def _name(view: EngineView) -> Name:
    return view.namespace, view.name

"""The life of an engine: start a build, follow it, record what came of it, back off; one pure step at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from yolofleet.api.build import BuildResult, Failure
from yolofleet.api.conditions import Reason
from yolofleet.api.curve import Curve, point_of
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.builds import mending
from yolofleet.planning.builds.backoff import backoff_s
from yolofleet.planning.builds.slices import Given, NotYet
from yolofleet.planning.snapshot import EngineView, JobView, Policy

QUEUE_RECHECK_S = 15
LAST_WORDS_S = 10
"""Jobs and pods are watched apart: so long a Job's end waits for what its pod says of it."""
SLICE_WAIT_S = 300
"""A build whose slice somebody else was faster to take gives back what was lent to it, and asks anew."""
WAITING = "waiting: "
LASTING = ("damage", "curve", "curves", "work")
"""What another build of the same key does not make untrue."""
TRY_AGAIN = "delete the YoloEngine to have it built anew"


@dataclass(frozen=True)
class EnginePlan:
    """What is to be done for one engine: start its Job or remove it, its next status, when to look again.

    `ready` is the status, reason and message of its condition Ready, `slice` what a build that starts is made on.
    """

    view: EngineView
    status: YoloEngineStatus
    ready: bool
    reason: Reason
    message: str
    start: bool = False
    remove_job: bool = False
    due: datetime | None = None
    slice: Given | None = None
    timings_of: str | None = None
    """The key of the engine whose timing cache a build that starts begins with."""


def step(view: EngineView, *, policy: Policy, now: datetime, free_builds: int) -> EnginePlan:
    """Return the next step for one engine; `free_builds` is how many more builds may run."""
    if view.status.artifact is not None:
        return _in_store(view, policy=policy, now=now)
    job = view.job
    if not view.held and job is not None and job.result is not None and job.result.artifact is not None:
        return found_in_store(view, job.result)
    if job is None or job.terminating or job.spent or view.held:
        held = held_by_store(view, view.held, now) if view.held else None
        return held or _without_job(view, policy=policy, now=now, free_builds=free_builds)
    if (job.failed or job.succeeded) and (due := _last_words_due(job)) is not None and now < due:
        return replace(_running(view, job, step_percent=policy.progress_step_percent), due=due)
    if job.failed or job.succeeded or job.result is not None:
        return _failed(view, job, policy=policy, now=now)
    running, due = _running(view, job, step_percent=policy.progress_step_percent), _slice_due(job)
    return _given_up(view, job) if due is not None and now >= due else replace(running, due=due)


def on_slice(planned: EnginePlan, given: Given | NotYet, now: datetime) -> EnginePlan:
    """Return the plan of a build that is to start with its slice, or why it waits for one."""
    if isinstance(given, Given):
        return replace(planned, slice=given, message=f"build started on {given.why}")
    due = now + timedelta(seconds=QUEUE_RECHECK_S)
    return _held(planned.view, Reason.WAITING_FOR_BUILD_SLICE, given.why, due=due)


def _slice_due(job: JobView) -> datetime | None:
    """Return until when a build may wait for the slice that it was promised."""
    if job.slice is None or not job.unplaced or job.started is None:
        return None
    return job.started + timedelta(seconds=SLICE_WAIT_S)


def _given_up(view: EngineView, job: JobView) -> EnginePlan:
    told = f"the slice that it was promised went to somebody else ({job.waiting}); it asks for one anew"
    status = view.status.model_copy(update={"stage": None, "progress_percent": 0, "message": ""})
    plan = _held(replace(view, status=status), Reason.WAITING_FOR_BUILD_SLICE, told)
    return replace(plan, view=view, remove_job=True)


def _last_words_due(job: JobView) -> datetime | None:
    return job.ended + timedelta(seconds=LAST_WORDS_S) if job.ended and not job.spoke else None


def _in_store(view: EngineView, *, policy: Policy, now: datetime) -> EnginePlan:
    """Leave what is published as it is, unless a pod found it damaged: that is written down before its Job goes."""
    if (report := mending.news(view)) is None:
        return EnginePlan(view, view.status, ready=True, reason=Reason.PUBLISHED, message="in the store, verified")
    status = mending.marked(view, report, now)
    due = mending.repair_due(status, first_s=policy.backoff_s)
    told, doomed = mending.sentence(status, due), view.job is not None
    return EnginePlan(view, status, ready=False, reason=Reason.ENGINE_DAMAGED, message=told, remove_job=doomed, due=due)


def _without_job(view: EngineView, *, policy: Policy, now: datetime, free_builds: int) -> EnginePlan:
    status = view.status
    if (paused := _paused(view, policy=policy, now=now)) is not None:
        return paused
    if view.refused:
        remedy = "raise the quota of the namespace, or free what it counts"
        return _held(view, Reason.BUILD_QUOTA_EXCEEDED, f"{view.refused}; {remedy}")
    if (job := view.job) is not None:
        held = _held(view, Reason.QUEUED, "waits for its former Job to be gone")
        return replace(held, remove_job=job.spent and not job.terminating)
    if free_builds <= 0:
        told = "waits for another build to end: builds.maxConcurrent of the MigPool is reached"
        return _held(view, Reason.QUEUED, told, due=now + timedelta(seconds=QUEUE_RECHECK_S))
    anew = YoloEngineStatus(stage="Fetch", progress_percent=0, attempts=status.attempts + 1)
    started = anew.model_copy(update={name: getattr(status, name) for name in LASTING})
    return EnginePlan(view, started, ready=False, reason=Reason.BUILDING, message="build started", start=True)


def _paused(view: EngineView, *, policy: Policy, now: datetime) -> EnginePlan | None:
    """Return what a build waits for that time or people must change: a refusal, its backoff, the pause of a repair."""
    status = view.status
    if status.failure is not None and status.next_attempt_time is None:
        return _held(view, Reason.BUILD_REFUSED, f"{status.failure.sentence()}; or {TRY_AGAIN}")
    if status.failure is not None and status.next_attempt_time is not None:
        due = datetime.fromisoformat(status.next_attempt_time)
        told = f"{status.failure.sentence()}; attempt {status.attempts + 1} at {status.next_attempt_time}"
        return _held(view, Reason.BACKING_OFF, told, due=due) if now < due else None
    mend_at = mending.repair_due(status, first_s=policy.backoff_s)
    if mend_at is not None and now < mend_at:
        return _held(view, Reason.ENGINE_DAMAGED, mending.sentence(status, mend_at), due=mend_at)
    return None


def _held(view: EngineView, reason: Reason, message: str, *, due: datetime | None = None) -> EnginePlan:
    return EnginePlan(view, view.status, ready=False, reason=reason, message=message, due=due)


def held_by_store(view: EngineView, why: str, now: datetime, reason: Reason = Reason.STORE_UNAVAILABLE) -> EnginePlan:
    """Return the step of an engine for which the store must be asked first, and does not answer or has no room."""
    return _held(view, reason, why, due=now + timedelta(seconds=QUEUE_RECHECK_S))


def found_in_store(view: EngineView, result: BuildResult) -> EnginePlan:
    """Return the step of an engine that lies in the store: it was just built, or is there from former days."""
    status = view.status.model_copy(
        update={
            "stage": "Publish",
            "progress_percent": 100,
            "message": "cached" if result.outcome == "Cached" else "",
            "artifact": result.artifact,
            "weights_sha256": result.weights_sha256,
            "gate": result.gate,
            "work": result.work,
            "curve": view.status.curve or _measured(view, result),
            "failure": None,
            "next_attempt_time": None,
        }
    )
    return EnginePlan(view, status, ready=True, reason=Reason.PUBLISHED, message="in the store, verified")


def _measured(view: EngineView, result: BuildResult) -> Curve | None:
    """Return the curve that the build measured on its slice; None of a build that had none, or was not measured."""
    on, target = view.job.slice if view.job else None, view.spec.target
    if not result.rows or on is None or target is None or not on.product:
        return None
    try:
        points = [point_of(row) for row in result.rows]
    except ValueError:
        return None  # another version's words
    return Curve(source="Measured", product=on.product, profile=on.profile, sm_count=target.sm_count, points=points)


def _failed(view: EngineView, job: JobView, *, policy: Policy, now: datetime) -> EnginePlan:
    failure = _why(job)
    attempts = max(1, view.status.attempts)
    if job.result is not None and job.result.outcome == "Refused":
        status = view.status.model_copy(update={"failure": failure, "next_attempt_time": None, "attempts": attempts})
        return EnginePlan(view, status, ready=False, reason=Reason.BUILD_REFUSED, message=failure.sentence())
    known = view.status.next_attempt_time if view.status.failure is not None else None
    due = (
        datetime.fromisoformat(known)
        if known is not None
        else now + timedelta(seconds=backoff_s(attempts, first_s=policy.backoff_s))
    )
    told = due.isoformat(timespec="seconds")
    status = view.status.model_copy(update={"failure": failure, "next_attempt_time": told, "attempts": attempts})
    message = f"{failure.sentence()}; attempt {attempts + 1} at {told}"
    return EnginePlan(view, status, ready=False, reason=Reason.BACKING_OFF, message=message, remove_job=True, due=due)


def _why(job: JobView) -> Failure:
    if job.result is not None and job.result.failure is not None:
        return job.result.failure
    if job.succeeded and not job.message:
        return Failure(message="the build ended well but left no result", remedy="it is tried again")
    return Failure(message=job.message or "the build's pod was lost", remedy="it is tried again")


def _running(view: EngineView, job: JobView, *, step_percent: int) -> EnginePlan:
    status = view.status if view.status.stage else view.status.model_copy(update={"stage": "Fetch"})
    status = status.model_copy(update={"attempts": max(1, status.attempts), "failure": None, "next_attempt_time": None})
    seen = view.progress
    if seen is not None and (seen.stage != status.stage or abs(seen.percent - status.progress_percent) >= step_percent):
        update = {"stage": seen.stage, "progress_percent": seen.percent, "message": seen.message}
        status = status.model_copy(update=update)
    elif job.waiting:
        status = status.model_copy(update={"message": f"{WAITING}{job.waiting}"[:256]})
    elif status.message.startswith(WAITING):
        status = status.model_copy(update={"message": ""})
    told = f"{status.stage} {status.progress_percent} % {status.message}".rstrip()
    return EnginePlan(view, status, ready=False, reason=Reason.BUILDING, message=told)

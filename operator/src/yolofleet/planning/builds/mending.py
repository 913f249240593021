"""An engine that is damaged or lost in its store: whose word counts, and when it is built anew."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from yolofleet.api.yoloengine import Damage, YoloEngineStatus
from yolofleet.planning.builds.backoff import backoff_s
from yolofleet.planning.snapshot import DamageReport, DeploymentView, EngineView

WELL_S = 86_400
"""After so long without damage the next repair is the first one again."""


def reports(deployments: Iterable[DeploymentView]) -> Mapping[tuple[str, str], DamageReport]:
    """Return the newest word on each engine that a serving pod could not take whole from the store."""
    newest: dict[tuple[str, str], DamageReport] = {}
    for view in deployments:
        for pod in view.pods:
            at = (view.namespace, pod.engine)
            if pod.damage is not None and (at not in newest or newest[at].began < pod.damage.began):
                newest[at] = pod.damage
    return newest


def news(view: EngineView) -> DamageReport | None:
    """Return a report on what is published now; one that was begun before it was published speaks of what lay there."""
    if view.artifact is None or view.damage is None:
        return None
    ready = next((c for c in view.status.conditions if c.type == "Ready" and c.status == "True"), None)
    if ready is not None and view.damage.began <= datetime.fromisoformat(ready.last_transition_time):
        return None
    return view.damage


def marked(view: EngineView, report: DamageReport, now: datetime) -> YoloEngineStatus:
    """Return the status of an engine that its store has lost; what was learnt of the engine stays."""
    before = view.status.damage
    again = before is not None and (now - datetime.fromisoformat(before.time)).total_seconds() < WELL_S
    damage = Damage(
        message=f"found by pod {report.pod}: {report.message}"[:1024],
        time=now.isoformat(timespec="seconds"),
        repairs=before.repairs + 1 if before is not None and again else 1,
        job=view.job.uid if view.job is not None else None,
    )
    return _unpublished(view.status).model_copy(update={"damage": damage})


def repair_due(status: YoloEngineStatus, *, first_s: int) -> datetime | None:
    """Return when a damaged engine may be built anew: the first time at once, then after a pause that doubles."""
    if status.damage is None or status.damage.repairs <= 1:
        return None
    pause_s = backoff_s(status.damage.repairs - 1, first_s=first_s)
    return datetime.fromisoformat(status.damage.time) + timedelta(seconds=pause_s)


def sentence(status: YoloEngineStatus, due: datetime | None) -> str:
    """Return what the condition says of a damaged engine."""
    told = status.damage.message if status.damage else ""
    return f"{told}; it is built anew" + (f" at {due.isoformat(timespec='seconds')}" if due else "")


def as_stored(view: EngineView, store: str) -> EngineView:
    """Return an engine without what is not in the store: it lies in another one, or its Job made what is damaged."""
    status, job = view.status, view.job
    if status.artifact is not None and not status.artifact.uri.startswith(store):
        status = _unpublished(status)
    told = job.result.artifact if job is not None and job.result is not None else None
    elsewhere = told is not None and not told.uri.startswith(store)
    if job is not None and (elsewhere or (status.damage is not None and status.damage.job == job.uid)):
        job = replace(job, result=None, spent=True)
    return replace(view, status=status, job=job)


def _unpublished(status: YoloEngineStatus) -> YoloEngineStatus:
    return status.model_copy(update={"artifact": None, "stage": None, "progress_percent": 0, "message": ""})

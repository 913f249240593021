"""From raw objects to frozen views; pure, and forgiving of what other controllers leave out."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, TypeVar

from pydantic import ValidationError

from yolofleet.api.base import ApiModel
from yolofleet.api.build import BuildResult, BuildSlice, Failure, Progress, ServeFailure
from yolofleet.api.conditions import Condition
from yolofleet.api.migpool import MigPoolSpec, MigPoolStatus
from yolofleet.api.rollout import ROLLOUT_ANNOTATION
from yolofleet.api.serving import amount
from yolofleet.api.yolodeployment import YoloDeploymentSpec, YoloDeploymentStatus
from yolofleet.api.yoloengine import YoloEngineSpec, YoloEngineStatus
from yolofleet.planning.slices.profiles import known
from yolofleet.planning.snapshot import (
    DamageReport,
    DeploymentView,
    EngineView,
    GroupView,
    JobView,
    NodeView,
    Owner,
    PodView,
    PoolView,
    Refusal,
)
from yolofleet.render.meta import (
    ATTEMPT_ANNOTATION,
    CANARY,
    ENGINE_KEY_ANNOTATION,
    ENGINE_LABEL,
    IMAGE_ANNOTATION,
    INSTANCES_ANNOTATION,
    OVERFLOW_ANNOTATION,
    PROFILE_ANNOTATION,
    PROFILE_LABEL,
    REPLACES_ANNOTATION,
    SLICE_ANNOTATION,
    SURGE_ANNOTATION,
    TEMPLATE_ANNOTATION,
    TRACK_LABEL,
)

Object = dict[str, Any]
S = TypeVar("S", bound=ApiModel)
_DEVICE = re.compile(r"^nvidia\.com/(gpu|mig-.+)$")
ENDED = ("Succeeded", "Failed")
"""Phases that a pod never leaves: a node that lost its power fails those pods that it cannot start again."""


def node(obj: Object) -> NodeView:
    """Read a Node."""
    status = obj.get("status") or {}
    conditions = {c["type"]: c["status"] for c in status.get("conditions") or []}
    return NodeView(
        name=obj["metadata"]["name"],
        ready=conditions.get("Ready") == "True",
        schedulable=not obj.get("spec", {}).get("unschedulable", False),
        labels=obj["metadata"].get("labels") or {},
        devices=devices(status.get("allocatable") or {}),
    )


def devices(resources: Mapping[str, Any]) -> dict[str, int]:
    """Return the GPU devices among resources; Kubernetes writes a thousand of them as `1k`."""
    return {name: count for name, told in resources.items() if _DEVICE.match(name) and (count := int(amount(told)))}


def pool(obj: Object) -> PoolView:
    """Read a MigPool."""
    meta = obj["metadata"]
    return PoolView(
        name=meta["name"],
        generation=meta.get("generation", 0),
        created=meta.get("creationTimestamp", ""),
        spec=MigPoolSpec.model_validate(obj.get("spec") or {}),
        conditions=_status(MigPoolStatus, obj).conditions,
    )


def deployment(
    obj: Object,
    *,
    groups: tuple[GroupView, ...],
    pods: tuple[PodView, ...],
    refusals: tuple[Refusal, ...],
    autoscalers: tuple[str, ...] = (),
    canary: GroupView | None = None,
) -> DeploymentView:
    """Read a YoloDeployment with what belongs to it; pydantic's ValidationError when its spec is unreadable."""
    meta = obj["metadata"]
    return DeploymentView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        spec=YoloDeploymentSpec.model_validate(obj["spec"]),
        status=_status(YoloDeploymentStatus, obj),
        groups=groups,
        pods=pods,
        refusals=refusals,
        canary=canary,
        autoscalers=autoscalers,
        rollout_request=(meta.get("annotations") or {}).get(ROLLOUT_ANNOTATION, ""),
    )


def _status(kind: type[S], obj: Object) -> S:
    """Read a status, without the fields that another version wrote and this one cannot read."""
    told: Object = obj.get("status") or {}
    try:
        return kind.model_validate(told)
    except ValidationError as error:
        foreign = {e["loc"][0] for e in error.errors() if e["loc"]}
        return kind.model_validate({key: value for key, value in told.items() if key not in foreign})


def conditions(obj: Object) -> list[Condition]:
    """Read the conditions of any object of ours; none when they cannot be read."""
    told = (obj.get("status") or {}).get("conditions") or []
    return _status(MigPoolStatus, {"status": {"conditions": told}}).conditions


def owned_by(obj: Object, uid: str) -> bool:
    """Tell whether an object names this owner."""
    return any(owner.get("uid") == uid for owner in obj["metadata"].get("ownerReferences") or [])


def serves(obj: Object, uid: str) -> bool:
    """Tell whether a Deployment is one that we made for this owner; anybody may copy labels."""
    meta = obj["metadata"]
    profile = (meta.get("annotations") or {}).get(PROFILE_ANNOTATION, "")
    return "deletionTimestamp" not in meta and owned_by(obj, uid) and known(profile)


def group(obj: Object) -> GroupView:
    """Read a Deployment of ours."""
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    annotations = meta.get("annotations") or {}
    failures = [c for c in status.get("conditions") or [] if c["type"] == "ReplicaFailure" and c["status"] == "True"]
    return GroupView(
        name=meta["name"],
        uid=meta["uid"],
        profile=annotations.get(PROFILE_ANNOTATION, ""),
        engine=meta.get("labels", {}).get(ENGINE_LABEL, ""),
        engine_key=annotations.get(ENGINE_KEY_ANNOTATION, ""),
        template_hash=annotations.get(TEMPLATE_ANNOTATION, ""),
        replicas=spec["replicas"],
        ready_replicas=status.get("readyReplicas", 0),
        updated_replicas=status.get("updatedReplicas", 0),
        total_replicas=status.get("replicas", 0),
        settled=status.get("observedGeneration", 0) >= meta.get("generation", 0),
        surge=annotations.get(SURGE_ANNOTATION) == "true",
        refused=failures[0].get("message", "") if failures else "",
        image=annotations.get(IMAGE_ANNOTATION, ""),
        overflow=annotations.get(OVERFLOW_ANNOTATION) == "true",
    )


def is_canary(obj: Object) -> bool:
    """Tell whether a Deployment or a pod of ours proves a new revision."""
    return (obj["metadata"].get("labels") or {}).get(TRACK_LABEL) == CANARY


def pod(obj: Object) -> PodView:
    """Read a serving pod; one that has ended is on its way out, as nobody starts it again."""
    meta, status = obj["metadata"], obj.get("status") or {}
    conditions = {c["type"]: c for c in status.get("conditions") or []}
    scheduled = conditions.get("PodScheduled", {})
    unplaced = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    return PodView(
        name=meta["name"],
        profile=meta.get("labels", {}).get(PROFILE_LABEL, ""),
        engine=meta.get("labels", {}).get(ENGINE_LABEL, ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        terminating="deletionTimestamp" in meta or status.get("phase") in ENDED,
        unschedulable=scheduled.get("message", "") if unplaced else "",
        init_failure=_init_failure(status),
        damage=_damage(meta["name"], status),
        crash=_crash(status),
        uid=meta.get("uid", ""),
        ip=status.get("podIP") or "",
        start_s=_start_s(meta, status, conditions.get("Ready", {})),
        unborn=conditions.get("Ready", {}).get("status") != "True" and not _started(status),
        canary=is_canary(obj),
        instances=_instances(meta),
        bound=bool((obj.get("spec") or {}).get("nodeName")) and status.get("phase") not in ENDED,
    )


def _instances(meta: Object) -> int:
    """Return how many instances of a model its Triton runs; a word that is no number is somebody else's."""
    told = (meta.get("annotations") or {}).get(INSTANCES_ANNOTATION, "1")
    return max(1, int(told)) if told.isdecimal() and len(told) <= 2 else 1  # noqa: PLR2004 - the API knows 64


def _started(status: Object) -> bool:
    """Tell whether Triton ever passed its startup probe, as far as anybody knows."""
    told = status.get("containerStatuses") or []
    return any(container.get("started") or container.get("restartCount") for container in told)


def _start_s(meta: Object, status: Object, ready: Object) -> float | None:
    """Return what a pod took until it served; None of one whose container was started again, which hides the first."""
    again = any(container.get("restartCount") for container in status.get("containerStatuses") or [])
    if again or ready.get("status") != "True":
        return None
    try:
        made, served = (datetime.fromisoformat(at) for at in (meta["creationTimestamp"], ready["lastTransitionTime"]))
        return (served - made).total_seconds()
    except (KeyError, TypeError, ValueError):
        return None


def _last_end(container: Object) -> Object:
    for state in (container.get("state") or {}, container.get("lastState") or {}):
        if (ended := state.get("terminated")) and ended.get("exitCode", 0) != 0:
            return dict(ended)
    return {}


def _init_failure(status: Object) -> Failure | None:
    ended = _init_end(status)
    return (_failure(ended.get("message", "")) or Failure(message=_told(ended)[:1024])) if ended else None


def _damage(name: str, status: Object) -> DamageReport | None:
    """Return what the init container found damaged; no word counts of one of which nobody knows when it looked."""
    ended = _init_end(status)
    failure, began = _failure(ended.get("message", "")), _moment(ended.get("startedAt"))
    if failure is None or not failure.damaged or began is None:
        return None
    return DamageReport(name, began, failure.message)


def _init_end(status: Object) -> Object:
    """Return how an init container ended badly, {} where none did."""
    for container in status.get("initContainerStatuses") or []:
        ended = _last_end(container)
        if ended and not container.get("ready"):
            return ended
    return {}


def _crash(status: Object) -> str:
    for container in status.get("containerStatuses") or []:
        if (ended := _last_end(container)) and not container.get("ready"):
            return f"{container['name']}: {_told(ended)}"[:1024]
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerError"):
            return f"{container['name']}: {waiting['reason']}: {waiting.get('message', '')}"[:1024]
    return ""


def _told(ended: Object) -> str:
    lines = [line for line in ended.get("message", "").splitlines() if line.strip()]
    return f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode')}: {' | '.join(lines[-3:])}".strip(": ")


def _failure(message: str) -> ServeFailure | None:
    try:
        return ServeFailure.model_validate_json(message)
    except ValidationError:
        return None


def engine(obj: Object, *, job: JobView | None, progress: Progress | None, refused: str) -> EngineView:
    """Read a YoloEngine with its Job."""
    meta = obj["metadata"]
    owners = [o for o in meta.get("ownerReferences") or [] if o.get("kind") == "YoloDeployment"]
    return EngineView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        spec=YoloEngineSpec.model_validate(obj["spec"]),
        status=_status(YoloEngineStatus, obj),
        owners=tuple(Owner(o["name"], o["uid"]) for o in owners),
        job=job,
        progress=progress,
        refused=refused,
    )


def job(obj: Object, pods: list[Object], *, engine_uid: str) -> JobView:
    """Read a build Job and those pods that are its own; the newest speaks.

    The Job of a former engine by the same name is on its way out, and its result is not this engine's.
    """
    meta, status = obj["metadata"], obj.get("status") or {}
    ended = {c["type"]: c for c in status.get("conditions") or [] if c["status"] == "True"}
    end = ended.get("Complete") or ended.get("Failed") or {}
    failed = ended.get("Failed", {})
    own = (pod for pod in pods if owned_by(pod, meta["uid"]))
    newest = max(own, key=lambda p: p["metadata"].get("creationTimestamp", ""), default=None)
    seen = (newest.get("status") or {}) if newest else {}
    former = not owned_by(obj, engine_uid)
    return JobView(
        uid=meta["uid"],
        active=not end,
        succeeded="Complete" in ended,
        failed=bool(failed),
        message=_job_message(failed, seen),
        pod_ip=seen.get("podIP") if any(map(_runs, _containers(seen))) else None,
        waiting=_waiting(seen),
        result=None if former else _result(seen),
        spoke=_last_end_of(seen) is not None,
        started=_moment(status.get("startTime")),
        ended=_moment(end.get("lastTransitionTime")),
        terminating=former or "deletionTimestamp" in meta,
        attempt=(meta.get("annotations") or {}).get(ATTEMPT_ANNOTATION),
        replaces=(meta.get("annotations") or {}).get(REPLACES_ANNOTATION),
        slice=_slice(meta),
        unplaced=not end and not ((newest or {}).get("spec") or {}).get("nodeName"),
    )


def _slice(meta: Object) -> BuildSlice | None:
    try:
        return BuildSlice.model_validate_json((meta.get("annotations") or {}).get(SLICE_ANNOTATION, ""))
    except ValidationError:
        return None


def _moment(told: str | None) -> datetime | None:
    return datetime.fromisoformat(told) if told else None


def _containers(status: Object) -> list[Object]:
    """Return the containers of a build's pod in the order in which they run."""
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _runs(container: Object) -> bool:
    return "running" in (container.get("state") or {})


def _last_end_of(status: Object) -> tuple[str, Object, bool] | None:
    """Return the container whose end decides, its end, and whether that was the last one's: it alone may publish."""
    last = status.get("containerStatuses") or []
    for container in _containers(status):
        ended = (container.get("state") or {}).get("terminated")
        if ended and (container in last or ended.get("exitCode") != 0):
            return container.get("name", ""), ended, container in last
    return None


def _result(status: Object) -> BuildResult | None:
    """Return what a build says came of it; that it published is believed of the container that does, and can."""
    if (end := _last_end_of(status)) is None:
        return None
    _, ended, last = end
    try:
        told = BuildResult.model_validate_json(ended.get("message") or "")
    except ValidationError:
        return None
    well = last and ended.get("exitCode") == 0
    return told if (told.artifact is not None) == well and (told.failure is None) == well else None


def _job_message(failed: Object, status: Object) -> str:
    if (end := _last_end_of(status)) is not None:
        name, ended, _ = end
        return f"the build's container {name} ended: {ended.get('reason', '')}, exit code {ended.get('exitCode')}"
    return f"the build's Job failed: {failed.get('message', '')}" if failed else ""


def _waiting(status: Object) -> str:
    for condition in status.get("conditions") or []:
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"waits for a node: {condition.get('message', '')}"
    for container in _containers(status):
        if (state := (container.get("state") or {}).get("waiting")) and state.get("message"):
            return f"{state.get('reason', '')}: {state['message']}"
    return ""

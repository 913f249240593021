"""From raw objects to frozen views; pure, and forgiving of what other controllers leave out."""

from __future__ import annotations

import re
from typing import Any

from pydantic import ValidationError

from yolofleet.api.build import BuildResult, Failure, Progress
from yolofleet.api.migpool import MigPoolSpec, MigPoolStatus
from yolofleet.api.yolodeployment import YoloDeploymentSpec, YoloDeploymentStatus
from yolofleet.api.yoloengine import YoloEngineSpec, YoloEngineStatus
from yolofleet.planning.snapshot import (
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
    ENGINE_KEY_ANNOTATION,
    ENGINE_LABEL,
    PROFILE_ANNOTATION,
    PROFILE_LABEL,
    SURGE_ANNOTATION,
    TEMPLATE_ANNOTATION,
)

Object = dict[str, Any]
DEVICE_PREFIX = "nvidia.com/"
_DEVICE = re.compile(r"^nvidia\.com/(gpu|mig-.+)$")


def node(obj: Object) -> NodeView:
    """Read a Node."""
    status = obj.get("status", {})
    conditions = {c["type"]: c["status"] for c in status.get("conditions", [])}
    devices = {
        name: int(count) for name, count in status.get("allocatable", {}).items() if _DEVICE.match(name) and int(count)
    }
    return NodeView(
        name=obj["metadata"]["name"],
        ready=conditions.get("Ready") == "True",
        schedulable=not obj.get("spec", {}).get("unschedulable", False),
        labels=obj["metadata"].get("labels", {}),
        devices=devices,
    )


def pool(obj: Object) -> PoolView:
    """Read a MigPool."""
    meta = obj["metadata"]
    return PoolView(
        name=meta["name"],
        generation=meta.get("generation", 0),
        created=meta.get("creationTimestamp", ""),
        spec=MigPoolSpec.model_validate(obj.get("spec", {})),
        conditions=MigPoolStatus.model_validate(obj.get("status") or {}).conditions,
    )


def deployment(
    obj: Object, *, groups: tuple[GroupView, ...], pods: tuple[PodView, ...], refusals: tuple[Refusal, ...]
) -> DeploymentView:
    """Read a YoloDeployment with what belongs to it; pydantic's ValidationError when its spec is unreadable."""
    meta = obj["metadata"]
    return DeploymentView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        spec=YoloDeploymentSpec.model_validate(obj["spec"]),
        status=YoloDeploymentStatus.model_validate(obj.get("status") or {}),
        groups=groups,
        pods=pods,
        refusals=refusals,
    )


def group(obj: Object) -> GroupView:
    """Read a Deployment of ours."""
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status", {})
    annotations = meta.get("annotations", {})
    failures = [c for c in status.get("conditions", []) if c["type"] == "ReplicaFailure" and c["status"] == "True"]
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
    )


def pod(obj: Object) -> PodView:
    """Read a serving pod."""
    meta, status = obj["metadata"], obj.get("status", {})
    conditions = {c["type"]: c for c in status.get("conditions", [])}
    scheduled = conditions.get("PodScheduled", {})
    unplaced = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    return PodView(
        name=meta["name"],
        profile=meta.get("labels", {}).get(PROFILE_LABEL, ""),
        engine=meta.get("labels", {}).get(ENGINE_LABEL, ""),
        ready=conditions.get("Ready", {}).get("status") == "True",
        terminating="deletionTimestamp" in meta,
        unschedulable=scheduled.get("message", "") if unplaced else "",
        init_failure=_init_failure(status),
        crash=_crash(status),
    )


def _last_end(container: Object) -> Object:
    for state in (container.get("state", {}), container.get("lastState", {})):
        if (ended := state.get("terminated")) and ended.get("exitCode", 0) != 0:
            return dict(ended)
    return {}


def _init_failure(status: Object) -> Failure | None:
    for container in status.get("initContainerStatuses", []):
        ended = _last_end(container)
        if ended and not container.get("ready"):
            return _failure(ended.get("message", "")) or Failure(message=_told(ended)[:1024])
    return None


def _crash(status: Object) -> str:
    for container in status.get("containerStatuses", []):
        if (ended := _last_end(container)) and not container.get("ready"):
            return f"{container['name']}: {_told(ended)}"[:1024]
        waiting = container.get("state", {}).get("waiting", {})
        if waiting.get("reason") in ("ErrImagePull", "ImagePullBackOff", "InvalidImageName", "CreateContainerError"):
            return f"{container['name']}: {waiting['reason']}: {waiting.get('message', '')}"[:1024]
    return ""


def _told(ended: Object) -> str:
    lines = [line for line in ended.get("message", "").splitlines() if line.strip()]
    return f"{ended.get('reason', 'Error')}, exit code {ended.get('exitCode')}: {' | '.join(lines[-3:])}".strip(": ")


def _failure(message: str) -> Failure | None:
    try:
        return Failure.model_validate_json(message)
    except ValidationError:
        return None


def engine(obj: Object, *, job: JobView | None, progress: Progress | None, refused: str) -> EngineView:
    """Read a YoloEngine with its Job."""
    meta = obj["metadata"]
    owners = [o for o in meta.get("ownerReferences", []) if o.get("kind") == "YoloDeployment"]
    return EngineView(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        generation=meta.get("generation", 0),
        spec=YoloEngineSpec.model_validate(obj["spec"]),
        status=YoloEngineStatus.model_validate(obj.get("status") or {}),
        owners=tuple(Owner(o["name"], o["uid"]) for o in owners),
        job=job,
        progress=progress,
        refused=refused,
    )


def job(obj: Object, pods: list[Object]) -> JobView:
    """Read a build Job and its pods; the newest pod speaks."""
    meta, status = obj["metadata"], obj.get("status", {})
    ended = {c["type"]: c for c in status.get("conditions", []) if c["status"] == "True"}
    failed = ended.get("Failed", {})
    newest = max(pods, key=lambda p: p["metadata"].get("creationTimestamp", ""), default=None)
    seen = newest.get("status", {}) if newest else {}
    return JobView(
        uid=meta["uid"],
        active=not ended,
        succeeded="Complete" in ended,
        failed=bool(failed),
        message=_job_message(failed, seen),
        pod_ip=seen.get("podIP") if seen.get("phase") == "Running" else None,
        waiting=_waiting(seen),
        result=_result(seen),
    )


def _containers(status: Object) -> list[Object]:
    return list(status.get("containerStatuses", []))


def _result(status: Object) -> BuildResult | None:
    for container in _containers(status):
        if ended := container.get("state", {}).get("terminated"):
            try:
                return BuildResult.model_validate_json(ended.get("message", ""))
            except ValidationError:
                return None
    return None


def _job_message(failed: Object, status: Object) -> str:
    for container in _containers(status):
        if ended := container.get("state", {}).get("terminated"):
            return f"the build's container ended: {ended.get('reason', '')}, exit code {ended.get('exitCode')}"
    return f"the build's Job failed: {failed.get('message', '')}" if failed else ""


def _waiting(status: Object) -> str:
    for condition in status.get("conditions", []):
        if condition["type"] == "PodScheduled" and condition["status"] == "False":
            return f"waits for a node: {condition.get('message', '')}"
    for container in _containers(status):
        if (state := container.get("state", {}).get("waiting")) and state.get("message"):
            return f"{state.get('reason', '')}: {state['message']}"
    return ""

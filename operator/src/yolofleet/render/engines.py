"""The building side: YoloEngine, its Job, and the store's claim."""

from __future__ import annotations

import json

from yolofleet.api import API_VERSION
from yolofleet.api.build import BUILD_ENV, EXIT_REFUSED, PROGRESS_PORT, SOURCE_PATH, STORE_PATH, BuildRequest
from yolofleet.api.store import GRANT_ENV, Grant
from yolofleet.planning.plan import EngineOwners
from yolofleet.planning.snapshot import EngineView
from yolofleet.render.meta import (
    ATTEMPT_ANNOTATION,
    CONTAINER_SECURITY,
    ENGINE_LABEL,
    MANAGED_BY,
    MANAGER,
    POD_SECURITY,
    REPLACES_ANNOTATION,
    Object,
    hashed,
    owned_by_engine,
    shared_by,
)
from yolofleet.settings import Settings

FINISHED_TTL_S = 3600


def engine(planned: EngineOwners) -> Object:
    """Return the YoloEngine with its owners."""
    return hashed(
        {
            "apiVersion": API_VERSION,
            "kind": "YoloEngine",
            "metadata": {
                "name": planned.wish.name,
                "namespace": planned.namespace,
                "labels": {MANAGED_BY: MANAGER},
                "ownerReferences": shared_by(planned.owners),
            },
            "spec": planned.wish.spec.wire(),
        }
    )


def claim(namespace: str, settings: Settings) -> Object:
    """Return the store's claim of a namespace; it outlives deployments, as a cache should."""
    store = settings.store
    spec: Object = {"accessModes": [store.access_mode], "resources": {"requests": {"storage": store.size}}}
    if store.storage_class_name is not None:
        spec["storageClassName"] = store.storage_class_name
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": store.claim_name, "namespace": namespace, "labels": {MANAGED_BY: MANAGER}},
        "spec": spec,
    }


def job(view: EngineView, settings: Settings, grant: Grant | None = None) -> Object:
    """Return the build Job; its name is the key's, so that a second one cannot be (409)."""
    labels = {MANAGED_BY: MANAGER, ENGINE_LABEL: view.name, "app.kubernetes.io/name": "engine-build"}
    refused = {
        "action": "FailJob",
        "onExitCodes": {"containerName": "build", "operator": "In", "values": [EXIT_REFUSED]},
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": view.name,
            "namespace": view.namespace,
            "labels": labels,
            **_attempt(grant),
            "ownerReferences": owned_by_engine(view),
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": settings.builds.deadline_seconds,
            "ttlSecondsAfterFinished": FINISHED_TTL_S,
            "podFailurePolicy": {"rules": [refused]},
            "template": {"metadata": {"labels": labels}, "spec": _pod(view, settings, grant)},
        },
    }


def _attempt(grant: Grant | None) -> Object:
    if grant is None:
        return {}
    replaces = {REPLACES_ANNOTATION: grant.published.sha256} if grant.published else {}
    return {"annotations": {ATTEMPT_ANNOTATION: grant.attempt} | replaces}


def _pod(view: EngineView, settings: Settings, grant: Grant | None) -> Object:
    on_claim = grant is None
    spec: Object = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": 10,
        "securityContext": POD_SECURITY,
        "nodeSelector": settings.builds.node_selector,
        "containers": [_container(view, settings, grant)],
        "volumes": [*([_claim_volume(settings)] if on_claim else []), {"name": "tmp", "emptyDir": {}}],
    }
    if settings.images.pull_secrets:
        spec["imagePullSecrets"] = [{"name": name} for name in settings.images.pull_secrets]
    if (pvc := view.spec.source.pvc) is not None and not (on_claim and pvc.claim_name == settings.store.claim_name):
        volume = {"name": "source", "persistentVolumeClaim": {"claimName": pvc.claim_name}}
        spec["volumes"] = [*spec["volumes"], volume]
    return spec


def _claim_volume(settings: Settings) -> Object:
    return {"name": "store", "persistentVolumeClaim": {"claimName": settings.store.claim_name}}


def _container(view: EngineView, settings: Settings, grant: Grant | None) -> Object:
    request = BuildRequest(
        key=view.spec.key,
        name=view.name,
        source=view.spec.source,
        recipe=view.spec.recipe,
        target=view.spec.target,
        builder=view.spec.builder,
    )
    mounts: list[Object] = [
        *([{"name": "store", "mountPath": STORE_PATH}] if grant is None else []),
        {"name": "tmp", "mountPath": "/tmp"},  # noqa: S108 - an emptyDir of the pod
    ]
    if (pvc := view.spec.source.pvc) is not None:
        # A claim that is named twice in one pod is mounted once: read-only for one would be read-only for both.
        volume = "store" if grant is None and pvc.claim_name == settings.store.claim_name else "source"
        mounts.append({"name": volume, "mountPath": SOURCE_PATH, "readOnly": True})
    env = [{"name": BUILD_ENV, "value": json.dumps(request.wire(), sort_keys=True)}]
    if settings.builds.builtin_url:
        env.append({"name": "YOLOFLEET_BUILTIN_URL", "value": settings.builds.builtin_url})
    if grant is not None:
        env.append({"name": GRANT_ENV, "value": json.dumps(grant.wire(), sort_keys=True)})
    return {
        "name": "build",
        "image": settings.images.builder,
        "imagePullPolicy": settings.images.pull_policy,
        "command": ["python3", "-m", "model_repo_builder", "build"],
        "env": env,
        "ports": [{"name": "progress", "containerPort": PROGRESS_PORT, "protocol": "TCP"}],
        "resources": settings.builds.resources,
        "securityContext": CONTAINER_SECURITY,
        "terminationMessagePolicy": "File",
        "volumeMounts": mounts,
    }

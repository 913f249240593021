"""The building side: YoloEngine, its Job, and the store's claim."""

from __future__ import annotations

import json

from yolofleet.api import API_VERSION
from yolofleet.api.build import EXIT_REFUSED
from yolofleet.api.store import Grant
from yolofleet.planning.builds.building import EnginePlan
from yolofleet.planning.builds.slices import Given
from yolofleet.planning.plan import EngineOwners
from yolofleet.render.build_pod import build_pod
from yolofleet.render.meta import (
    ATTEMPT_ANNOTATION,
    ENGINE_LABEL,
    MANAGED_BY,
    MANAGER,
    REPLACES_ANNOTATION,
    SLICE_ANNOTATION,
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


def job(planned: EnginePlan, settings: Settings, grant: Grant | None = None) -> Object:
    """Return the build Job; its name is the key's, so that a second one cannot be (409)."""
    view = planned.view
    labels = {MANAGED_BY: MANAGER, ENGINE_LABEL: view.name, "app.kubernetes.io/name": "engine-build"}
    refused = {"action": "FailJob", "onExitCodes": {"operator": "In", "values": [EXIT_REFUSED]}}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": view.name,
            "namespace": view.namespace,
            "labels": labels,
            **_annotations(grant, planned.slice),
            "ownerReferences": owned_by_engine(view),
        },
        "spec": {
            "backoffLimit": 0,
            "activeDeadlineSeconds": settings.builds.deadline_seconds,
            "ttlSecondsAfterFinished": FINISHED_TTL_S,
            "podFailurePolicy": {"rules": [refused]},
            "template": {"metadata": {"labels": labels}, "spec": build_pod(planned, settings, grant)},
        },
    }


def _annotations(grant: Grant | None, given: Given | None) -> Object:
    told: dict[str, str] = {}
    if grant is not None:
        told |= {ATTEMPT_ANNOTATION: grant.attempt}
        told |= {REPLACES_ANNOTATION: grant.published.sha256} if grant.published else {}
    if given is not None:
        told |= {SLICE_ANNOTATION: json.dumps(given.taken.wire(), sort_keys=True)}
    return {"annotations": told} if told else {}

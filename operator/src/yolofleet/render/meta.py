"""Names, labels, owner references and content hashes that all manifests share."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime
from typing import Any

from yolofleet.api import API_VERSION, GROUP
from yolofleet.planning.slices.profiles import PRODUCT_LABEL, slug
from yolofleet.planning.snapshot import DeploymentView, EngineView, Owner

Object = dict[str, Any]

MANAGED_BY = "app.kubernetes.io/managed-by"
MANAGER = "yolofleet"
SELECTOR = f"{MANAGED_BY}={MANAGER}"
DEPLOYMENT_LABEL = f"{GROUP}/deployment"
PROFILE_LABEL = f"{GROUP}/profile"
ENGINE_LABEL = f"{GROUP}/engine"
TRACK_LABEL = f"{GROUP}/track"
"""On the Deployment and the pods of a canary alone."""
CANARY = "canary"
HASH_ANNOTATION = f"{GROUP}/hash"
TEMPLATE_ANNOTATION = f"{GROUP}/template-hash"
ENGINE_KEY_ANNOTATION = f"{GROUP}/engine-key"
IMAGE_ANNOTATION = f"{GROUP}/image"
PROFILE_ANNOTATION = f"{GROUP}/profile"
SURGE_ANNOTATION = f"{GROUP}/surge"
OVERFLOW_ANNOTATION = f"{GROUP}/overflow"
"""On a Deployment that is there because slices of another profile had run out."""
ATTEMPT_ANNOTATION = f"{GROUP}/attempt"
REPLACES_ANNOTATION = f"{GROUP}/replaces"
SLICE_ANNOTATION = f"{GROUP}/slice"
INSTANCES_ANNOTATION = f"{GROUP}/instances"
"""On pods whose Triton runs more than one instance of a model: how many are busy when it is."""

# Restricted pod security, and nothing that the images do not need: uid 1000 is Triton's user in NVIDIA's image too.
POD_SECURITY: Object = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "fsGroupChangePolicy": "OnRootMismatch",
    "seccompProfile": {"type": "RuntimeDefault"},
}
CONTAINER_SECURITY: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


def digest(document: object) -> str:
    """Return a short content hash of a JSON document."""
    return hashlib.sha256(json.dumps(document, sort_keys=True, separators=(",", ":")).encode()).hexdigest()[:16]


def hashed(document: Object) -> Object:
    """Return the manifest with its own content hash as an annotation: equal hash, nothing to write."""
    meta = document["metadata"]
    annotations = meta.get("annotations", {}) | {HASH_ANNOTATION: digest(document)}
    return document | {"metadata": meta | {"annotations": annotations}}


def stamp(moment: datetime) -> str:
    """Return a time as Kubernetes writes it, in UTC."""
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def on_products(labels: tuple[str, ...]) -> Object:
    """Return the affinity that keeps a pod on nodes whose GPUs bear one of these product labels."""
    expression = {"key": PRODUCT_LABEL, "operator": "In", "values": list(labels)}
    terms = {"nodeSelectorTerms": [{"matchExpressions": [expression]}]}
    return {"nodeAffinity": {"requiredDuringSchedulingIgnoredDuringExecution": terms}}


def group_name(deployment: str, profile: str, *, canary: bool = False) -> str:
    """Return the name of the Deployment that serves on a profile."""
    return f"{deployment}-{slug(profile)}" + (f"-{CANARY}" if canary else "")


def serving_labels(view: DeploymentView) -> dict[str, str]:
    """Return the labels that select all serving pods of a YoloDeployment."""
    return {MANAGED_BY: MANAGER, DEPLOYMENT_LABEL: view.name, "app.kubernetes.io/name": "triton"}


def owned_by_deployment(view: DeploymentView) -> list[Object]:
    """Return the owner reference by which Kubernetes deletes children, also while the operator is down."""
    return [_reference("YoloDeployment", view.name, view.uid, controller=True)]


def owned_by_engine(view: EngineView) -> list[Object]:
    """Return the owner reference of a build Job."""
    return [_reference("YoloEngine", view.name, view.uid, controller=True)]


def shared_by(owners: tuple[Owner, ...]) -> list[Object]:
    """Return the owner references of an engine: it goes when the last deployment that uses it goes."""
    return [_reference("YoloDeployment", owner.name, owner.uid, controller=False) for owner in owners]


def _reference(kind: str, name: str, uid: str, *, controller: bool) -> Object:
    reference: Object = {"apiVersion": API_VERSION, "kind": kind, "name": name, "uid": uid}
    return reference | ({"controller": True, "blockOwnerDeletion": True} if controller else {})

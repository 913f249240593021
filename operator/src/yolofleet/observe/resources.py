"""The kinds that the operator looks at, and which parts of them it keeps."""

from __future__ import annotations

from typing import Any

from yolofleet.api import API_VERSION, GROUP
from yolofleet.kube import Resource
from yolofleet.render.meta import SELECTOR

Object = dict[str, Any]

YOLODEPLOYMENT = Resource(API_VERSION, "YoloDeployment", "yolodeployments")
YOLOENGINE = Resource(API_VERSION, "YoloEngine", "yoloengines")
MIGPOOL = Resource(API_VERSION, "MigPool", "migpools", namespaced=False)
NODE = Resource("v1", "Node", "nodes", namespaced=False)
DEPLOYMENT = Resource("apps/v1", "Deployment", "deployments")
SERVICE = Resource("v1", "Service", "services")
BUDGET = Resource("policy/v1", "PodDisruptionBudget", "poddisruptionbudgets")
CLAIM = Resource("v1", "PersistentVolumeClaim", "persistentvolumeclaims")
JOB = Resource("batch/v1", "Job", "jobs")
POD = Resource("v1", "Pod", "pods")
AUTOSCALER = "HorizontalPodAutoscaler"
HPA = Resource("autoscaling/v2", AUTOSCALER, "horizontalpodautoscalers")

OWN = (YOLODEPLOYMENT, YOLOENGINE, MIGPOOL, NODE)
"""Kinds that kopf watches as they are."""
CHILDREN = (DEPLOYMENT, SERVICE, BUDGET, CLAIM, JOB, POD)
"""Kinds of which only our own, labelled objects matter; kopf would watch all of a cluster's."""
FOREIGN = (HPA,)
"""Kinds of other people, of which those matter that name one of ours."""
ONLY_METADATA = frozenset({"Service", "PodDisruptionBudget", "PersistentVolumeClaim"})


LAST_APPLIED = "kubectl.kubernetes.io/last-applied-configuration"
"""The whole object once more, by kubectl's client-side apply."""


def selector_of(resource: Resource) -> str:
    """Return the label selector by which a kind is listed and watched."""
    return SELECTOR if resource in CHILDREN else ""


def _target(obj: Object) -> Object:
    """Return what an autoscaler scales, {} when it is none of ours."""
    told = obj.get("spec", {}).get("scaleTargetRef") or {}
    ours = told.get("kind") == YOLODEPLOYMENT.kind and str(told.get("apiVersion", "")).split("/")[0] == GROUP
    return {"kind": YOLODEPLOYMENT.kind, "name": told.get("name", "")} if ours else {}


def _limits(containers: list[Object] | None) -> list[Object]:
    return [(container.get("resources") or {}).get("limits") or {} for container in containers or []]


def trimmed(obj: Object) -> Object:
    """Drop what nobody reads: thousands of objects stay in memory."""
    if obj.get("kind") == AUTOSCALER:
        meta = {key: obj["metadata"].get(key) for key in ("namespace", "name", "uid", "resourceVersion")}
        return {"kind": AUTOSCALER, "metadata": meta, "spec": {"scaleTargetRef": _target(obj)}}
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    if LAST_APPLIED in (meta.get("annotations") or {}):
        meta["annotations"] = {key: value for key, value in meta["annotations"].items() if key != LAST_APPLIED}
    kept = {"kind": obj.get("kind", ""), "metadata": meta}
    if obj.get("kind") == "Deployment":
        kept["spec"] = {"replicas": obj["spec"].get("replicas", 1)}
    elif obj.get("kind") == "Pod":
        spec = obj["spec"]
        limits = {kind: _limits(spec.get(kind)) for kind in ("containers", "initContainers")}
        kept["spec"] = {"nodeName": spec.get("nodeName"), "limits": limits["containers"]}
        if any(limits["initContainers"]):
            kept["spec"]["initLimits"] = limits["initContainers"]
    elif obj.get("kind") == "Node":
        kept["spec"] = {"unschedulable": obj.get("spec", {}).get("unschedulable", False)}
        status = obj.get("status") or {}
        # Without its heartbeat: that alone would bring every deployment's turn every few seconds.
        ready = [
            {"type": "Ready", "status": c.get("status")} for c in status.get("conditions") or [] if c["type"] == "Ready"
        ]
        return kept | {"status": {"allocatable": status.get("allocatable") or {}, "conditions": ready}}
    elif "spec" in obj and obj.get("kind") != "Job":
        kept["spec"] = obj["spec"]
    if "status" in obj:
        kept["status"] = obj["status"]
    return kept

"""The kinds that the operator looks at, and which parts of them it keeps."""

from __future__ import annotations

from typing import Any

from yolofleet.api import API_VERSION
from yolofleet.kube import Resource

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

OWN = (YOLODEPLOYMENT, YOLOENGINE, MIGPOOL, NODE)
"""Kinds that kopf watches as they are."""
CHILDREN = (DEPLOYMENT, SERVICE, BUDGET, CLAIM, JOB, POD)
"""Kinds of which only our own, labelled objects matter; kopf would watch all of a cluster's."""
ONLY_METADATA = frozenset({"Service", "PodDisruptionBudget", "PersistentVolumeClaim"})


def trimmed(obj: Object) -> Object:
    """Drop what nobody reads: thousands of objects stay in memory."""
    meta = {key: value for key, value in obj["metadata"].items() if key != "managedFields"}
    kept = {"kind": obj.get("kind", ""), "metadata": meta}
    if obj.get("kind") == "Deployment":
        kept["spec"] = {"replicas": obj["spec"].get("replicas", 1)}
    elif obj.get("kind") == "Pod":
        spec = obj["spec"]
        resources = [(c.get("resources") or {}).get("limits") or {} for c in spec.get("containers") or []]
        kept["spec"] = {"nodeName": spec.get("nodeName"), "limits": resources}
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

"""Objects as an API server hands them out, with the fields that matter and the noise around them."""

from __future__ import annotations

import json
from typing import Any

from yolofleet.settings import Settings

Object = dict[str, Any]

SETTINGS = Settings.model_validate(
    {
        "images": {"triton": "triton:1", "builder": "builder:1", "operator": "operator:1"},
        "builds": {"version": "1", "backoffSeconds": 10},
    }
)
H100 = "NVIDIA-H100-80GB-HBM3"
ARTIFACT = {"uri": "file:///store/x", "sha256": "a" * 64, "sizeBytes": 10_000_000}
PUBLISHED = {"outcome": "Published", "artifact": ARTIFACT, "weightsSHA256": "b" * 64}
REFUSED = {
    "outcome": "Refused",
    "failure": {
        "field": "spec.model.http.sha256",
        "value": "c" * 64,
        "message": "the file has another digest",
        "remedy": "pin the digest of the file that is there",
    },
}
FAILED = {"outcome": "Failed", "failure": {"message": "the network is down", "remedy": "it is tried again"}}


def settings(**parts: Any) -> Settings:
    """Return the settings with whole parts replaced."""
    return Settings.model_validate(SETTINGS.model_dump(by_alias=True) | parts)


def yolodeployment(name: str = "gate", namespace: str = "cams", **spec: Any) -> Object:
    """Return a YoloDeployment that ONNX Runtime serves, whatever the nodes."""
    told: Object = {"model": {"builtin": "yolo26n-shapes"}, "engine": {"backend": "ONNXRuntime"}}
    return {
        "apiVersion": "yolofleet.dev/v1alpha1",
        "kind": "YoloDeployment",
        "metadata": {"name": name, "namespace": namespace, "managedFields": [{"manager": "kubectl"}]},
        "spec": told | spec,
    }


def node(name: str = "n1", *, devices: Object | None = None, ready: str = "True", **labels: str) -> Object:
    """Return a Node; label keys are given without `nvidia.com/`, dots as double underscores."""
    named = {f"nvidia.com/{key.replace('__', '.')}": value for key, value in labels.items()}
    allocatable = {"cpu": "16", "memory": "64Gi", "pods": "110"} | (
        {"nvidia.com/gpu": "2"} if devices is None else devices
    )
    return {
        "kind": "Node",
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name} | named},
        "spec": {"podCIDR": "10.0.0.0/24"},
        "status": {
            "allocatable": allocatable,
            "capacity": allocatable,
            "conditions": [
                {"type": "MemoryPressure", "status": "False"},
                {"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-01-01T00:00:00Z"},
            ],
            "images": [{"names": ["x"], "sizeBytes": 1}],
        },
    }


def migpool(name: str = "default", created: str = "2026-01-01T00:00:00Z", **spec: Any) -> Object:
    """Return a MigPool."""
    return {"kind": "MigPool", "metadata": {"name": name, "creationTimestamp": created}, "spec": spec}


def job_ended(how: str = "Complete", *, at: str = "2026-01-01T00:10:00Z", message: str = "") -> Object:
    """Return the status of a Job that ended."""
    first = {"Complete": "SuccessCriteriaMet", "Failed": "FailureTarget"}[how]
    return {
        "conditions": [
            {"type": kind, "status": "True", "lastTransitionTime": at, "message": message} for kind in (first, how)
        ]
    }


def build_pod(
    job: Object, *, result: Object | str | None = None, exit_code: int = 0, name: str = "", at: str = "publish"
) -> Object:
    """Return the pod of a build Job whose container `at` runs, or ended with a result in its termination message."""
    meta = job["metadata"]
    told = result if isinstance(result, str) else json.dumps(result)
    running: Object = {"running": {"startedAt": "2026-01-01T00:01:00Z"}}
    mine = running if result is None else ended(exit_code, told)
    over = at == "publish" or exit_code != 0
    phase = ("Running" if at == "publish" else "Pending") if result is None else "Failed" if exit_code else "Succeeded"
    names = ("fetch", "convert", "publish")
    states = [*[ended(0)] * names.index(at), mine, *[{"waiting": {"reason": "PodInitializing"}}] * 2][:3]
    statuses = [
        {"name": container, "ready": False, "restartCount": 0, "state": state, "lastState": {}}
        for container, state in zip(names, states, strict=True)
    ]
    return {
        "kind": "Pod",
        "metadata": {
            "name": name or f"{meta['name']}-x1",
            "namespace": meta["namespace"],
            "labels": dict(meta["labels"]),
            "ownerReferences": [{"kind": "Job", "name": meta["name"], "uid": meta["uid"], "controller": True}],
        },
        "spec": {
            "nodeName": "n1",
            "initContainers": [{"name": "fetch", "resources": {}}, {"name": "convert", "resources": {}}],
            "containers": [{"name": "publish", "resources": {}}],
        },
        "status": {
            "phase": phase if over or result is None else "Pending",
            "podIP": "10.0.0.7",
            "conditions": [{"type": "PodScheduled", "status": "True"}],
            "initContainerStatuses": statuses[:2],
            "containerStatuses": statuses[2:],
        },
    }


def ended(exit_code: int, message: str = "") -> Object:
    """Return the state of a container that ended."""
    reason = "Completed" if exit_code == 0 else "Error"
    return {"terminated": {"exitCode": exit_code, "reason": reason, "message": message}}


def serving_pod(deployment: Object, number: int = 1, *, ready: bool = True, device: str = "nvidia.com/gpu") -> Object:
    """Return a pod of a Deployment of ours."""
    template = deployment["spec"]["template"]
    state = {"running": {"startedAt": "2026-01-01T00:20:00Z"}}
    return {
        "kind": "Pod",
        "metadata": {
            "name": f"{deployment['metadata']['name']}-{number}",
            "namespace": deployment["metadata"]["namespace"],
            "labels": dict(template["metadata"]["labels"]),
        },
        "spec": {"nodeName": "n1", "containers": [{"name": "triton", "resources": {"limits": {device: "1"}}}]},
        "status": {
            "phase": "Running",
            "conditions": [
                {"type": "PodScheduled", "status": "True"},
                {"type": "Ready", "status": "True" if ready else "False"},
            ],
            "containerStatuses": [{"name": "triton", "ready": ready, "state": state, "lastState": {}}],
        },
    }


def rolled_out(deployment: Object) -> Object:
    """Return the status of a Deployment whose replicas all serve."""
    count = deployment["spec"]["replicas"]
    return {
        "observedGeneration": deployment["metadata"]["generation"],
        "replicas": count,
        "updatedReplicas": count,
        "readyReplicas": count,
        "availableReplicas": count,
        "conditions": [{"type": "Available", "status": "True"}],
    }

"""The objects that a kind cluster holds from the start: volumes, and what offers its GPUs to the kubelet."""

from __future__ import annotations

from typing import Any

from e2e.clusters.bare.addons import storage_class, volume_object
from e2e.clusters.kind.config import FAKE_GPUS_LABEL
from e2e.clusters.kind.place import GPUS_IN_NODE, VOLUMES_IN_NODE
from e2e.images.catalogue import image_name

VOLUMES = 40
FAKES_NAMESPACE = "yolofleet-fakes"
FAKE_PLUGIN = "mig-device-plugin"
RUNTIME_CLASS = "nvidia"
_DEVICE_PLUGINS = "/var/lib/kubelet/device-plugins"


def storage() -> list[dict[str, Any]]:
    """The bench's StorageClass and its volumes: kind's own class makes none that several pods may write."""
    return [storage_class(), *(volume_object(VOLUMES_IN_NODE / name) for name in volume_names())]


def volume_names() -> list[str]:
    return [f"pv-{index:02}" for index in range(VOLUMES)]


def runtime_class() -> dict[str, Any]:
    """What pods with a GPU name; the node's containerd has a runtime of that name."""
    return {
        "apiVersion": "node.k8s.io/v1",
        "kind": "RuntimeClass",
        "metadata": {"name": RUNTIME_CLASS},
        "handler": RUNTIME_CLASS,
    }


def fake_device_plugin() -> list[dict[str, Any]]:
    """The fake MIG device plugin on every worker, in a namespace that lets it mount the kubelet's folder."""
    labels = {"app.kubernetes.io/name": FAKE_PLUGIN}
    namespace = {
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": {"name": FAKES_NAMESPACE, "labels": {"pod-security.kubernetes.io/enforce": "privileged"}},
    }
    daemon_set = {
        "apiVersion": "apps/v1",
        "kind": "DaemonSet",
        "metadata": {"name": FAKE_PLUGIN, "namespace": FAKES_NAMESPACE, "labels": labels},
        "spec": {
            "selector": {"matchLabels": labels},
            "template": {"metadata": {"labels": labels}, "spec": _plugin_pod()},
        },
    }
    return [namespace, daemon_set]


def _plugin_pod() -> dict[str, Any]:
    """Root without capabilities: the kubelet's folder is root's, and nothing else is asked for."""
    state = "/gpus/gpus.json"
    container = {
        "name": "plugin",
        "image": image_name("device-plugin"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-m", "e2e.fakes.mig_device_plugin", state, "--sockets", _DEVICE_PLUGINS],
        "securityContext": {
            "runAsUser": 0,
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "volumeMounts": [
            {"name": "sockets", "mountPath": _DEVICE_PLUGINS},
            {"name": "gpus", "mountPath": "/gpus", "readOnly": True},
        ],
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "nodeSelector": {FAKE_GPUS_LABEL: "true"},
        "containers": [container],
        "volumes": [
            {"name": "sockets", "hostPath": {"path": _DEVICE_PLUGINS, "type": "Directory"}},
            {"name": "gpus", "hostPath": {"path": str(GPUS_IN_NODE), "type": "Directory"}},
        ],
    }

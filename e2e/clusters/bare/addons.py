"""What the cluster holds from the start: DNS, a default StorageClass, volumes of it, and DCGM's endpoints."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from e2e.clusters.bare.layout import API_ADDRESS, DNS_SERVICE_ADDRESS, NodePlace

STORAGE_CLASS = "yolofleet-bench"
DCGM_NAMESPACE, DCGM_SERVICE, DCGM_PORT = "gpu-operator", "nvidia-dcgm-exporter", 9400
_USER = 1000


def dns_objects() -> list[dict[str, Any]]:
    """The kube-dns Service, led by hand to CoreDNS on the first node, and what CoreDNS may read."""
    rules = [
        {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": ["list", "watch"]},
        {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": ["list", "watch"]},
    ]
    group = "rbac.authorization.k8s.io"
    meta = {"name": "kube-dns", "namespace": "kube-system"}
    ports = [{"name": "dns", "port": 53, "protocol": "UDP"}, {"name": "dns-tcp", "port": 53, "protocol": "TCP"}]
    return [
        {"apiVersion": f"{group}/v1", "kind": "ClusterRole", "metadata": {"name": "system:coredns"}, "rules": rules},
        {
            "apiVersion": f"{group}/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": "system:coredns"},
            "roleRef": {"apiGroup": group, "kind": "ClusterRole", "name": "system:coredns"},
            "subjects": [{"apiGroup": group, "kind": "User", "name": "coredns"}],
        },
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta,
            "spec": {"clusterIP": DNS_SERVICE_ADDRESS, "ports": ports},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": meta | {"labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "endpoints": [{"addresses": [API_ADDRESS], "conditions": {"ready": True}}],
            "ports": ports,
        },
    ]


def dcgm_objects(node: NodePlace) -> list[dict[str, Any]]:
    """The Service of dcgm-exporter as NVIDIA's GPU operator makes it, and this node's endpoint of it."""
    meta = {"name": DCGM_SERVICE, "namespace": DCGM_NAMESPACE}
    labels = {"app": DCGM_SERVICE}
    port = {"name": "gpu-metrics", "port": DCGM_PORT, "protocol": "TCP"}
    endpoint = {"addresses": [node.address], "conditions": {"ready": True}, "nodeName": node.name}
    service_label = {"kubernetes.io/service-name": DCGM_SERVICE}
    return [
        {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": DCGM_NAMESPACE}},
        {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": meta | {"labels": labels, "annotations": {"prometheus.io/scrape": "true"}},
            "spec": {"ports": [port]},
        },
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": meta | {"name": f"{DCGM_SERVICE}-{node.name}", "labels": labels | service_label},
            "addressType": "IPv4",
            "endpoints": [endpoint],
            "ports": [port],
        },
    ]


def storage_objects(volumes: Path, *, count: int) -> list[dict[str, Any]]:
    """A default StorageClass without a provisioner, and volumes that stand ready in it."""
    return [storage_class(), *(volume(volumes / f"pv-{index:02}") for index in range(count))]


def storage_class() -> dict[str, Any]:
    """The default StorageClass, whose volumes are made beforehand."""
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": STORAGE_CLASS, "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "Immediate",
    }


def volume(folder: Path) -> dict[str, Any]:
    """One `local` volume, writable by the user that the images run as; its folder is made here."""
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o777)
    os.chown(folder, _USER, _USER)
    return volume_object(folder)


def volume_object(folder: Path) -> dict[str, Any]:
    """A `local` volume on a folder that every node has."""
    anywhere = [{"matchExpressions": [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": folder.name},
        "spec": {
            "capacity": {"storage": "5Gi"},
            "accessModes": ["ReadWriteMany", "ReadWriteOnce", "ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "storageClassName": STORAGE_CLASS,
            "local": {"path": str(folder)},
            "nodeAffinity": {"required": {"nodeSelectorTerms": anywhere}},
        },
    }

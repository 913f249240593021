"""A HorizontalPodAutoscaler on a YoloDeployment, and the metrics API that it reads."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from e2e.clusters.bare.prerequisites import find_tool
from e2e.fleet import NO_RIGHTS, RESTRICTED, ROOT, SYSTEM, Fleet, Object
from e2e.images import image_name
from e2e.waiting import wait_for

SERVER = ROOT / "e2e/fakes/external_metrics/server.py"
API = "v1beta1.external.metrics.k8s.io"
PAGE = f"http://yolofleet-metrics.{SYSTEM}.svc.cluster.local:8080/metrics"
DEMAND = "yolofleet_demand_frames_per_second"
PORT = 6443


@contextmanager
def metrics_api(fleet: Fleet, page: str = PAGE) -> Iterator[None]:
    """Offer a Prometheus page, the operator's or another, as the cluster's external metrics while the block runs."""
    name, labelled = {"name": "metrics-api"}, {"labels": {"app": "metrics-api"}}
    files = {"server.py": SERVER.read_text(), "pair.pem": certificate()}
    service = {"selector": {"app": "metrics-api"}, "ports": [{"port": 443, "targetPort": PORT}]}
    fleet.apply(
        {"apiVersion": "v1", "kind": "Secret", "metadata": name, "stringData": files},
        {"apiVersion": "v1", "kind": "Pod", "metadata": name | labelled, "spec": server_pod(page)},
        {"apiVersion": "v1", "kind": "Service", "metadata": name, "spec": service},
        registration(fleet.namespace),
    )
    try:
        fleet.kubectl("wait", "apiservice", API, "--for=condition=Available", "--timeout=60s")
        yield
    finally:
        fleet.kubectl("delete", "apiservice", API)


def certificate() -> str:
    """Return a new key with a certificate of its own; the API server is told not to check it."""
    with TemporaryDirectory() as folder:
        key, signed = Path(folder) / "key", Path(folder) / "certificate"
        made = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-subj", "/CN=metrics"]
        command = [find_tool("openssl"), "req", "-x509", *made, "-keyout", str(key), "-out", str(signed)]
        subprocess.run(command, check=True, capture_output=True)
        return key.read_text() + signed.read_text()


def server_pod(page: str) -> Object:
    """Return the spec of the metrics API's pod."""
    container = {
        "name": "server",
        "image": image_name("operator"),
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "/server/server.py", "--certificate", "/server/pair.pem", "--page", page],
        "readinessProbe": {"tcpSocket": {"port": PORT}, "periodSeconds": 1},
        "securityContext": NO_RIGHTS,
        "volumeMounts": [{"name": "server", "mountPath": "/server", "readOnly": True}],
    }
    return {
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 1,
        "securityContext": RESTRICTED,
        "containers": [container],
        "volumes": [{"name": "server", "secret": {"secretName": "metrics-api"}}],
    }


def registration(namespace: str) -> Object:
    """Return the APIService that says where the metrics API is."""
    version, _, group = API.partition(".")
    return {
        "apiVersion": "apiregistration.k8s.io/v1",
        "kind": "APIService",
        "metadata": {"name": API},
        "spec": {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 100,
            "versionPriority": 100,
            "insecureSkipTLSVerify": True,
            "service": {"name": "metrics-api", "namespace": namespace},
        },
    }


def autoscaler(name: str, *, frames_per_replica: int, least: int = 1, most: int = 3) -> Object:
    """Return an HPA that gives a YoloDeployment one replica for so many observed frames a second."""
    metric = {"name": DEMAND, "selector": {"matchLabels": {"yolodeployment": name, "kind": "observed"}}}
    target = {"type": "AverageValue", "averageValue": str(frames_per_replica)}
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": f"{name}-hpa"},
        "spec": {
            "scaleTargetRef": {"apiVersion": "yolofleet.dev/v1alpha1", "kind": "YoloDeployment", "name": name},
            "minReplicas": least,
            "maxReplicas": most,
            "metrics": [{"type": "External", "external": {"metric": metric, "target": target}}],
            "behavior": {"scaleDown": {"stabilizationWindowSeconds": 5}},
        },
    }


def wait_for_hpa(fleet: Fleet, name: str, kind: str, status: str) -> Object:
    """Wait for a condition of an HPA."""

    def check() -> Object | None:
        conditions = fleet.get("hpa", name).get("status", {}).get("conditions", [])
        return next((c for c in conditions if c["type"] == kind and c["status"] == status), None)

    told = f"hpa/{name} {kind}={status}"
    return wait_for(told, check, timeout_s=60, seen=lambda: fleet.get("hpa", name).get("status"))

"""The installed product, as a person handles it: helm, kubectl apply, conditions, pods of clients."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from e2e.clusters.protocol import Cluster
from e2e.fakes.gpus import DEFAULT_LAYOUT
from e2e.images import image_name
from e2e.waiting import wait_for

Object = dict[str, Any]

ROOT = Path(__file__).resolve().parent.parent
CHART = ROOT / "charts/yolofleet"
SYSTEM = "yolofleet-system"
CONTROL_NODE = "node1"
BUILDER_IMAGE = image_name("builder")
OPERATOR = "app.kubernetes.io/name=yolofleet,app.kubernetes.io/component=operator"
ENGINES_CLAIM = "yolofleet-engines"
TINY: Object = {"backend": "ONNXRuntime", "imageSize": {"height": 64, "width": 64}}
"""The engine of stories that are not about engines: built and answered quickly."""
RESTRICTED: Object = {
    "runAsNonRoot": True,
    "runAsUser": 1000,
    "runAsGroup": 1000,
    "fsGroup": 1000,
    "seccompProfile": {"type": "RuntimeDefault"},
}
NO_RIGHTS: Object = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}


@dataclass(frozen=True)
class Fleet:
    """One namespace of a cluster on which the chart is installed."""

    cluster: Cluster
    namespace: str

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 120) -> str:
        return self.cluster.kubectl("-n", self.namespace, *arguments, stdin=stdin, timeout_s=timeout_s)

    def get(self, kind: str, name: str) -> Object:
        found: Object = json.loads(self.kubectl("get", kind, name, "-o", "json"))
        return found

    def items(self, kind: str, selector: str = "") -> list[Object]:
        arguments = ["get", kind, "-o", "json"] + (["-l", selector] if selector else [])
        listed: list[Object] = json.loads(self.kubectl(*arguments))["items"]
        return listed

    def apply(self, *documents: Object) -> None:
        self.kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=yaml.safe_dump_all(documents))

    def deploy(self, name: str, **spec: Any) -> None:
        """Apply a YoloDeployment; without a model it gets the bundled one on the CPU."""
        defaults: Object = {"model": {"builtin": "yolo26n-shapes"}, "engine": {"backend": "ONNXRuntime"}}
        self.apply(
            {
                "apiVersion": "yolofleet.dev/v1alpha1",
                "kind": "YoloDeployment",
                "metadata": {"name": name},
                "spec": defaults | spec,
            }
        )

    def condition(self, name: str, kind: str, *, of: str = "ydep") -> Object:
        """Return a condition that was judged for the newest spec, {} before that."""
        obj = self.get(of, name)
        generation = obj["metadata"]["generation"]
        for condition in obj.get("status", {}).get("conditions", []):
            if condition["type"] == kind and condition.get("observedGeneration") == generation:
                found: Object = condition
                return found
        return {}

    def wait_condition(
        self, name: str, kind: str, status: str, *, reason: str = "", of: str = "ydep", timeout_s: float = 120
    ) -> Object:
        """Wait for a condition's status, and its reason when one is given."""

        def check() -> Object | None:
            now = self.condition(name, kind, of=of)
            fits = now.get("status") == status and (not reason or now.get("reason") == reason)
            return now if fits else None

        def seen() -> object:
            return self.get(of, name).get("status", {}).get("conditions")

        told = f"{of}/{name} {kind}={status} {reason}".rstrip()
        return wait_for(told, check, timeout_s=timeout_s, seen=seen)

    def wait_serving(self, name: str, replicas: int = 1, *, timeout_s: float = 240) -> None:
        """Wait until so many replicas are ready, no other pod is left, and nothing is under way."""

        def settled() -> bool:
            status = self.get("ydep", name).get("status", {})
            made = self.items("pods", f"yolofleet.dev/deployment={name}")
            pods = [pod for pod in made if pod["status"].get("phase") not in ("Succeeded", "Failed")]
            return status.get("readyReplicas") == replicas and len(pods) == replicas and self._stable(name)

        def seen() -> object:
            pods = [(p["metadata"]["name"], p["status"]["phase"]) for p in self.items("pods")]
            return pods, self.get("ydep", name).get("status", {}).get("conditions")

        wait_for(f"{replicas} replicas of {name}", settled, timeout_s=timeout_s, interval_s=0.5, seen=seen)

    def _stable(self, name: str) -> bool:
        return bool(self.condition(name, "Progressing").get("reason") == "Stable")

    def clear(self) -> None:
        """Free all slices now: once nobody is left who makes pods anew, none is waited for while it drains."""
        self.kubectl("delete", "ydep", "--all", "--timeout=60s")
        wait_for("what makes serving pods to go", lambda: not self.items("deployments,replicasets"), timeout_s=60)
        self.kubectl("delete", "pods", "--all", "--force", "--grace-period=0")

    def engine_of(self, name: str) -> str:
        """Return the YoloEngine that a deployment serves."""
        groups = self.get("ydep", name)["status"]["groups"]
        return str(groups[0]["engineRef"]["name"])

    def client(
        self,
        name: str,
        script: Path,
        arguments: list[str],
        files: dict[str, bytes] | None = None,
        *,
        claim: str = ENGINES_CLAIM,
    ) -> Client:
        """Start a pod of the builder image that runs one of `e2e/clients` with some files beside it."""
        return start_client(self, name, script, arguments, files or {}, claim=claim)

    def cameras(self, name: str, of: str, *arguments: str, rate: float = 20) -> Client:
        """Start cameras that send so many frames a second to a deployment, each frame with one retry."""
        told = ["--url", url_of(self, of), "--rate", str(rate), *arguments]
        return start_client(self, name, ROOT / "e2e/clients/cameras.py", told, {}, node=CONTROL_NODE)


@dataclass(frozen=True)
class Client:
    """A pod that runs a client script and prints JSON lines."""

    fleet: Fleet
    name: str

    def lines(self) -> list[Object]:
        """Return all JSON lines so far."""
        text = self.fleet.kubectl("logs", self.name)
        return [json.loads(line) for line in text.splitlines() if line.startswith("{")]

    def phase(self) -> str:
        return str(self.fleet.get("pod", self.name)["status"].get("phase", ""))

    def started(self, timeout_s: float = 120) -> None:
        """Wait for the first line."""
        wait_for(f"{self.name} to print", lambda: len(self.lines()) > 0, timeout_s=timeout_s, seen=self._tail)

    def finished(self, timeout_s: float = 180) -> list[Object]:
        """Wait for a good end and return all lines; fails with the log otherwise."""

        def ended() -> str | None:
            phase = self.phase()
            return phase if phase in ("Succeeded", "Failed") else None

        phase = wait_for(f"{self.name} to end", ended, timeout_s=timeout_s, interval_s=0.5, seen=self._tail)
        if phase != "Succeeded":
            raise AssertionError(f"client {self.name} failed:\n{self._tail()}")
        return self.lines()

    def end(self) -> Object:
        """Tell cameras to stop, wait until every frame has its end, and return their last line."""
        self.fleet.kubectl("exec", self.name, "--", "touch", "/tmp/stop")
        return self.finished(timeout_s=60)[-1]

    def stop(self) -> None:
        self.fleet.kubectl("delete", "pod", self.name, "--grace-period=0", "--force", "--ignore-not-found")

    def _tail(self) -> str:
        return self.fleet.kubectl("logs", self.name, "--tail=30")


def start_client(
    fleet: Fleet,
    name: str,
    script: Path,
    arguments: list[str],
    files: dict[str, bytes],
    *,
    node: str = "",
    claim: str = ENGINES_CLAIM,
) -> Client:
    """Create the ConfigMap with script and files, and the pod; `node` says where it must run, `claim` what it reads.

    A namespace has the claim of its engines once a YoloDeployment is in it; without one, `claim` is "".
    """
    packed = {
        key: base64.b64encode(value).decode() for key, value in ({"main.py": script.read_bytes()} | files).items()
    }
    fleet.kubectl("delete", "pod,configmap", name, "--ignore-not-found", "--grace-period=0", "--force")
    fleet.apply(
        {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "binaryData": packed},
        client_pod(name, arguments, node=node, claim=claim),
    )
    return Client(fleet, name)


def client_pod(name: str, arguments: list[str], *, node: str = "", claim: str = ENGINES_CLAIM) -> Object:
    """Return the client's pod; the claim, if one is named, is there to read as `/store`."""
    store = {"name": "store", "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
    container = {
        "name": "client",
        "image": BUILDER_IMAGE,
        "imagePullPolicy": "IfNotPresent",
        "command": ["python3", "-u", "/client/main.py", *arguments],
        "securityContext": NO_RIGHTS,
        "volumeMounts": [
            {"name": "client", "mountPath": "/client", "readOnly": True},
            {"name": "tmp", "mountPath": "/tmp"},
            *([{"name": "store", "mountPath": "/store", "readOnly": True}] if claim else []),
        ],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": "client"}},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": RESTRICTED,
            "nodeSelector": {"kubernetes.io/hostname": node} if node else {},
            "containers": [container],
            "volumes": [
                {"name": "client", "configMap": {"name": name}},
                {"name": "tmp", "emptyDir": {}},
                *([store] if claim else []),
            ],
        },
    }


def install(cluster: Cluster, *settings: str) -> None:
    """Install or upgrade the chart as the README says, with the cluster's values."""
    values = [argument for path in cluster.values for argument in ("--values", str(path))]
    sets = [argument for setting in settings for argument in ("--set", setting)]
    cluster.helm(
        *("upgrade", "--install", "yolofleet", str(CHART), "--namespace", SYSTEM, "--create-namespace"),
        *(*values, "--wait", "--timeout", "3m", *sets),
    )


def kill_operator(cluster: Cluster, *, timeout_s: float = 60) -> None:
    """Kill the operator's pod as a crash would; Kubernetes makes another one."""
    cluster.kubectl("-n", SYSTEM, "delete", "pod", "-l", OPERATOR, "--grace-period=0", "--force", timeout_s=timeout_s)


def operator_down(cluster: Cluster) -> None:
    """Scale the operator away and wait until its pod is gone."""
    cluster.kubectl("-n", SYSTEM, "scale", "deployment", "yolofleet", "--replicas=0")
    cluster.kubectl("-n", SYSTEM, "wait", "pod", "-l", OPERATOR, "--for=delete", "--timeout=50s")


def operator_up(cluster: Cluster) -> None:
    """Bring the operator back and wait until it is ready."""
    cluster.kubectl("-n", SYSTEM, "scale", "deployment", "yolofleet", "--replicas=1")
    cluster.kubectl("-n", SYSTEM, "rollout", "status", "deployment", "yolofleet", "--timeout=90s", timeout_s=100)


@contextmanager
def layout(cluster: Cluster, devices: dict[str, int]) -> Iterator[None]:
    """Repartition the node's devices for the length of a block."""
    cluster.set_layout(devices)
    try:
        yield
    finally:
        cluster.set_layout(DEFAULT_LAYOUT)


def url_of(fleet: Fleet, name: str) -> str:
    """Return what a client says to YOLO(…)."""
    return f"grpc://{name}.{fleet.namespace}.svc.cluster.local:8001/{name}"

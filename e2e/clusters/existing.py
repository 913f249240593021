"""A cluster that is there already: only the one whose context the caller names, never the current one by default."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from e2e.clusters.kubectl import Clients
from e2e.clusters.port_forward import port_forward
from e2e.clusters.protocol import BENCH_VALUES, Faults, UnsupportedError
from e2e.fakes.dcgm_exporter.defects import Defects

CONTEXT_VARIABLE = "YOLOFLEET_E2E_CONTEXT"


class RefusedContextError(RuntimeError):
    """The stories were not told, or not rightly told, which cluster they may touch."""


def choose_context(named: str | None, *, present: Sequence[str]) -> str:
    """The context to use: the one that was named, if the kubeconfig has it; anything else is refused."""
    known = f"the kubeconfig has {sorted(present)}"
    if not named:
        raise RefusedContextError(
            "no context was named, and the current one is never used by default: stories create and delete things. "
            f"Name it with --e2e-context or {CONTEXT_VARIABLE}; {known}"
        )
    if named not in present:
        raise RefusedContextError(f"context {named!r} is not in the kubeconfig; {known}")
    return named


def contexts_in(kubectl: str, kubeconfig: Path) -> list[str]:
    """The names of all contexts of a kubeconfig."""
    command = [kubectl, "--kubeconfig", str(kubeconfig), "config", "get-contexts", "-o", "name"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()


class ExistingCluster:
    """A named context of a kubeconfig; what needs the machine below the cluster is refused by name."""

    def __init__(self, context: str | None = None, *, kubeconfig: Path | None = None) -> None:
        default = os.environ.get("KUBECONFIG", "").split(os.pathsep)[0] or str(Path.home() / ".kube" / "config")
        self._kubeconfig = kubeconfig or Path(default)
        self._kubectl = _program("kubectl")
        named = context or os.environ.get(CONTEXT_VARIABLE)
        self._context = choose_context(named, present=contexts_in(self._kubectl, self._kubeconfig))
        self._home = Path(tempfile.mkdtemp(prefix="yolofleet-existing-"))

    @property
    def kubeconfig(self) -> Path:
        return self._kubeconfig

    @property
    def context(self) -> str:
        return self._context

    @property
    def kubectl_path(self) -> str:
        return self._kubectl

    @property
    def helm_path(self) -> str:
        return _program("helm")

    @property
    def values(self) -> tuple[Path, ...]:
        return (BENCH_VALUES,)

    def node_name(self, node: int = 1) -> str:
        """The name of a node that is not the control plane's, in the order of names."""
        control_plane = "node-role.kubernetes.io/control-plane"
        listed = self.kubectl("get", "nodes", "-l", f"!{control_plane}", "-o", "name").split()
        return sorted(listed)[node - 1].removeprefix("node/")

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        return self._clients.kubectl(*arguments, stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str, timeout_s: float = 300) -> str:
        return self._clients.helm(*arguments, timeout_s=timeout_s)

    def forward(self, host: str, port: int) -> AbstractContextManager[int]:
        """A port of 127.0.0.1 that leads to `service.namespace`, by kubectl port-forward."""
        bound = ["--kubeconfig", str(self._kubeconfig), "--context", self._context]
        return port_forward([self._kubectl, *bound], host, port)

    def set_layout(self, layout: Mapping[str, int], *, node: int = 1) -> None:
        raise UnsupportedError(f"node{node} of {self.context} has GPUs of its own: {dict(layout)} cannot be set on it")

    def set_health(self, resource: str, index: int, *, healthy: bool, node: int = 1) -> None:
        raise UnsupportedError(f"{resource} #{index} of node{node} in {self.context} cannot be made {healthy=}")

    def set_dcgm(self, defects: Defects, *, node: int = 1) -> None:
        raise UnsupportedError(f"the dcgm-exporter of node{node} in {self.context} is a real one: no {defects}")

    def stop_apiserver(self) -> None:
        raise UnsupportedError(f"the API server of {self.context} is not ours to stop")

    def start_apiserver(self) -> None:
        raise UnsupportedError(f"the API server of {self.context} is not ours to start")

    def restart_apiserver(self, *, down_s: float = 0) -> None:
        raise UnsupportedError(f"the API server of {self.context} is not ours to take away for {down_s} s")

    def restart_kubelet(self, *, node: int = 1) -> None:
        raise UnsupportedError(f"the kubelet of node{node} in {self.context} is not ours to restart")

    @property
    def faults(self) -> Faults:
        raise UnsupportedError(f"the nodes and programs of {self.context} are not ours to break")

    def load_images(self, names: Sequence[str]) -> None:
        raise UnsupportedError(f"{self.context} has its images from its own registry, not {', '.join(names)}")

    def recycle_volumes(self) -> None:
        """Nothing to do: volumes are the business of the cluster's provisioner."""

    def dump(self, namespaces: Sequence[str], folder: Path) -> None:
        self._clients.dump(namespaces, folder)

    @property
    def _clients(self) -> Clients:
        helm = shutil.which("helm") or "helm"
        return Clients(self._kubectl, helm, self._kubeconfig, self._context, self._home)


def _program(name: str) -> str:
    if found := shutil.which(name):
        return found
    raise RefusedContextError(f"{name} is not on PATH; an existing cluster is reached with it")

"""Run kubectl and helm against an explicit kubeconfig and context, and dump namespaces with them."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.clusters.programs import Run, run_program

_KINDS = "pods,deployments,jobs,services,persistentvolumeclaims,yolodeployments,yoloengines"


class CommandFailedError(RuntimeError):
    """kubectl or helm failed; its own words are the message."""

    def __init__(self, command: Sequence[str], returncode: int, stderr: str) -> None:
        super().__init__(f"{' '.join(command)[:400]} failed (exit {returncode}): {stderr.strip()[-4000:]}")
        self.stderr = stderr


@dataclass(frozen=True)
class Clients:
    """The two programs, bound to one cluster."""

    kubectl_path: str
    helm_path: str
    kubeconfig: Path
    context: str
    home: Path
    run: Run = run_program

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        """Run kubectl and return what it prints."""
        bound = ["--kubeconfig", str(self.kubeconfig), "--context", self.context]
        return self._run([self.kubectl_path, *bound, *arguments], stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str, timeout_s: float = 300) -> str:
        """Run helm with folders of its own and return what it prints."""
        bound = ["--kubeconfig", str(self.kubeconfig), "--kube-context", self.context]
        return self._run([self.helm_path, *arguments, *bound], stdin=None, timeout_s=timeout_s)

    def dump(self, namespaces: Sequence[str], folder: Path) -> None:
        """Events, objects and the logs of all containers of some namespaces; what cannot be read says why."""
        folder.mkdir(parents=True, exist_ok=True)
        self._save(folder / "nodes.txt", "describe", "nodes")
        for namespace in namespaces:
            self._save(folder / f"{namespace}-events.txt", "-n", namespace, "get", "events", "--sort-by=.lastTimestamp")
            self._save(folder / f"{namespace}-objects.yaml", "-n", namespace, "get", _KINDS, "-o", "yaml")
            self._save(folder / f"{namespace}-pods.txt", "-n", namespace, "describe", "pods")
            self._dump_logs(namespace, folder)

    def _dump_logs(self, namespace: str, folder: Path) -> None:
        try:
            pods = self.kubectl("-n", namespace, "get", "pods", "-o", "name").split()
        except (CommandFailedError, subprocess.TimeoutExpired):
            return
        for pod in pods:
            name = f"{namespace}-{pod.removeprefix('pod/')}"
            logs = ("-n", namespace, "logs", pod, "--all-containers", "--prefix", "--timestamps")
            self._save(folder / f"{name}.log", *logs)
            self._save(folder / f"{name}.previous.log", *logs, "--previous")

    def _save(self, path: Path, *arguments: str) -> None:
        try:
            path.write_text(self.kubectl(*arguments, timeout_s=20))
        except (CommandFailedError, subprocess.TimeoutExpired) as error:
            path.write_text(f"{error}\n")

    def _run(self, command: list[str], *, stdin: str | None, timeout_s: float) -> str:
        folders = {f"HELM_{kind}_HOME": str(self.home / "helm") for kind in ("CACHE", "CONFIG", "DATA")}
        done = self.run(command, stdin=stdin, timeout_s=timeout_s, env=folders | {"HOME": str(self.home)})
        if not done.good:
            raise CommandFailedError(command, done.returncode, done.stderr)
        return done.stdout

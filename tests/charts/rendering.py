"""The chart as Helm renders it, for tests: value sets, and objects found by kind and name."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "charts/yolofleet"
RELEASE, NAMESPACE = "yolofleet", "yolofleet-system"
KUBE_VERSION = "1.36.0"
MONITORING = "monitoring.coreos.com/v1"

VALUE_SETS: dict[str, tuple[str, ...]] = {
    "default": (),
    "bench": ("--values", str(ROOT / "e2e/values-bench.yaml")),
    "watched": ("--set", "watchNamespaces={cameras,gates}"),
    "s3": ("--set", "store.kind=S3", "--set", "store.s3.writeSecret=writer"),  # unnamed, Helm rolls dice for it
    "monitors": (
        *("--api-versions", MONITORING),
        *("--set", "monitoring.serviceMonitor.enabled=true", "--set", "monitoring.podMonitor.enabled=true"),
        *("--set", "monitoring.podMonitor.interval=5s", "--set", "monitoring.serviceMonitor.labels.release=prom"),
    ),
}
"""What is golden: the name of a file, and Helm's arguments."""

Object = dict[str, Any]


@dataclass(frozen=True)
class Helm:
    """The real helm, with a home of its own and no cluster."""

    binary: Path
    home: Path

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run helm and return what it said, also when it failed."""
        homes = {f"HELM_{kind}_HOME": str(self.home / kind.lower()) for kind in ("CACHE", "CONFIG", "DATA")}
        environment = {"PATH": os.environ["PATH"], "HOME": str(self.home), "KUBECONFIG": os.devnull, **homes}
        command = [str(self.binary), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=120)

    def template(self, *arguments: str, crds: bool | None = False, chart: Path = CHART) -> str:
        """Render the chart; AssertionError with Helm's words when it refuses. The definitions are long: off."""
        switch = () if crds is None else ("--set", f"crds.install={crds}".lower())
        done = self.try_template(*switch, *arguments, chart=chart)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def try_template(
        self, *arguments: str, chart: Path = CHART, kube_version: str = KUBE_VERSION
    ) -> subprocess.CompletedProcess[str]:
        """Try to render the chart, and return how it went."""
        switches = ("--namespace", NAMESPACE, "--kube-version", kube_version)
        return self.run("template", RELEASE, str(chart), *switches, *arguments)

    def objects(self, *arguments: str, crds: bool = False) -> list[Object]:
        """Render the chart and parse it."""
        return [found for found in yaml.safe_load_all(self.template(*arguments, crds=crds)) if found]


def of_kind(objects: Sequence[Object], *kinds: str) -> list[Object]:
    """Return the objects of some kinds."""
    return [found for found in objects if found["kind"] in kinds]


def named(objects: Sequence[Object], kind: str, name: str) -> Object:
    """Return the one object of a kind and name."""
    (found,) = [item for item in of_kind(objects, kind) if item["metadata"]["name"] == name]
    return found


def operator_pod(objects: Sequence[Object]) -> Object:
    """Return the pod template of the operator."""
    template: Object = named(objects, "Deployment", RELEASE)["spec"]["template"]
    return template


def settings_file(objects: Sequence[Object]) -> str:
    """Return the settings file that the operator reads."""
    text: str = named(objects, "ConfigMap", f"{RELEASE}-settings")["data"]["settings.yaml"]
    return text

"""Where a kind cluster's files lie, on this machine and in its nodes, and what it is called."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from e2e.fakes.gpus import GpuState

GPUS_IN_NODE = Path("/var/lib/yolofleet/gpus")
VOLUMES_IN_NODE = Path("/var/lib/yolofleet/volumes")


@dataclass(frozen=True)
class KindPlace:
    """One named cluster; `home` is gone after `down`."""

    name: str
    cache: Path

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", self.name):
            raise ValueError(
                f"cluster name {self.name!r}: use 1 to 20 of a-z, 0-9 and - (containers are named after it)"
            )

    @property
    def cluster(self) -> str:
        """Its name among kind's clusters, which are not all ours."""
        return f"yolofleet-{self.name}"

    @property
    def context(self) -> str:
        return f"kind-{self.cluster}"

    @property
    def control_plane(self) -> str:
        return f"{self.cluster}-control-plane"

    def worker(self, node: int = 1) -> str:
        """The container, and node, that kind calls so."""
        return f"{self.cluster}-worker{node if node > 1 else ''}"

    @property
    def home(self) -> Path:
        return self.cache / "kind" / self.name

    @property
    def config(self) -> Path:
        return self.home / "kind.yaml"

    @property
    def kubeconfig(self) -> Path:
        return self.home / "kubeconfig"

    @property
    def record(self) -> Path:
        """Says that this cluster is ours, and which GPUs it has."""
        return self.home / "cluster.json"

    @property
    def images(self) -> Path:
        return self.home / "images.tar"

    @property
    def lock(self) -> Path:
        return self.cache / "locks" / f"kind-{self.name}"

    def gpus(self, node: int = 1) -> Path:
        """The folder that the node's fake device plugin reads."""
        return self.home / "gpus" / str(node)

    def gpu_state(self, node: int = 1) -> GpuState:
        return GpuState(self.gpus(node) / "gpus.json")

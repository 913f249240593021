"""Where a bare cluster's files lie, and the addresses it uses inside its own namespaces."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from e2e.cache import cache_root

SERVICE_CIDR = "10.78.0.0/24"
POD_CIDR = "10.79.0.0/16"
API_ADDRESS = "10.77.0.1"
API_SERVICE_ADDRESS = "10.78.0.1"
DNS_SERVICE_ADDRESS = "10.78.0.10"
API_PORT = 6443
RUNTIME_DIR = Path("/run/yolofleet")
_SOCKET_PATH_LIMIT = 107


@dataclass(frozen=True)
class NodePlace:
    """One node: its name, its address, the pods' range, and the folder of its files."""

    index: int
    folder: Path
    images: Path

    @property
    def name(self) -> str:
        return f"node{self.index}"

    @property
    def address(self) -> str:
        return f"10.77.0.{self.index}"

    @property
    def pod_cidr(self) -> str:
        return f"10.79.{self.index}.0/24"

    @property
    def gpu_state(self) -> Path:
        return self.folder / "gpus.json"

    @property
    def dcgm_defects(self) -> Path:
        return self.folder / "dcgm.json"

    @property
    def private_folders(self) -> dict[str, Path]:
        """What the node's mount namespace has at a fixed path, and which folder of ours stands there."""
        places = {
            "kubelet": "/var/lib/kubelet",
            "pod-logs": "/var/log/pods",
            "container-logs": "/var/log/containers",
            "cni": "/var/lib/cni",
            "netns": "/run/netns",
            "runtime": str(RUNTIME_DIR),
        }
        return {target: self.folder / "private" / name for name, target in places.items()}

    @property
    def in_memory(self) -> tuple[Path, ...]:
        """Those of them that a machine holds in memory, and loses with its power."""
        return tuple(self.folder / "private" / name for name in ("runtime", "netns"))


@dataclass(frozen=True)
class ClusterPlace:
    """The folders of one named cluster; `run` is wiped by every `up`, `images` outlives `down`."""

    name: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,18}[a-z0-9])?", self.name):
            raise ValueError(f"cluster name {self.name!r}: use 1 to 20 of a-z, 0-9 and - (it becomes part of paths)")
        if len(str(self.relay_socket)) > _SOCKET_PATH_LIMIT:
            raise ValueError(f"cluster name {self.name!r}: {self.relay_socket} is too long for a unix socket")

    @property
    def home(self) -> Path:
        return cache_root() / "clusters" / self.name

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def logs(self) -> Path:
        return self.run / "logs"

    @property
    def pki(self) -> Path:
        return self.run / "pki"

    @property
    def processes(self) -> Path:
        return self.run / "processes"

    @property
    def relay_socket(self) -> Path:
        return self.run / "relay.sock"

    @property
    def kubeconfig(self) -> Path:
        return self.run / "kubeconfig"

    @property
    def lock(self) -> Path:
        return cache_root() / "locks" / f"cluster-{self.name}"

    @property
    def cgroup(self) -> str:
        return f"yolofleet-{self.name}"

    def node(self, index: int) -> NodePlace:
        return NodePlace(index, self.run / f"node{index}", self.home / f"images-node{index}")

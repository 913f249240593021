"""What every story may ask of a cluster, whoever made it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol

from e2e.fakes.dcgm_exporter.defects import Defects

BENCH_VALUES = Path(__file__).resolve().parent.parent / "values-bench.yaml"


class UnsupportedError(RuntimeError):
    """This kind of cluster cannot do what was asked."""


class Faults(Protocol):
    """What stories do to a cluster whose machines are theirs."""

    def add_node(self) -> int:
        """Add a node with GPUs of its own, which may then be lost; its index."""

    def lose_node(self, index: int) -> None:
        """Cut a node's power: its kubelet and its pods are gone, and nobody is told."""

    def return_node(self, index: int) -> None:
        """Switch a lost node on again, and wait until it is Ready with its devices."""

    def remove_node(self, index: int) -> None:
        """Take a node out of the cluster for good."""

    def controllers(self, *flags: str) -> AbstractContextManager[None]:
        """Run the controller manager with further flags for the length of a block."""

    def no_controllers(self) -> AbstractContextManager[None]:
        """Run no controller manager for the length of a block: no endpoint leaves, and no pod is made."""

    def runs(self, program: str) -> bool:
        """Whether a container runs a command line with this argument."""

    def crash(self, program: str) -> bool:
        """Kill the containers' processes that have this argument, as a crash would; whether there was one."""


class Cluster(Protocol):
    """A cluster that stories run on."""

    @property
    def kubeconfig(self) -> Path:
        """A file that works from outside, for kubectl, helm and the Python client."""

    @property
    def context(self) -> str:
        """The context in it to use."""

    @property
    def kubectl_path(self) -> str:
        """The kubectl program to use."""

    @property
    def helm_path(self) -> str:
        """The helm program to use."""

    @property
    def values(self) -> tuple[Path, ...]:
        """The chart's values for this cluster, in the order in which helm takes them."""

    def node_name(self, node: int = 1) -> str:
        """The name in Kubernetes of the n-th node that has GPUs."""

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        """Run kubectl and return its output; a failure raises with its words."""

    def helm(self, *arguments: str, timeout_s: float = 300) -> str:
        """Run helm and return its output; a failure raises with its words."""

    def forward(self, host: str, port: int) -> AbstractContextManager[int]:
        """A port of 127.0.0.1 that leads to HOST:PORT in the cluster (a Service's name.namespace, or an address)."""

    def set_layout(self, layout: Mapping[str, int], *, node: int = 1) -> None:
        """Repartition the node's fake GPUs (resource → count), and label the node accordingly."""

    def set_health(self, resource: str, index: int, *, healthy: bool, node: int = 1) -> None:
        """Make one fake device healthy or not."""

    def set_dcgm(self, defects: Defects, *, node: int = 1) -> None:
        """Plant defects in the node's dcgm-exporter and faults in its fake GPUs; `Defects()` takes all away."""

    def stop_apiserver(self) -> None:
        """Take the API server away."""

    def start_apiserver(self) -> None:
        """Bring it back, and wait until it is ready."""

    def restart_apiserver(self, *, down_s: float = 0) -> None:
        """Stop it, leave it down for a while, start it."""

    def restart_kubelet(self, *, node: int = 1) -> None:
        """Restart a node's kubelet; pods go on, the device plugin registers anew."""

    @property
    def faults(self) -> Faults:
        """What can be done to the cluster's machines and programs."""

    def load_images(self, names: Sequence[str]) -> None:
        """Make more of the bench's images, and give them to every node."""

    def recycle_volumes(self) -> None:
        """Empty the volumes whose claims are gone, and offer them anew."""

    def dump(self, namespaces: Sequence[str], folder: Path) -> None:
        """Write events, objects and logs of some namespaces, and the cluster's own logs, to a folder."""

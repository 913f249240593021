"""One node: namespaces, containerd with the images, kubelet, kube-proxy, and the doubles of what NVIDIA runs there."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from e2e.cache import REPOSITORY, cache_root, locked
from e2e.clusters.bare.image_store import ImageStore, import_images, keep_present, missing_images, sweep
from e2e.clusters.bare.layout import NodePlace
from e2e.clusters.bare.namespaces import Namespaces
from e2e.clusters.bare.node_config import NodeConfig
from e2e.clusters.bare.processes import ProcessTable
from e2e.images import Image
from e2e.progress import step
from e2e.waiting import wait_for

_CONTAINERD_GRACE_S = 10


@dataclass(frozen=True)
class Node:
    """A node's parts, and the order in which they come up."""

    place: NodePlace
    inside: Namespaces
    config: NodeConfig
    table: ProcessTable

    def process_name(self, part: str) -> str:
        return f"{self.place.name}-{part}"

    def start_containerd(self, images: Sequence[Image]) -> None:
        """Start containerd on a store with these images; new ones are taken in first."""
        self.config.write()
        with locked(cache_root() / "locks" / "image-stores"):
            ImageStore(self.place).restore()
            self._containerd()
            if wanted := missing_images(images, self.inside, self.config):
                with step(f"load images into {self.place.name}: {_names(wanted)}"):
                    self._load(wanted)

    def start_containerd_again(self) -> None:
        """Start containerd on the store as a lost node left it."""
        self._containerd()

    def load_images(self, images: Sequence[Image]) -> None:
        """Take new versions of images into a node that runs; new pods get them."""
        with locked(cache_root() / "locks" / "image-stores"):
            if wanted := missing_images(images, self.inside, self.config):
                with step(f"load images into {self.place.name}: {_names(wanted)}"):
                    keep_present(wanted, self.inside, self.config)
                    import_images(wanted, self.inside, self.config)

    def start_agents(self) -> None:
        """The kubelet, kube-proxy, the device plugin and the exporter of its devices' metrics."""
        self._start("kubelet", self.config.kubelet())
        self._start("proxy", self.config.proxy())
        ours = {"PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
        plugin = [sys.executable, "-m", "e2e.fakes.mig_device_plugin", str(self.place.gpu_state)]
        self._start("device-plugin", plugin, env=ours)
        files = [str(self.place.gpu_state), str(self.place.dcgm_defects)]
        identity = ["--node", self.place.name, "--kubeconfig", self.config.pki.kubeconfig(self.place.name)]
        exporter = [sys.executable, "-m", "e2e.fakes.dcgm_exporter", *files, *identity, "--address", self.place.address]
        self._start("dcgm-exporter", exporter, env=ours)

    def restart_kubelet(self) -> None:
        """Stop the kubelet and start it anew; pods go on."""
        self.table.end(self.process_name("kubelet"), grace_s=5)
        self._start("kubelet", self.config.kubelet())

    def _load(self, images: Sequence[Image]) -> None:
        store = ImageStore(self.place)
        import_images(images, self.inside, self.config)
        store.forget()
        sweep(images[0], self.inside, self.config)
        self.table.end(self.process_name("containerd"), grace_s=_CONTAINERD_GRACE_S)
        store.save()
        self._containerd()

    def _containerd(self) -> None:
        self._start("containerd", self.config.containerd())
        wait_for("containerd", self._answers(self.config.ctr("version")), timeout_s=30, interval_s=0.05)

    def _answers(self, command: list[str]) -> Callable[[], str]:
        return lambda: self.inside.run(command)

    def _start(self, part: str, command: list[str], *, env: dict[str, str] | None = None) -> None:
        log = self.place.folder / "logs" / f"{part}.log"
        self.table.record(self.process_name(part), self.inside.spawn(command, log=log, env=env))


def _names(images: Sequence[Image]) -> str:
    return ", ".join(image.name.rpartition("/")[2].partition(":")[0] for image in images)

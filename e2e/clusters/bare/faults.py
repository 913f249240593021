"""What stories do to a bare cluster to see whether its fleet holds: lost nodes, crashes, other controller settings."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from e2e.clusters.bare import cgroups, gpu_nodes
from e2e.clusters.bare.layout import ClusterPlace
from e2e.clusters.bare.node import Node
from e2e.clusters.bare.processes import Process, ProcessTable, processes_below
from e2e.clusters.kubectl import Clients
from e2e.fakes.gpus import GpuState
from e2e.progress import step


@dataclass(frozen=True)
class BareFaults:
    """The faults of one cluster, made with the cluster's own ways to start its parts."""

    place: ClusterPlace
    table: ProcessTable
    clients: Clients
    node: Callable[[int], Node]
    plug_in: Callable[[int], None]
    new_node: Callable[[], int]
    start_controllers: Callable[..., None]

    def add_node(self) -> int:
        """Add a node with GPUs of its own, which may then be lost; its index."""
        return self.new_node()

    def lose_node(self, index: int) -> None:
        """Cut a further node's power: kubelet, containerd and pods are gone at once, and nobody is told."""
        if index == 1:
            raise ValueError("node1 carries the control plane: only a node from add_node can be lost")
        self.table.end(f"node{index}-holder")

    def return_node(self, index: int) -> None:
        """Switch a lost node on again, as it was on its disk, and wait until it is Ready with its devices."""
        place = self.place.node(index)
        with step(f"{place.name} back"):
            for folder in place.in_memory:
                shutil.rmtree(folder, ignore_errors=True)
            self.plug_in(index)
            self.node(index).start_containerd_again()
            self.node(index).start_agents()
            gpu_nodes.wait_until_ready(self.clients, place.name)
            gpu_nodes.wait_for_allocatable(self.clients, place.name, GpuState(place.gpu_state))

    def remove_node(self, index: int) -> None:
        """End a further node, lost or not, and take it out of the cluster with its pods; no new one may come to it."""
        place = self.place.node(index)
        self.lose_node(index)
        on_it = ("--all-namespaces", f"--field-selector=spec.nodeName={place.name}")
        self.clients.kubectl("delete", "node", place.name, "--ignore-not-found")
        self.clients.kubectl("delete", "pods", *on_it, "--force", "--grace-period=0")  # nobody is left to confirm it
        for part in self.table.names():
            if part.startswith(f"{place.name}-"):
                self.table.end(part)
        cgroups.remove_branch(f"{self.place.cgroup}/{place.name}")
        shutil.rmtree(place.folder, ignore_errors=True)

    @contextmanager
    def controllers(self, *flags: str) -> Iterator[None]:
        """Run the controller manager with further flags for the length of a block."""
        self.start_controllers(*flags)
        try:
            yield
        finally:
            self.start_controllers()

    @contextmanager
    def no_controllers(self) -> Iterator[None]:
        """Run no controller manager for the length of a block: no endpoint leaves, and no pod is made."""
        self.table.end("controller-manager", grace_s=1)
        try:
            yield
        finally:
            self.start_controllers()

    def runs(self, program: str) -> bool:
        """Whether a container runs a command line with this argument."""
        return bool(self._found(program))

    def crash(self, program: str) -> bool:
        """Kill the containers' processes that have this argument, as a crash would; whether there was one."""
        found = self._found(program)
        for process in found:
            process.end()
        return bool(found)

    def _found(self, program: str) -> list[Process]:
        return processes_below(self.place.cgroup, program)

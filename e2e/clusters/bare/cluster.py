"""A real Kubernetes cluster on this machine, with nothing but its own binaries: up, down, and what stories do to it."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Self
from urllib.request import urlopen

from e2e.cache import locked
from e2e.clusters.bare import addons, cgroups, gpu_nodes, prerequisites
from e2e.clusters.bare.binaries import Binaries, build_binaries
from e2e.clusters.bare.control_plane import DNS_READY_PORT, ControlPlane, relay_command
from e2e.clusters.bare.faults import BareFaults
from e2e.clusters.bare.forward import forwarded
from e2e.clusters.bare.layout import API_ADDRESS, API_PORT, ClusterPlace
from e2e.clusters.bare.namespaces import (
    Namespaces,
    join_node_network,
    make_namespaces,
    mount_private_folders,
    set_up_first_node_network,
)
from e2e.clusters.bare.node import Node
from e2e.clusters.bare.node_config import NodeConfig
from e2e.clusters.bare.pki import Pki
from e2e.clusters.bare.processes import ProcessTable, process_of, spawn
from e2e.clusters.kubectl import Clients, CommandFailedError
from e2e.clusters.protocol import BENCH_VALUES
from e2e.fakes.dcgm_exporter.defects import Defects, DefectsFile
from e2e.fakes.gpus import DEFAULT_LAYOUT, GpuState
from e2e.images import NAMES, Image, build_images
from e2e.progress import step
from e2e.waiting import wait_for

DEFAULT_NAME = "bench"
_CONTROL_PLANE = ("etcd", "apiserver", "controller-manager", "scheduler", "coredns", "relay")
_TERM_GRACE_S = 1  # the API server would drain its watches for longer; a crash does not


class BareCluster:
    """One named cluster; `up` is idempotent, `down` leaves only caches behind."""

    def __init__(
        self,
        name: str = DEFAULT_NAME,
        *,
        layout: Mapping[str, int] | None = None,
        images: Sequence[str] = NAMES,
        volumes: int = 40,
    ) -> None:
        self._place = ClusterPlace(name)
        self._layout = dict(DEFAULT_LAYOUT if layout is None else layout)
        self._image_names = tuple(dict.fromkeys(["pause", *images]))
        self._volumes = volumes
        self._table = ProcessTable(self._place.processes)
        self._pki = Pki(self._place.pki)

    def __enter__(self) -> Self:
        return self.up()

    def __exit__(self, *_: object) -> None:
        self.down()

    @property
    def name(self) -> str:
        return self._place.name

    @property
    def kubeconfig(self) -> Path:
        return self._place.kubeconfig

    @property
    def context(self) -> str:
        return f"yolofleet-{self.name}"

    @property
    def kubectl_path(self) -> str:
        return self._binaries.path("kubectl")

    @property
    def helm_path(self) -> str:
        return self._binaries.path("helm")

    @property
    def values(self) -> tuple[Path, ...]:
        return (BENCH_VALUES,)

    def node_name(self, node: int = 1) -> str:
        return self._place.node(node).name

    @property
    def running(self) -> bool:
        """Whether every part of the cluster is alive."""
        parts = [*_CONTROL_PLANE, "relay-outside", "node1-holder", "node1-containerd", "node1-kubelet", "node1-proxy"]
        parts.append("node1-dcgm-exporter")
        return all(self._table.alive(part) for part in parts)

    def up(self) -> Self:
        """Bring the cluster up with the images of this very tree; one that runs is only given images that changed."""
        prerequisites.check()
        with ThreadPoolExecutor(1) as beside:
            made = beside.submit(build_images, self._image_names)
            build_binaries()
            images = list(made.result().values())
        with locked(self._place.lock):
            if self.running:
                for index in self.nodes:
                    self._node(index).load_images(images)
                return self
            self._tear_down()
            try:
                self._bring_up(images)
            except BaseException:
                self._keep_logs()
                self._tear_down()
                raise
        return self

    def down(self) -> None:
        """End the cluster: no process, mount, link or control group stays."""
        with locked(self._place.lock), step(f"cluster {self.name} down"):
            self._tear_down()

    def kubectl(self, *arguments: str, stdin: str | None = None, timeout_s: float = 60) -> str:
        return self._clients.kubectl(*arguments, stdin=stdin, timeout_s=timeout_s)

    def helm(self, *arguments: str, timeout_s: float = 300) -> str:
        return self._clients.helm(*arguments, timeout_s=timeout_s)

    def exec(self, command: list[str], *, node: int = 1, timeout_s: float = 60) -> str:
        """Run a command of this machine inside a node's namespaces."""
        return self._inside(node).run(command, timeout_s=timeout_s)

    def forward(self, host: str, port: int) -> AbstractContextManager[int]:
        """A port of 127.0.0.1 that leads to an address, or to the ClusterIP of `service.namespace`."""
        address = host if host.replace(".", "").isdigit() else self._cluster_ip(host)
        return forwarded(self._place.relay_socket, f"{address}:{port}")

    def set_layout(self, layout: Mapping[str, int], *, node: int = 1) -> None:
        """Repartition the node's fake GPUs, label it, and wait until it offers them."""
        place = self._place.node(node)
        GpuState(place.gpu_state).set_layout(layout, node=place.name)
        gpu_nodes.label_node(self._clients, place.name, layout)
        gpu_nodes.wait_for_allocatable(self._clients, place.name, GpuState(place.gpu_state))

    def set_health(self, resource: str, index: int, *, healthy: bool, node: int = 1) -> None:
        """Make one fake device healthy or not, and wait until the node says so."""
        place = self._place.node(node)
        GpuState(place.gpu_state).set_health(resource, index, healthy=healthy)
        gpu_nodes.wait_for_allocatable(self._clients, place.name, GpuState(place.gpu_state))

    def set_dcgm(self, defects: Defects, *, node: int = 1) -> None:
        """Plant defects in the node's dcgm-exporter and faults in its GPUs, in place of those before."""
        DefectsFile(self._place.node(node).dcgm_defects).write(defects)

    def stop_apiserver(self) -> None:
        """Take the API server away; everything else goes on."""
        self._table.end("apiserver", grace_s=_TERM_GRACE_S)

    def start_apiserver(self) -> None:
        """Bring the API server back and wait until it is ready."""
        self._start("apiserver", self._control_plane.apiserver())
        self._wait_for_apiserver()

    def restart_apiserver(self, *, down_s: float = 0) -> None:
        """Stop it, leave it down for a while, start it."""
        self.stop_apiserver()
        time.sleep(down_s)
        self.start_apiserver()

    def restart_kubelet(self, *, node: int = 1) -> None:
        """Restart a node's kubelet; pods go on, the device plugin registers anew."""
        self._node(node).restart_kubelet()

    @property
    def faults(self) -> BareFaults:
        return BareFaults(
            place=self._place,
            table=self._table,
            clients=self._clients,
            node=self._node,
            plug_in=self._plug_in,
            new_node=self.add_node,
            start_controllers=self._start_controllers,
        )

    def load_images(self, names: Sequence[str]) -> None:
        """Make more of the bench's images, and give them to every node."""
        images = list(build_images(names).values())
        for index in self.nodes:
            self._node(index).load_images(images)

    def recycle_volumes(self) -> None:
        """Empty the volumes whose claims are gone, and offer them anew."""
        volumes = json.loads(self.kubectl("get", "persistentvolumes", "-o", "json"))["items"]
        for volume in volumes:
            if volume.get("status", {}).get("phase") in {"Released", "Failed"}:
                self._recycle(volume)

    def dump(self, namespaces: Sequence[str], folder: Path) -> None:
        """Events, objects and logs of some namespaces, and the cluster's own logs."""
        self._clients.dump(namespaces, folder)
        self._copy_logs(folder)

    @property
    def nodes(self) -> list[int]:
        """The indices of the nodes that there are."""
        names = [name for name in self._table.names() if name.endswith("-holder") and self._table.alive(name)]
        return sorted(int(name.removeprefix("node").removesuffix("-holder")) for name in names)

    def add_node(self, layout: Mapping[str, int] | None = None) -> int:
        """A further node, with fake GPUs of its own; its index."""
        with locked(self._place.lock):
            index = max(self.nodes) + 1
            with step(f"node{index}"):
                self._plug_in(index)
                self._prepare_node(index)
                self._node(index).start_containerd(list(build_images(self._image_names).values()))
                self._join_node(index, self._layout if layout is None else layout)
        return index

    # --- how it comes up and ends -------------------------------------------------------------------------------

    def _bring_up(self, images: Sequence[Image]) -> None:
        with step(f"cluster {self.name} up"):
            self._make_node_namespaces(1, within=None)
            set_up_first_node_network(self._inside(1), self._place.node(1))
            self._pki.make()
            self._prepare_node(1)
            with ThreadPoolExecutor(1) as beside:
                containers = beside.submit(self._node(1).start_containerd, images)
                self._start_control_plane()
                containers.result()
            self._join_node(1, self._layout)
            self._wait_for_dns()

    def _start_control_plane(self) -> None:
        plane = self._control_plane
        self._start("etcd", plane.etcd())
        self._start("apiserver", plane.apiserver())
        self._start("relay", relay_command(sys.executable, self._place.relay_socket))
        self._open_relay()
        self._wait_for_apiserver()
        self._start_controllers()
        self._start("scheduler", plane.scheduler())
        self._start("coredns", plane.coredns())
        self._create([*addons.dns_objects(), *addons.storage_objects(self._place.run / "volumes", count=self._volumes)])

    def _start_controllers(self, *flags: str) -> None:
        self._table.end("controller-manager", grace_s=_TERM_GRACE_S)
        self._start("controller-manager", [*self._control_plane.controller_manager(), *flags])

    def _make_node_namespaces(self, index: int, *, within: Namespaces | None) -> None:
        place = self._place.node(index)
        made = make_namespaces(self._binaries.path("pause"), place, inside=within)
        self._table.record(f"{place.name}-holder", made.holder)
        mount_private_folders(made, place)

    def _plug_in(self, index: int) -> None:
        """Make a further node's namespaces, and its place in the network."""
        peers = [(peer, self._inside(peer)) for peer in self.nodes]
        self._make_node_namespaces(index, within=self._inside(1))
        join_node_network(self._inside(1), self._inside(index), node=self._place.node(index), peers=peers)

    def _prepare_node(self, index: int) -> None:
        place = self._place.node(index)
        self._pki.make_node(place)
        cgroups.make_branch(f"{self._place.cgroup}/{place.name}")

    def _join_node(self, index: int, layout: Mapping[str, int]) -> None:
        """Start the node's agents, and wait until it is Ready with its fake devices and labels."""
        place = self._place.node(index)
        GpuState(place.gpu_state).set_layout(layout, node=place.name)
        self._node(index).start_agents()
        wait_for(f"{place.name} to register", lambda: self.kubectl("get", "node", place.name), timeout_s=60)
        gpu_nodes.label_node(self._clients, place.name, layout)
        self._create(addons.dcgm_objects(place))
        gpu_nodes.wait_until_ready(self._clients, place.name)
        gpu_nodes.wait_for_allocatable(self._clients, place.name, GpuState(place.gpu_state))

    def _open_relay(self) -> None:
        log = self._place.logs / "relay-outside.log"
        ends = [str(self._place.relay_socket), "0", f"{API_ADDRESS}:{API_PORT}"]
        command = [sys.executable, relay_command("", Path())[1], "outside", *ends]
        self._table.record("relay-outside", process_of(spawn(command, log=log)))
        port = int(wait_for("the relay's port", lambda: log.read_text().strip(), timeout_s=10, interval_s=0.05))
        server = f"https://127.0.0.1:{port}"
        self._pki.write_kubeconfig("admin", server=server, to=self.kubeconfig, context=self.context)

    def _wait_for_apiserver(self) -> None:
        wait_for("the API server", lambda: self.kubectl("get", "--raw", "/readyz", timeout_s=5), timeout_s=90)

    def _wait_for_dns(self) -> None:
        with self.forward("127.0.0.1", DNS_READY_PORT) as port:
            wait_for("CoreDNS", lambda: urlopen(f"http://127.0.0.1:{port}/ready", timeout=2).status == HTTPStatus.OK)

    def _start(self, part: str, command: list[str]) -> None:
        self._table.record(part, self._inside(1).spawn(command, log=self._place.logs / f"{part}.log"))

    def _tear_down(self) -> None:
        self._table.end("relay-outside")
        for index in reversed(self.nodes):
            self._table.end(f"node{index}-holder")
        for part in self._table.names():
            if (process := self._table.get(part)) and process.alive:
                process.end()
        cgroups.remove_branch(self._place.cgroup)
        shutil.rmtree(self._place.run, ignore_errors=True)

    def _keep_logs(self) -> None:
        kept = self._place.home / "failed-logs"
        shutil.rmtree(kept, ignore_errors=True)
        self._copy_logs(kept)
        print(f"the logs of the failed start are in {kept}", file=sys.stderr)

    def _copy_logs(self, folder: Path) -> None:
        sources = {"control-plane": self._place.logs}
        sources |= {f"node{index}": self._place.node(index).folder / "logs" for index in self.nodes}
        for name, source in sources.items():
            if source.exists():
                shutil.copytree(source, folder / name, dirs_exist_ok=True)

    # --- parts, made from what is on disk -----------------------------------------------------------------------

    @property
    def _binaries(self) -> Binaries:
        return build_binaries()

    @property
    def _clients(self) -> Clients:
        return Clients(self.kubectl_path, self.helm_path, self.kubeconfig, self.context, self._place.run / "clients")

    @property
    def _control_plane(self) -> ControlPlane:
        return ControlPlane(self._place, self._binaries, self._pki)

    def _inside(self, index: int) -> Namespaces:
        holder = self._table.get(f"node{index}-holder")
        if holder is None or not holder.alive:
            raise RuntimeError(
                f"cluster {self.name} has no node{index}: `python -m e2e.clusters up --name {self.name}`"
            )
        return Namespaces(holder)

    def _node(self, index: int) -> Node:
        place = self._place.node(index)
        config = NodeConfig(place, self._binaries, self._pki, f"{self._place.cgroup}/{place.name}")
        return Node(place, self._inside(index), config, self._table)

    def _cluster_ip(self, service: str) -> str:
        name, _, namespace = service.partition(".")
        return self.kubectl("-n", namespace, "get", "service", name, "-o", "jsonpath={.spec.clusterIP}")

    def _create(self, objects: list[dict[str, Any]]) -> None:
        body = json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})
        wait_for("the first objects", self._applied(body), timeout_s=60)

    def _applied(self, body: str) -> Callable[[], str]:
        return lambda: self.kubectl("apply", "--server-side", "-f", "-", stdin=body)

    def _recycle(self, volume: dict[str, Any]) -> None:
        folder = Path(volume["spec"]["local"]["path"])
        name = volume["metadata"]["name"]
        self.kubectl("delete", "persistentvolume", name)
        shutil.rmtree(folder)
        try:
            self._create([addons.volume(folder)])
        except CommandFailedError as error:
            raise RuntimeError(f"volume {name} could not be offered anew: {error}") from error

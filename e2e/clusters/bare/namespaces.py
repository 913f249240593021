"""Private net, mount and pid namespaces that hold the cluster: no uplink, and one kill ends all that is inside."""

from __future__ import annotations

import subprocess
from dataclasses import dataclass
from pathlib import Path

from e2e.clusters.bare.layout import SERVICE_CIDR, NodePlace
from e2e.clusters.bare.prerequisites import SYSTEM_PATH, find_tool
from e2e.clusters.bare.processes import Process, child_of, spawn


@dataclass(frozen=True)
class Namespaces:
    """The namespaces of a holder process."""

    holder: Process

    def wrap(self, command: list[str], *, env: dict[str, str] | None = None) -> list[str]:
        """The command line that runs a command inside."""
        pairs = [f"{key}={value}" for key, value in ({"PATH": SYSTEM_PATH} | (env or {})).items()]
        inside = ["--target", str(self.holder.pid), "--net", "--mount", "--pid"]
        return [find_tool("nsenter"), *inside, "--", "/usr/bin/env", *pairs, *command]

    def run(self, command: list[str], *, timeout_s: float = 60) -> str:
        """Run a command inside and return what it prints; its own words are in the error."""
        done = subprocess.run(
            self.wrap(command), capture_output=True, text=True, timeout=timeout_s, stdin=subprocess.DEVNULL, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)} failed (exit {done.returncode}): {done.stderr.strip()[-2000:]}")
        return done.stdout

    def spawn(self, command: list[str], *, log: Path, env: dict[str, str] | None = None) -> Process:
        """Start a long-running program inside; the process is the program itself, not its wrapper."""
        return child_of(spawn(self.wrap(command, env=env), log=log))


def make_namespaces(pause: str, node: NodePlace, *, inside: Namespaces | None = None) -> Namespaces:
    """New namespaces, nested in others for a further node; nothing is set up in them yet."""
    flags = ["--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
    command = [find_tool("unshare"), *flags, pause]
    log = node.folder / "holder.log"
    wrapper = inside.spawn(command, log=log).pid if inside else spawn(command, log=log)
    return Namespaces(child_of(wrapper))


def mount_private_folders(made: Namespaces, node: NodePlace) -> None:
    """Put folders of the node's own where kubelet, CNI and containerd have fixed paths."""
    made.run(["mount", "--make-rshared", "/"])
    for target, source in node.private_folders.items():
        source.mkdir(parents=True, exist_ok=True)
        Path(target).mkdir(parents=True, exist_ok=True)
        made.run(["mount", "--bind", str(source), target])
        made.run(["mount", "--make-rshared", target])


def set_up_first_node_network(inside: Namespaces, node: NodePlace) -> None:
    """Loopback, a bridge with no port to the outside, and the services' range routed into it as a sink."""
    inside.run(["ip", "link", "set", "lo", "up"])
    inside.run(["ip", "link", "add", "node0", "type", "bridge"])
    inside.run(["ip", "address", "add", f"{node.address}/24", "dev", "node0"])
    inside.run(["ip", "link", "set", "node0", "up"])
    inside.run(["ip", "route", "add", SERVICE_CIDR, "dev", "node0"])
    inside.run(["sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.route_localnet=1"])


def join_node_network(
    first: Namespaces, other: Namespaces, *, node: NodePlace, peers: list[tuple[int, Namespaces]]
) -> None:
    """Plug a further node into the first one's bridge, and route the pods' ranges between all nodes."""
    pid = str(_pid_one_level_up(other))
    link = f"n{node.index}h"
    first.run(["ip", "link", "add", link, "type", "veth", "peer", "name", "eth0", "netns", pid])
    first.run(["ip", "link", "set", link, "master", "node0", "up"])
    other.run(["ip", "link", "set", "lo", "up"])
    other.run(["ip", "address", "add", f"{node.address}/24", "dev", "eth0"])
    other.run(["ip", "link", "set", "eth0", "up"])
    other.run(["ip", "link", "add", "sink0", "type", "bridge"])
    other.run(["ip", "link", "set", "sink0", "up"])
    other.run(["ip", "route", "add", SERVICE_CIDR, "dev", "sink0"])
    other.run(["sysctl", "-qw", "net.ipv4.ip_forward=1"])
    for index, peer in peers:
        peer.run(["ip", "route", "replace", node.pod_cidr, "via", node.address])
        other.run(["ip", "route", "add", f"10.79.{index}.0/24", "via", f"10.77.0.{index}"])


def _pid_one_level_up(inner: Namespaces) -> int:
    """The pid that a nested holder has in the pid namespace around its own."""
    status = Path(f"/proc/{inner.holder.pid}/status").read_text()
    pids = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
    return int(pids[-2])

"""The configuration files of one node: containerd, CNI, kubelet and kube-proxy."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from e2e.clusters.bare.binaries import Binaries
from e2e.clusters.bare.layout import DNS_SERVICE_ADDRESS, POD_CIDR, RUNTIME_DIR, NodePlace
from e2e.clusters.bare.pki import Pki
from e2e.clusters.bare.prerequisites import find_tool

CONTAINERD_SOCKET = RUNTIME_DIR / "containerd.sock"
PAUSE_IMAGE = "localhost/yolofleet/pause:dev"
_CONTAINERD = """version = 3
root = "{root}"
state = "{runtime}/containerd"
disabled_plugins = [
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.zfs", "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.blockfile", "io.containerd.snapshotter.v1.erofs", "io.containerd.differ.v1.erofs",
  "io.containerd.nri.v1.nri",
]
[grpc]
  address = "{socket}"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "{pause}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
  bin_dirs = ["{binaries}"]
  conf_dir = "{cni}"
[plugins."io.containerd.cri.v1.runtime".containerd]
  default_runtime_name = "runc"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
  runtime_type = "io.containerd.runc.v2"
[plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
  BinaryName = "{runc}"
  SystemdCgroup = false
"""


@dataclass(frozen=True)
class NodeConfig:
    """Writes a node's files and knows the command lines that read them."""

    node: NodePlace
    binaries: Binaries
    pki: Pki
    cgroup: str

    @property
    def _folder(self) -> Path:
        return self.node.folder / "config"

    def write(self) -> None:
        """All files, from the values of this node."""
        (self._folder / "cni").mkdir(parents=True, exist_ok=True)
        self._containerd_file.write_text(self._containerd_config())
        self._save("cni/10-bench.conflist", self._cni())
        self._save("kubelet.yaml", self._kubelet_config())
        self._save("proxy.yaml", self._proxy_config())

    @property
    def _containerd_file(self) -> Path:
        return self._folder / "containerd.toml"

    def containerd(self) -> list[str]:
        return [self.binaries.path("containerd"), "--config", str(self._containerd_file)]

    def kubelet(self) -> list[str]:
        """`--v=2`, as most clusters run it."""
        return [
            self.binaries.path("kubelet"),
            f"--config={self._folder / 'kubelet.yaml'}",
            f"--kubeconfig={self.pki.kubeconfig(self.node.name)}",
            f"--hostname-override={self.node.name}",
            f"--node-ip={self.node.address}",
            "--v=2",
        ]

    def proxy(self) -> list[str]:
        return [
            self.binaries.path("kube-proxy"),
            f"--config={self._folder / 'proxy.yaml'}",
            f"--hostname-override={self.node.name}",
            "--v=2",
        ]

    def ctr(self, *arguments: str) -> list[str]:
        """A command for the node's containerd, in the kubelet's namespace of images."""
        return [self.binaries.path("ctr"), "--address", str(CONTAINERD_SOCKET), "--namespace", "k8s.io", *arguments]

    def _save(self, name: str, value: dict[str, Any]) -> None:
        (self._folder / name).write_text(json.dumps(value, indent=1))

    def _containerd_config(self) -> str:
        return _CONTAINERD.format(
            root=self.node.images,
            runtime=RUNTIME_DIR,
            socket=CONTAINERD_SOCKET,
            pause=PAUSE_IMAGE,
            binaries=self.binaries.folder,
            cni=self._folder / "cni",
            runc=find_tool("runc"),
        )

    def _cni(self) -> dict[str, Any]:
        ipam = {
            "type": "host-local",
            "dataDir": str(RUNTIME_DIR / "ipam"),
            "ranges": [[{"subnet": self.node.pod_cidr}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        }
        return {
            "cniVersion": "1.0.0",
            "name": "bench",
            "plugins": [{"type": "ptp", "ipMasq": False, "mtu": 1500, "ipam": ipam}],
        }

    def _kubelet_config(self) -> dict[str, Any]:
        name = self.node.name
        return {
            "apiVersion": "kubelet.config.k8s.io/v1beta1",
            "kind": "KubeletConfiguration",
            "failCgroupV1": False,
            "cgroupDriver": "cgroupfs",
            "cgroupRoot": f"/{self.cgroup}",
            "containerRuntimeEndpoint": f"unix://{CONTAINERD_SOCKET}",
            "address": "0.0.0.0",
            "readOnlyPort": 0,
            "authentication": {
                "anonymous": {"enabled": False},
                "webhook": {"enabled": True},
                "x509": {"clientCAFile": self.pki.certificate("ca")},
            },
            "authorization": {"mode": "Webhook"},
            "tlsCertFile": self.pki.certificate(f"{name}-server"),
            "tlsPrivateKeyFile": self.pki.key(f"{name}-server"),
            "clusterDomain": "cluster.local",
            "clusterDNS": [DNS_SERVICE_ADDRESS],
            "resolvConf": "/dev/null",
            "failSwapOn": False,
            "makeIPTablesUtilChains": False,
            "maxPods": 200,
            "serializeImagePulls": False,
            "imageGCHighThresholdPercent": 100,
            "evictionHard": {"memory.available": "50Mi", "nodefs.available": "1%", "imagefs.available": "1%"},
            "nodeLeaseDurationSeconds": 8,  # a heartbeat each 2 s, so that a story may shorten the grace period
            "crashLoopBackOff": {"maxContainerRestartPeriod": "3s"},  # a story kills more often than a year does
            "nodeStatusUpdateFrequency": "1s",
            "nodeStatusReportFrequency": "20s",
            "syncFrequency": "5s",
            "configMapAndSecretChangeDetectionStrategy": "Watch",
            "kubeAPIQPS": 200,
            "kubeAPIBurst": 400,
            "registryPullQPS": 0,
        }

    def _proxy_config(self) -> dict[str, Any]:
        return {
            "apiVersion": "kubeproxy.config.k8s.io/v1alpha1",
            "kind": "KubeProxyConfiguration",
            "mode": "nftables",
            "clientConnection": {"kubeconfig": self.pki.kubeconfig("proxy")},
            "clusterCIDR": POD_CIDR,
            "bindAddress": "127.0.0.1",
            "healthzBindAddress": "127.0.0.1:10256",
            "metricsBindAddress": "127.0.0.1:10249",
            "nodePortAddresses": [f"{self.node.address}/32"],
            "nftables": {"minSyncPeriod": "100ms"},
            "conntrack": {"maxPerCore": 0, "min": 0, "tcpEstablishedTimeout": "0s", "tcpCloseWaitTimeout": "0s"},
        }

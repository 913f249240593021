"""The command lines of etcd, the API server, the controller manager, the scheduler and the cluster's DNS."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from e2e.clusters.bare.binaries import Binaries
from e2e.clusters.bare.layout import API_ADDRESS, API_PORT, POD_CIDR, SERVICE_CIDR, ClusterPlace
from e2e.clusters.bare.pki import Pki

_ETCD_CLIENTS = "http://127.0.0.1:23790"
_ETCD_PEERS = "http://127.0.0.1:23800"
DNS_READY_PORT = 8191
_COREFILE = """.:53 {
    errors
    health 127.0.0.1:8090
    ready 127.0.0.1:8191
    kubernetes cluster.local in-addr.arpa {
        kubeconfig KUBECONFIG
        pods insecure
    }
    cache 5
}
"""


@dataclass(frozen=True)
class ControlPlane:
    """What to run, in the order in which it must come up."""

    place: ClusterPlace
    binaries: Binaries
    pki: Pki

    def etcd(self) -> list[str]:
        """One member; it does not wait for the disk, since nothing here outlives the machine."""
        return [
            self.binaries.path("etcd"),
            f"--data-dir={self.place.run / 'etcd'}",
            f"--listen-client-urls={_ETCD_CLIENTS}",
            f"--advertise-client-urls={_ETCD_CLIENTS}",
            f"--listen-peer-urls={_ETCD_PEERS}",
            f"--initial-advertise-peer-urls={_ETCD_PEERS}",
            f"--initial-cluster=default={_ETCD_PEERS}",
            "--unsafe-no-fsync",
        ]

    def apiserver(self) -> list[str]:
        """Default admission, with NodeRestriction as any installer has it."""
        pki = self.pki
        return [
            self.binaries.path("kube-apiserver"),
            f"--etcd-servers={_ETCD_CLIENTS}",
            "--bind-address=0.0.0.0",
            f"--advertise-address={API_ADDRESS}",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={pki.certificate('apiserver')}",
            f"--tls-private-key-file={pki.key('apiserver')}",
            f"--client-ca-file={pki.certificate('ca')}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={pki.folder / 'sa.pub'}",
            f"--service-account-signing-key-file={pki.key('sa')}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            f"--kubelet-client-certificate={pki.certificate('apiserver-kubelet')}",
            f"--kubelet-client-key={pki.key('apiserver-kubelet')}",
            f"--kubelet-certificate-authority={pki.certificate('ca')}",
            "--kubelet-preferred-address-types=InternalIP",
            "--allow-privileged=true",
        ]

    def controller_manager(self) -> list[str]:
        """Quick to notice volumes, claims and what an HPA sees, so that a story need not wait for a resync."""
        return [
            self.binaries.path("kube-controller-manager"),
            *self._identity("controller-manager"),
            "--use-service-account-credentials",
            f"--service-account-private-key-file={self.pki.key('sa')}",
            f"--root-ca-file={self.pki.certificate('ca')}",
            f"--cluster-signing-cert-file={self.pki.certificate('ca')}",
            f"--cluster-signing-key-file={self.pki.key('ca')}",
            f"--cluster-cidr={POD_CIDR}",
            "--pvclaimbinder-sync-period=2s",
            "--resource-quota-sync-period=10s",
            "--horizontal-pod-autoscaler-sync-period=3s",
            "--leader-elect=false",
        ]

    def scheduler(self) -> list[str]:
        """The scheduler as it is."""
        return [self.binaries.path("kube-scheduler"), *self._identity("scheduler"), "--leader-elect=false"]

    def coredns(self) -> list[str]:
        """CoreDNS as a plain process on the first node's address."""
        corefile = self.place.run / "Corefile"
        corefile.write_text(_COREFILE.replace("KUBECONFIG", self.pki.kubeconfig("coredns")))
        return [self.binaries.path("coredns"), "-conf", str(corefile)]

    def _identity(self, name: str) -> list[str]:
        kubeconfig = self.pki.kubeconfig(name)
        flags = ("kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig")
        return [*(f"--{flag}={kubeconfig}" for flag in flags), "--bind-address=127.0.0.1"]


def relay_command(python: str, socket: Path) -> list[str]:
    """The end of the relay that stands inside."""
    return [python, str(Path(__file__).with_name("relay.py")), "inside", str(socket)]

"""Certificates and kubeconfigs of a cluster, made by openssl; they live as long as the cluster does."""

from __future__ import annotations

import base64
import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from e2e.clusters.bare.layout import API_ADDRESS, API_PORT, API_SERVICE_ADDRESS, NodePlace
from e2e.clusters.bare.prerequisites import find_tool

INSIDE_SERVER = f"https://{API_ADDRESS}:{API_PORT}"
_DAYS = "30"
_CLIENTS = {
    "admin": "/O=system:masters/CN=admin",
    "apiserver-kubelet": "/O=system:masters/CN=apiserver-kubelet",
    "controller-manager": "/CN=system:kube-controller-manager",
    "scheduler": "/CN=system:kube-scheduler",
    "proxy": "/CN=system:kube-proxy",
    "coredns": "/CN=coredns",
}
_API_NAMES = (
    "kubernetes",
    "kubernetes.default",
    "kubernetes.default.svc",
    "kubernetes.default.svc.cluster.local",
    "localhost",
)


@dataclass(frozen=True)
class Pki:
    """A folder with the authority, the keys signed by it, and kubeconfigs."""

    folder: Path

    def certificate(self, name: str) -> str:
        return str(self.folder / f"{name}.crt")

    def key(self, name: str) -> str:
        return str(self.folder / f"{name}.key")

    def kubeconfig(self, name: str) -> str:
        return str(self.folder / f"{name}.kubeconfig")

    def make(self) -> None:
        """The authority, the API server's pair, the service accounts' key and one client per component."""
        self.folder.mkdir(parents=True, mode=0o700)
        self._new_key("ca")
        self._openssl(
            "req", "-x509", "-new", "-key", "ca.key", "-days", _DAYS, "-subj", "/CN=yolofleet-bench", "-out", "ca.crt"
        )
        self._openssl("genrsa", "-out", "sa.key", "2048")
        self._openssl("rsa", "-in", "sa.key", "-pubout", "-out", "sa.pub")
        names = [f"DNS:{name}" for name in _API_NAMES]
        addresses = [f"IP:{address}" for address in ("127.0.0.1", API_ADDRESS, API_SERVICE_ADDRESS)]
        self._sign("apiserver", "/CN=kube-apiserver", usage="serverAuth", names=names + addresses)
        for name, subject in _CLIENTS.items():
            self._sign(name, subject, usage="clientAuth")
            self.write_kubeconfig(name)

    def make_node(self, node: NodePlace) -> None:
        """The kubelet's serving pair and its client identity."""
        names = [f"DNS:{node.name}", "DNS:localhost", "IP:127.0.0.1", f"IP:{node.address}"]
        self._sign(f"{node.name}-server", f"/CN={node.name}", usage="serverAuth", names=names)
        self._sign(node.name, f"/O=system:nodes/CN=system:node:{node.name}", usage="clientAuth")
        self.write_kubeconfig(node.name)

    def write_kubeconfig(
        self, name: str, *, server: str = INSIDE_SERVER, to: Path | None = None, context: str = "bench"
    ) -> None:
        """A kubeconfig with everything embedded (JSON, which is YAML too)."""
        cluster = {"server": server, "certificate-authority-data": self._embed(self.certificate("ca"))}
        user = {
            "client-certificate-data": self._embed(self.certificate(name)),
            "client-key-data": self._embed(self.key(name)),
        }
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": context, "cluster": cluster}],
            "users": [{"name": name, "user": user}],
            "contexts": [{"name": context, "context": {"cluster": context, "user": name}}],
            "current-context": context,
        }
        target = to or Path(self.kubeconfig(name))
        target.write_text(json.dumps(config, indent=1))
        target.chmod(0o600)

    @staticmethod
    def _embed(path: str) -> str:
        return base64.b64encode(Path(path).read_bytes()).decode()

    def _new_key(self, name: str) -> None:
        self._openssl("ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", f"{name}.key")

    def _sign(self, name: str, subject: str, *, usage: str, names: list[str] | None = None) -> None:
        self._new_key(name)
        self._openssl("req", "-new", "-key", f"{name}.key", "-subj", subject, "-out", f"{name}.csr")
        lines = [f"extendedKeyUsage={usage}"] + ([f"subjectAltName={','.join(names)}"] if names else [])
        (self.folder / f"{name}.ext").write_text("\n".join(lines))
        authority = ["-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial", "-days", _DAYS]
        self._openssl(
            "x509", "-req", "-in", f"{name}.csr", *authority, "-extfile", f"{name}.ext", "-out", f"{name}.crt"
        )

    def _openssl(self, *arguments: str) -> None:
        done = subprocess.run(
            [find_tool("openssl"), *arguments], cwd=self.folder, capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise RuntimeError(f"openssl {arguments[0]} failed: {done.stderr.strip()[-500:]}")

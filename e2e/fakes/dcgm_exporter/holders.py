"""Who holds which device, from the kubelet's pod-resources API, and where those pods answer, from the API server."""

from __future__ import annotations

import base64
import json
import ssl
import tempfile
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import grpc
import yaml

from e2e.fakes.dcgm_exporter import podresources_pb2 as api
from e2e.fakes.dcgm_exporter.page import Holder

_TIMEOUT_S = 2


def holders(socket: Path) -> dict[str, Holder]:
    """Return the holder of each device; nobody holds anything while the kubelet is away."""
    with grpc.insecure_channel(f"unix:{socket}") as channel:
        call = channel.unary_unary(
            "/v1.PodResourcesLister/List",
            request_serializer=api.ListPodResourcesRequest.SerializeToString,
            response_deserializer=api.ListPodResourcesResponse.FromString,
        )
        try:
            told = call(api.ListPodResourcesRequest(), timeout=_TIMEOUT_S)
        except grpc.RpcError:
            return {}
    return {
        device: Holder(container.name, pod.namespace, pod.name)
        for pod in told.pod_resources
        for container in pod.containers
        for group in container.devices
        for device in group.device_ids
    }


class PodAddresses:
    """The addresses of this node's pods, asked for with the node's own identity; known ones outlive the API server."""

    def __init__(self, kubeconfig: Path, node: str) -> None:
        config = yaml.safe_load(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self._url = f"{cluster['server']}/api/v1/pods?fieldSelector=spec.nodeName%3D{node}"
        self._tls = ssl.create_default_context(cadata=_text(cluster, "certificate-authority"))
        with tempfile.NamedTemporaryFile("w") as both:
            both.write(_text(user, "client-certificate") + "\n" + _text(user, "client-key"))
            both.flush()
            self._tls.load_cert_chain(both.name)
        self._known: dict[tuple[str, str], str] = {}

    def of(self, wanted: set[tuple[str, str]]) -> dict[tuple[str, str], str]:
        """Return the address of each pod (namespace, name) that has one; only new ones are asked for."""
        if wanted - set(self._known):
            self._ask()
        self._known = {pod: address for pod, address in self._known.items() if pod in wanted}
        return dict(self._known)

    def _ask(self) -> None:
        try:
            with urlopen(Request(self._url), timeout=_TIMEOUT_S, context=self._tls) as answer:
                pods: list[dict[str, Any]] = json.load(answer)["items"]
        except OSError:
            return
        for pod in pods:
            if address := pod["status"].get("podIP"):
                self._known[pod["metadata"]["namespace"], pod["metadata"]["name"]] = address


def _text(section: dict[str, str], key: str) -> str:
    """Return a PEM text of a kubeconfig, which holds it, or names its file."""
    if f"{key}-data" in section:
        return base64.b64decode(section[f"{key}-data"]).decode()
    return Path(section[key]).read_text()

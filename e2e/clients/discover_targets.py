"""Runs beside Prometheus: tells it the targets of the cluster, since Debian's build has no discovery of Kubernetes.

Lists Pods, Services and EndpointSlices each second with the pod's own token, and writes FOLDER/pods.json and
FOLDER/services.json for `file_sd_configs`, with the labels `__meta_kubernetes_…` that `kubernetes_sd_configs` gives
for the roles pod and endpointslice: relabelling is then as everywhere.
"""

from __future__ import annotations

import json
import re
import ssl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

Object = dict[str, Any]
META = "__meta_kubernetes_"
ACCOUNT = Path("/var/run/secrets/kubernetes.io/serviceaccount")
SERVER = "https://kubernetes.default.svc"


def flattened(kind: str, found: Object) -> dict[str, str]:
    """Return labels and annotations of an object as discovery names them."""
    made = {f"{META}{kind}_name": found["metadata"]["name"], f"{META}namespace": found["metadata"]["namespace"]}
    for part, word in (("labels", "label"), ("annotations", "annotation")):
        for key, value in (found["metadata"].get(part) or {}).items():
            made[f"{META}{kind}_{word}_{re.sub(r'[^A-Za-z0-9_]', '_', key)}"] = value
    return made


def pod_targets(pods: list[Object]) -> Iterator[Object]:
    """Yield one target for each declared port of each pod that has an address."""
    for pod in pods:
        address = pod.get("status", {}).get("podIP")
        if not address:
            continue
        told = flattened("pod", pod)
        told |= {f"{META}pod_ip": address, f"{META}pod_phase": pod["status"].get("phase", "")}
        told |= {f"{META}pod_node_name": pod["spec"].get("nodeName", "")}
        for container in pod["spec"]["containers"]:
            for port in container.get("ports", []):
                named = {f"{META}pod_container_name": container["name"]}
                yield {"targets": [f"{address}:{port['containerPort']}"], "labels": told | named}


def service_targets(services: list[Object], slices: list[Object]) -> Iterator[Object]:
    """Yield one target for each address and port of each EndpointSlice, with the labels of its Service."""
    known = {(s["metadata"]["namespace"], s["metadata"]["name"]): flattened("service", s) for s in services}
    for found in slices:
        name = (found["metadata"].get("labels") or {}).get("kubernetes.io/service-name", "")
        told = known.get((found["metadata"]["namespace"], name))
        if told is None:
            continue
        for endpoint in found.get("endpoints") or []:
            addresses = [f"{a}:{port['port']}" for a in endpoint["addresses"] for port in found.get("ports") or []]
            yield {"targets": addresses, "labels": told}


def listed(path: str, tls: ssl.SSLContext) -> list[Object]:
    """Return all objects of a kind."""
    token = (ACCOUNT / "token").read_text()
    request = Request(f"{SERVER}{path}", headers={"Authorization": f"Bearer {token}"})
    with urlopen(request, timeout=5, context=tls) as answer:
        items: list[Object] = json.load(answer)["items"]
    return items


def write(path: Path, targets: list[Object]) -> None:
    """Replace a file of targets whole, and only when it changes."""
    text = json.dumps(targets, sort_keys=True)
    if not path.exists() or path.read_text() != text:
        staged = path.with_suffix(".new")
        staged.write_text(text)
        staged.replace(path)


def main(folder: Path) -> None:
    """Look each second; an API server that is away leaves the targets as they are."""
    tls = ssl.create_default_context(cafile=str(ACCOUNT / "ca.crt"))
    while True:
        try:
            pods = listed("/api/v1/pods", tls)
            slices = listed("/apis/discovery.k8s.io/v1/endpointslices", tls)
            services = listed("/api/v1/services", tls)
        except OSError as error:
            print(f"cannot list: {error}", flush=True)
        else:
            write(folder / "pods.json", list(pod_targets(pods)))
            write(folder / "services.json", list(service_targets(services, slices)))
        time.sleep(1)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

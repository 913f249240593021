"""A real etcd and a real API server, alone in this process' own namespaces, with the chart installed by Helm."""

from __future__ import annotations

import asyncio
import json
import re
import shutil
import subprocess
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson
from kubernetes.aio import config
from kubernetes.aio.client import Configuration

from e2e.cache import REPOSITORY
from e2e.clusters.bare.binaries import Binaries
from e2e.clusters.bare.control_plane import ControlPlane
from e2e.clusters.bare.layout import API_ADDRESS, ClusterPlace
from e2e.clusters.bare.pki import INSIDE_SERVER, Pki
from e2e.clusters.bare.prerequisites import find_tool
from e2e.clusters.kubectl import Clients, CommandFailedError
from yolofleet.kube import Kube, Resource

Object = dict[str, Any]
T = TypeVar("T")
CHART = REPOSITORY / "charts" / "yolofleet"
SYSTEM = "yolofleet-system"
CONCURRENCY = 20
OWN = frozenset({"leases", "ipaddresses"})
"""What the API server writes for itself: its heartbeat, and one object for each Service's address."""
SERVICE_CIDR = "10.96.0.0/12"
"""Room for a Service per YoloDeployment; the bench's usual range has 254 addresses."""
WRITES = frozenset({"POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION"})
_SERIES = re.compile(r"^apiserver_request_total\{(?P<labels>.*)\} (?P<value>\S+)$", re.MULTILINE)
_LABEL = re.compile(r'(\w+)="([^"]*)"')

Requests = Counter[tuple[str, str]]
"""Requests by (verb, resource); a subresource is written `yolodeployments/status`."""


@dataclass(frozen=True)
class ApiServer:
    """The running server: its files, its command-line clients, and a connection as an administrator."""

    place: ClusterPlace
    clients: Clients
    kube: Kube

    async def requests(self) -> Requests:
        """What the server has counted so far, by its own metrics, without what it does for itself."""
        page = await self._text("/metrics")
        counted: Requests = Counter()
        for series in _SERIES.finditer(page):
            labels = dict(_LABEL.findall(series["labels"]))
            resource = "/".join(part for part in (labels["resource"], labels["subresource"]) if part)
            if resource not in OWN:
                counted[(labels["verb"], resource)] += int(float(series["value"]))
        return counted

    async def count(self, resource: Resource, *, namespace: str | None = None) -> int:
        """How many objects of a kind there are, for the price of one."""
        page = await self.kube.request("GET", resource.path(namespace), params={"limit": "1"})
        return len(page.get("items") or []) + int(page["metadata"].get("remainingItemCount", 0))

    async def _text(self, path: str) -> str:
        pool = self.kube._pool()  # noqa: SLF001 - its JSON alone is public
        async with pool.get(f"{INSIDE_SERVER}{path}") as response:
            response.raise_for_status()
            return await response.text()

    def settings(self) -> str:
        """The operator's settings as the chart wrote them."""
        told = self.clients.kubectl("-n", SYSTEM, "get", "configmap", "yolofleet-settings", "-o", "json")
        return str(json.loads(told)["data"]["settings.yaml"])

    def operator_kubeconfig(self) -> Path:
        """A kubeconfig with a token of the chart's own ServiceAccount: the operator has the chart's rights, no more."""
        token = self.clients.kubectl("-n", SYSTEM, "create", "token", "yolofleet", "--duration=24h").strip()
        made = json.loads(self.clients.kubeconfig.read_text())
        made["users"] = [{"name": "admin", "user": {"token": token}}]
        target = self.place.run / "operator.kubeconfig"
        target.touch(mode=0o600)
        target.write_text(json.dumps(made))
        return target

    async def as_operator(self) -> Kube:
        """A connection with the operator's own rights, and judged by the same fences; the caller closes it."""
        configuration = Configuration()
        await config.load_kube_config(config_file=str(self.operator_kubeconfig()), client_configuration=configuration)
        return Kube(configuration)


def enter_network() -> None:
    """Give these namespaces the loopback and the one address that the API server is known by."""
    for arguments in (["link", "set", "lo", "up"], ["address", "add", f"{API_ADDRESS}/24", "dev", "lo"]):
        subprocess.run([find_tool("ip"), *arguments], check=True)


@asynccontextmanager
async def api_server(binaries: Binaries, name: str) -> AsyncIterator[ApiServer]:
    """Start an empty etcd and an API server, install the chart, and end both afterwards."""
    place = ClusterPlace(name)
    shutil.rmtree(place.run, ignore_errors=True)
    place.run.mkdir(parents=True)
    pki = Pki(place.pki)
    pki.make()
    plane = ControlPlane(place, binaries, pki)
    kubeconfig = Path(pki.kubeconfig("admin"))
    clients = Clients(binaries.path("kubectl"), binaries.path("helm"), kubeconfig, "bench", place.run / "clients")
    etcd = _start(place, "etcd", plane.etcd())
    server = _start(place, "apiserver", [*plane.apiserver(), f"--service-cluster-ip-range={SERVICE_CIDR}"])
    configuration = Configuration()
    kube = None
    try:
        await _ready(clients, place)
        clients.helm("install", "yolofleet", str(CHART), "--namespace", SYSTEM, "--create-namespace")
        await config.load_kube_config(config_file=str(kubeconfig), client_configuration=configuration)
        kube = Kube(configuration)
        yield ApiServer(place, clients, kube)
    finally:
        if kube is not None:
            await kube.close()
        for process in (server, etcd):
            process.kill()  # nothing of theirs is kept
            process.wait(30)
        shutil.rmtree(place.run, ignore_errors=True)


def _start(place: ClusterPlace, part: str, command: list[str]) -> subprocess.Popen[bytes]:
    place.logs.mkdir(exist_ok=True)
    with (place.logs / f"{part}.log").open("wb") as log:
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


async def _ready(clients: Clients, place: ClusterPlace, *, attempts: int = 300) -> None:
    for _ in range(attempts):
        try:
            clients.kubectl("get", "--raw", "/readyz", timeout_s=5)
            clients.kubectl("get", "namespace", "default", timeout_s=5)
        except (CommandFailedError, subprocess.TimeoutExpired):
            await asyncio.sleep(0.2)
        else:
            return
    tail = (place.logs / "apiserver.log").read_text()[-2000:]
    raise RuntimeError(f"the API server did not get ready in {attempts * 0.2:.0f} s; its last words:\n{tail}")


async def all_of(acts: Iterable[Awaitable[T]], *, at_once: int = CONCURRENCY) -> list[T]:
    """Await many requests, a bounded number at once."""
    slots = asyncio.Semaphore(at_once)

    async def one(act: Awaitable[T]) -> T:
        async with slots:
            return await act

    return await asyncio.gather(*(one(act) for act in acts))


async def watch(kube: Kube, resource: Resource, since: str) -> AsyncIterator[Object]:
    """Yield the objects that change from a version on, each as it is then."""
    async for event in kube.watch(resource, since=since, seconds=3600):
        if event["type"] in ("ADDED", "MODIFIED"):
            yield event["object"]


def compact(document: Object) -> Object:
    """Return a copy that shares nothing with what a page of a list holds."""
    copied: Object = orjson.loads(orjson.dumps(document))
    return copied

"""A fleet without a kubelet: nodes with MIG slices, published engines, YoloDeployments, and what controllers would say.

Everything is an object of the real API server. What no operator writes (nodes, the deployments' own specs, the
status of Deployments and their pods) is written here; engines stand as the operator leaves them after a build, but
without owners, since naming those is part of a cold start.
"""

from __future__ import annotations

import asyncio
import math
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import yaml

from e2e.bench.api_server import ApiServer, all_of, compact
from e2e.fakes import gpus
from yolofleet.api import API_VERSION
from yolofleet.api.build import Artifact
from yolofleet.api.recipe import Builder
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.kube import Resource
from yolofleet.observe import reading
from yolofleet.observe.resources import DEPLOYMENT, MIGPOOL, NODE, POD, YOLODEPLOYMENT, YOLOENGINE
from yolofleet.planning.builds.building import step
from yolofleet.planning.plan import EngineOwners, plan
from yolofleet.planning.snapshot import Policy, Snapshot
from yolofleet.render.engines import engine as engine_manifest
from yolofleet.render.meta import SELECTOR
from yolofleet.render.status import engine_status
from yolofleet.settings import Settings

Object = dict[str, Any]
SLICE = "nvidia.com/mig-1g.10gb"
SLICES_PER_NODE = 8 * 7
SPARE = 1.25
NAMESPACES = 10
HEARTBEAT_S = 300
"""A kubelet whose node does not change posts its status this often."""
_NAMESPACE = Resource("v1", "Namespace", "namespaces")


@dataclass(frozen=True)
class Size:
    """How large a fleet is: YoloDeployments, and the engines that they share, over ten namespaces."""

    deployments: int
    engines: int
    pods: bool = False

    @property
    def nodes(self) -> int:
        """Nodes of eight H100s in seven slices each, with a quarter more slices than deployments."""
        return math.ceil(self.deployments * SPARE / SLICES_PER_NODE)

    @property
    def namespaces(self) -> list[str]:
        return [f"site-{index:02d}" for index in range(min(NAMESPACES, self.engines))]

    def names(self) -> list[tuple[str, str]]:
        """Namespace and name of every YoloDeployment."""
        spaces = self.namespaces
        return [(spaces[index % len(spaces)], f"cameras-{index:05d}") for index in range(self.deployments)]


async def lay_out(server: ApiServer, size: Size) -> None:
    """Create namespaces, nodes, the default MigPool, engines and YoloDeployments."""
    kube = server.kube
    for name in size.namespaces:
        await kube.request("POST", "/api/v1/namespaces", body={"metadata": {"name": name}})
    await all_of(_node(server, index) for index in range(size.nodes))
    pool = {"nodeSelector": {"matchLabels": {"nvidia.com/gpu.present": "true"}}}
    await kube.create(MIGPOOL, _object("MigPool", "default", pool))
    per_namespace = max(1, size.engines // len(size.namespaces))
    kinds = [_spec(index % per_namespace) for index in range(per_namespace)]
    engines = await _engines(server, kinds)
    await all_of(_engine(server, namespace, *made) for namespace in size.namespaces for made in engines)
    spaces = len(size.namespaces)
    await all_of(
        kube.create(YOLODEPLOYMENT, _object("YoloDeployment", name, kinds[index // spaces % per_namespace], namespace))
        for index, (namespace, name) in enumerate(size.names())
    )


def _object(kind: str, name: str, spec: Object, namespace: str | None = None) -> Object:
    meta = {"name": name} | ({"namespace": namespace} if namespace else {})
    return {"apiVersion": API_VERSION, "kind": kind, "metadata": meta, "spec": spec}


def _spec(kind: int) -> Object:
    """Return the spec of the README's cameras; the largest batch tells one engine from another."""
    return {
        "model": {"builtin": "yolo26n"},
        "demand": {"streams": 4, "framesPerSecond": "15"},
        "objective": {"p99LatencyMilliseconds": 50},
        "engine": {"maxBatchSize": 8 + kind},
    }


async def _node(server: ApiServer, index: int) -> None:
    layout = {SLICE: SLICES_PER_NODE}
    name = f"h100-{index:04d}"
    labels = gpus.labels(layout) | {"kubernetes.io/hostname": name}
    made = {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}
    await server.kube.create(NODE, made)
    capacity = {"cpu": "192", "memory": "2Ti", "pods": "250", SLICE: str(SLICES_PER_NODE)}
    status = {"capacity": capacity, "allocatable": capacity, "conditions": [_ready(datetime.now(UTC))]}
    await _say(server, NODE, None, name, status)


def _ready(now: datetime) -> Object:
    told = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    return {"type": "Ready", "status": "True", "reason": "KubeletReady", "lastHeartbeatTime": told}


async def _say(server: ApiServer, resource: Resource, namespace: str | None, name: str, status: Object) -> Object:
    """Write a status as a controller or kubelet would."""
    return await server.kube.request(
        "PATCH",
        resource.path(namespace, name, "status"),
        params={"fieldManager": "stand-in"},
        body={"status": status},
        content_type="application/strategic-merge-patch+json"
        if not resource.api_version.startswith("yolofleet")
        else "application/merge-patch+json",
    )


async def beat(server: ApiServer, size: Size) -> None:
    """Post every node's heartbeat at the kubelets' pace, for ever."""
    index = 0
    while True:
        await asyncio.sleep(HEARTBEAT_S / size.nodes)
        await _say(server, NODE, None, f"h100-{index % size.nodes:04d}", {"conditions": [_ready(datetime.now(UTC))]})
        index += 1


async def _engines(server: ApiServer, kinds: list[Object]) -> list[tuple[Object, Object]]:
    """Return manifest and status of every engine that the operator's own planning asks for."""
    settings = Settings.model_validate(yaml.safe_load(server.settings()))
    builds = settings.builds
    builder = Builder(image=settings.images.builder, version=builds.version, tensorrt_version=builds.tensorrt_version)
    policy = Policy(builder=builder, backoff_s=builds.backoff_seconds)
    nodes = [reading.node(await server.kube.get(NODE, namespace=None, name="h100-0000"))]
    pools = [reading.pool(await server.kube.get(MIGPOOL, namespace=None, name="default"))]
    asked = [
        await server.kube.request(
            "POST",
            YOLODEPLOYMENT.path("default"),
            params={"dryRun": "All"},
            body=_object("YoloDeployment", f"kind-{index}", spec, "default"),
        )
        for index, spec in enumerate(kinds)
    ]
    views = tuple(reading.deployment(obj, groups=(), pods=(), refusals=()) for obj in asked)
    now = datetime.now(UTC)
    decided = plan(Snapshot(now, policy, nodes=tuple(nodes), pools=tuple(pools), deployments=views))
    wishes = {p.view.name: p.wish for p in decided.deployments}
    made = []
    for view in views:
        wish = wishes[view.name]
        if wish is None:
            raise RuntimeError(f"the operator wants no engine for {view.spec.wire()}")
        manifest = engine_manifest(EngineOwners("default", wish, (), exists=False))
        status = YoloEngineStatus(
            stage="Publish",
            progress_percent=100,
            attempts=1,
            artifact=Artifact(uri=f"file:///store/{wish.spec.key}", sha256=wish.spec.key, size_bytes=12_345_678),
            weights_sha256=wish.spec.key,
        )
        seen = manifest | {"status": status.wire()}
        seen["metadata"] = manifest["metadata"] | {"uid": "", "generation": 1}
        published = step(
            reading.engine(seen, job=None, progress=None, refused=""), policy=policy, now=now, free_builds=1
        )
        made.append((manifest, engine_status(published, now).wire()))
    return made


async def _engine(server: ApiServer, namespace: str, manifest: Object, status: Object) -> None:
    document = compact(manifest)
    document["metadata"]["namespace"] = namespace
    del document["metadata"]["ownerReferences"], document["metadata"]["annotations"]
    await server.kube.create(YOLOENGINE, document)
    await _say(server, YOLOENGINE, namespace, document["metadata"]["name"], status)


async def serve(server: ApiServer, size: Size) -> None:
    """Say of every Deployment of ours that its one replica is ready, as its controller would, and make its pod."""
    async for page in server.kube.pages(DEPLOYMENT, selector=SELECTOR):
        found = [item for item in page["items"] if (item.get("status") or {}).get("readyReplicas") != 1]
        if size.pods:
            await all_of(_pod(server, item, index, size) for index, item in enumerate(found))
        await all_of(_served(server, item) for item in found)


async def _served(server: ApiServer, item: Object) -> None:
    meta = item["metadata"]
    counts = ("replicas", "readyReplicas", "updatedReplicas", "availableReplicas")
    status = {"observedGeneration": meta["generation"], **dict.fromkeys(counts, 1)}
    since = {"lastUpdateTime": meta["creationTimestamp"], "lastTransitionTime": meta["creationTimestamp"]}
    told = {"Available": "MinimumReplicasAvailable", "Progressing": "NewReplicaSetAvailable"}
    message = f'ReplicaSet "{meta["name"]}-6d4b8c7f9d" has successfully progressed.'
    conditions = [
        {"type": kind, "status": "True", "reason": reason, "message": message, **since} for kind, reason in told.items()
    ]
    await _say(server, DEPLOYMENT, meta["namespace"], meta["name"], status | {"conditions": conditions})


async def _pod(server: ApiServer, item: Object, index: int, size: Size) -> None:
    meta, template = item["metadata"], item["spec"]["template"]
    name = f"{meta['name']}-6d4b8c7f9d-{index:05d}"
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": meta["name"], "uid": meta["uid"]}
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": meta["namespace"],
            "labels": template["metadata"]["labels"],
            "ownerReferences": [owner],
        },
        "spec": template["spec"] | {"nodeName": f"h100-{index % size.nodes:04d}", "serviceAccountName": "default"},
    }
    await server.kube.create(POD, pod)
    await _say(server, POD, meta["namespace"], name, _pod_status(template["spec"], index))


def _pod_status(spec: Object, index: int) -> Object:
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    kinds = ("PodReadyToStartContainers", "Initialized", "Ready", "ContainersReady", "PodScheduled")
    digest = "sha256:" + "ab" * 32
    started = {"running": {"startedAt": now}}
    containers = [
        {
            "name": container["name"],
            "ready": True,
            "started": True,
            "restartCount": 0,
            "image": container["image"],
            "imageID": f"{container['image']}@{digest}",
            "containerID": f"containerd://{digest.removeprefix('sha256:')}",
            "state": started,
        }
        for container in spec["containers"]
    ]
    address = f"127.{1 + index // 60000}.{index // 250 % 240}.{1 + index % 250}"
    return {
        "phase": "Running",
        "hostIP": "10.77.0.1",
        "podIP": address,
        "podIPs": [{"ip": address}],
        "qosClass": "Burstable",
        "startTime": now,
        "conditions": [{"type": kind, "status": "True", "lastTransitionTime": now} for kind in kinds],
        "containerStatuses": containers,
    }

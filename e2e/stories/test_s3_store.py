"""Engines in the chart's own S3 server: built by a pod without a credential, served by pods that may only read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.fleet import BUILDER_IMAGE, NO_RIGHTS, RESTRICTED, SYSTEM, TINY, Fleet, install
from e2e.images import image_name
from e2e.waiting import wait_for

READ, STORE = "yolofleet-store-read", "app.kubernetes.io/component=store"


@pytest.fixture
def on_s3(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet with its engines in S3, and the Secret that reads them in the story's namespace; claims again after."""
    fleet.cluster.load_images(["versitygw"])
    install(fleet.cluster, "store.kind=S3")
    secret = json.loads(fleet.cluster.kubectl("-n", SYSTEM, "get", "secret", READ, "-o", "json"))
    fleet.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": READ}, "data": secret["data"]})
    yield fleet
    fleet.kubectl("delete", "yolodeployments", "--all", "--timeout=60s")
    install(fleet.cluster)


def stored(fleet: Fleet) -> list[str]:
    """Return the names of the namespace's objects, as the gateway has them on its volume."""
    program = "import pathlib, sys; r = pathlib.Path('/data/store/engines');"
    program += "print(*[p.relative_to(r) for p in (r / sys.argv[1]).rglob('*') if p.is_file()], sep='\\n')"
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "yolofleet-store"}}
    return look(fleet, program, volume)


def spoil(fleet: Fleet, name: str) -> None:
    """Flip a byte of an object, behind the server's back."""
    program = "import pathlib, sys; p = pathlib.Path('/data/store/engines') / sys.argv[1] / '%s'; b = p.read_bytes();"
    program += "p.write_bytes(b[:99] + bytes([b[99] ^ 1]) + b[100:])"
    volume = {"name": "data", "persistentVolumeClaim": {"claimName": "yolofleet-store"}}
    look(fleet, program % name, volume, read_only=False)


def look(fleet: Fleet, program: str, volume: dict[str, Any], *, read_only: bool = True) -> list[str]:
    """Run a small program over the store's volume, beside the server."""
    container = {
        "name": "look",
        "image": BUILDER_IMAGE,
        "command": ["python3", "-c", program, fleet.namespace],
        "securityContext": NO_RIGHTS,
        "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": read_only}],
    }
    system = Fleet(fleet.cluster, SYSTEM)
    system.kubectl("delete", "pod", "look", "--ignore-not-found", "--now")
    spec = {"restartPolicy": "Never", "securityContext": RESTRICTED, "containers": [container], "volumes": [volume]}
    system.apply({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "look"}, "spec": spec})

    def ended() -> bool:
        return bool(system.get("pod", "look")["status"].get("phase") == "Succeeded")

    wait_for("the look at the store", ended, timeout_s=60)
    return system.kubectl("logs", "look").split()


@pytest.mark.only_on_bare("the chart's S3 server needs the bench's image of it")
def test_an_engine_is_built_into_s3_and_served_from_it(on_s3: Fleet) -> None:
    """No pod of the namespace can write but the build, under its own attempt; damage is told, and mended by a build."""
    fleet = on_s3
    fleet.deploy("gate", engine=TINY)
    fleet.wait_serving("gate")
    engine = fleet.get("yeng", fleet.engine_of("gate"))
    key, artifact = engine["spec"]["key"], engine["status"]["artifact"]
    assert artifact["uri"] == f"s3://engines/{fleet.namespace}/{key}"
    assert not fleet.items("pvc"), "nothing lies on a claim"
    (job,) = fleet.items("jobs")
    attempt = job["metadata"]["annotations"]["yolofleet.dev/attempt"]
    files = {"manifest.json", f"{attempt}/manifest.json", f"{attempt}/metadata.json", f"{attempt}/model.onnx"}
    assert set(stored(fleet)) == {f"{fleet.namespace}/{key}/{name}" for name in files}
    (pod,) = fleet.items("pods", "yolofleet.dev/deployment=gate")
    mounts = {m["name"] for c in pod["spec"]["containers"] for m in c["volumeMounts"]}
    assert "store" not in mounts, "Triton sees no credential"

    fleet.kubectl("delete", "ydep", "gate")
    wait_for("the engine to go with its last user", lambda: not fleet.items("yeng"), timeout_s=60)
    wait_for("the Job to go with its engine", lambda: not fleet.items("jobs"), timeout_s=60)
    fleet.deploy("again", engine=TINY)
    fleet.wait_serving("again")
    assert fleet.get("yeng", fleet.engine_of("again"))["status"]["message"] == "cached"


@pytest.mark.only_on_bare("the chart's S3 server needs the bench's image of it")
def test_while_the_store_is_away_the_condition_says_so_and_nothing_is_lost(on_s3: Fleet) -> None:
    """A build waits for the store, names it, and completes when it is back; what serves goes on."""
    fleet = on_s3
    system = Fleet(fleet.cluster, SYSTEM)
    system.kubectl("scale", "deployment", "yolofleet-store", "--replicas=0")
    wait_for("the store to be gone", lambda: not system.items("pods", STORE), timeout_s=60)
    fleet.deploy("gate", engine=TINY)
    told = wait_for("the engine to wait for the store", lambda: waiting(fleet), timeout_s=60)
    assert "http://yolofleet-store" in told
    assert not fleet.items("jobs")
    system.kubectl("scale", "deployment", "yolofleet-store", "--replicas=1")
    fleet.wait_serving("gate")
    (engine,) = fleet.items("yeng")
    assert engine["status"]["attempts"] == 1


@pytest.mark.slow
@pytest.mark.only_on_bare("the chart's S3 server needs the bench's image of it")
def test_an_engine_that_is_damaged_in_the_store_is_mended_without_a_hand(on_s3: Fleet) -> None:
    """The pod that meets the damage says so, the operator has it built anew, and the same pod serves."""
    fleet = on_s3
    fleet.deploy("gate", engine=TINY)
    fleet.wait_serving("gate")
    (job,) = fleet.items("jobs")
    name = fleet.engine_of("gate")
    key, attempt = fleet.get("yeng", name)["spec"]["key"], job["metadata"]["annotations"]["yolofleet.dev/attempt"]
    spoil(fleet, f"{key}/{attempt}/model.onnx")
    fleet.kubectl("delete", "pods", "-l", "yolofleet.dev/deployment=gate", "--now")

    def damage() -> Any:
        return fleet.get("yeng", name)["status"].get("damage")

    told = wait_for("the operator to hear of the damage", damage, timeout_s=60)
    assert "has sha256" in told["message"]
    fleet.wait_serving("gate")
    (pod,) = fleet.items("pods", "yolofleet.dev/deployment=gate")
    assert pod["metadata"]["name"] in told["message"], "it was the same pod that served at last"
    assert pod["status"]["initContainerStatuses"][0]["restartCount"] > 0
    engine = fleet.get("yeng", name)
    assert (engine["status"]["damage"]["repairs"], engine["status"]["attempts"]) == (1, 2)
    assert "EngineDamaged" in [event["reason"] for event in fleet.items("events")]
    page = f"/api/v1/namespaces/{SYSTEM}/services/yolofleet-metrics:http/proxy/metrics"
    counted = f'yolofleet_damaged_engines_total{{namespace="{fleet.namespace}"}} 1.0'
    assert counted in fleet.kubectl("get", "--raw", page)


@pytest.mark.slow
@pytest.mark.only_on_bare("the chart's S3 server needs the bench's image of it")
def test_a_store_that_dies_in_mid_build_costs_an_attempt(on_s3: Fleet) -> None:
    """The build says what it met, and the next one completes; nothing half-made is ever served."""
    fleet = on_s3
    system = Fleet(fleet.cluster, SYSTEM)
    fleet.deploy("gate")

    def stage() -> bool:
        return any(e.get("status", {}).get("stage") in ("Export", "Compare") for e in fleet.items("yeng"))

    wait_for("the build to be under way", stage, timeout_s=120, interval_s=0.2)
    system.kubectl("scale", "deployment", "yolofleet-store", "--replicas=0")

    def failure() -> str:
        (engine,) = fleet.items("yeng")
        return str(engine["status"].get("failure", {}).get("message", ""))

    told = wait_for("the build to fail", failure, timeout_s=240)
    assert "the store does not answer" in told
    system.kubectl("scale", "deployment", "yolofleet-store", "--replicas=1")
    fleet.wait_serving("gate")
    (engine,) = fleet.items("yeng")
    assert engine["status"]["attempts"] == 2


@pytest.mark.slow
@pytest.mark.only_on_bare("nodes are added, and the chart's S3 server needs the bench's image of it")
def test_two_deployments_at_once_on_two_nodes_have_one_build(on_s3: Fleet) -> None:
    fleet = on_s3
    index = fleet.cluster.faults.add_node()
    try:
        at = [{"nodeSelector": {"kubernetes.io/hostname": fleet.cluster.node_name(node)}} for node in (1, index)]
        fleet.apply(*(deployment(name, serving) for name, serving in zip(("gate", "yard"), at, strict=True)))
        for name in ("gate", "yard"):
            fleet.wait_serving(name)
        nodes = {p["spec"]["nodeName"] for p in fleet.items("pods", "app.kubernetes.io/name=triton")}
        (engine,) = fleet.items("yeng")
        assert (len(nodes), engine["status"]["attempts"], len(fleet.items("jobs"))) == (2, 1, 1)
    finally:
        fleet.cluster.faults.remove_node(index)


@pytest.mark.slow
@pytest.mark.only_on_bare("it needs the bench's image of an S3 server")
def test_another_s3_store_by_values(fleet: Fleet) -> None:
    """Endpoint, bucket and Secrets by values, as for a store that somebody else runs; the chart makes none."""
    fleet.cluster.load_images(["versitygw"])
    system = Fleet(fleet.cluster, SYSTEM)
    credential = {"accessKey": "somebody", "secretKey": "somebody-secret"}
    system.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "elsewhere"}, "stringData": credential})
    fleet.apply({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "elsewhere"}, "stringData": credential})
    fleet.apply(*another_store(credential))
    fleet.kubectl("wait", "pod", "elsewhere", "--for=condition=Ready", "--timeout=60s")
    told = {"endpoint": f"http://elsewhere.{fleet.namespace}.svc:7070", "bucket": "somewhere", "prefix": "fleet/"}
    named = [f"store.s3.{key}={value}" for key, value in told.items()]
    try:
        secrets = ["store.s3.writeSecret=elsewhere", "store.s3.readSecret=elsewhere"]
        install(fleet.cluster, "store.kind=S3", *named, *secrets)
        assert not system.items("deployments", STORE)
        fleet.deploy("gate", engine=TINY)
        fleet.wait_serving("gate")
        engine = fleet.get("yeng", fleet.engine_of("gate"))
        place = f"s3://somewhere/fleet/{fleet.namespace}/{engine['spec']['key']}"
        assert engine["status"]["artifact"]["uri"] == place
    finally:
        fleet.kubectl("delete", "yolodeployments", "--all", "--timeout=60s")
        install(fleet.cluster)


def deployment(name: str, serving: dict[str, Any]) -> dict[str, Any]:
    """Return a YoloDeployment of the small engine."""
    spec = {"model": {"builtin": "yolo26n-shapes"}, "engine": TINY, "serving": serving}
    kind = {"apiVersion": "yolofleet.dev/v1alpha1", "kind": "YoloDeployment"}
    return kind | {"metadata": {"name": name}, "spec": spec}


def another_store(credential: dict[str, str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the pod and the Service of an S3 server that no chart of ours made."""
    disk = [{"name": "data", "mountPath": "/data"}]
    server = {
        "name": "server",
        "image": image_name("versitygw"),
        "command": ["/usr/local/bin/versitygw"],
        "args": ["--port=:7070", "--health=/health", "--quiet", "posix", "/data"],
        "env": [
            {"name": "ROOT_ACCESS_KEY", "value": credential["accessKey"]},
            {"name": "ROOT_SECRET_KEY", "value": credential["secretKey"]},
        ],
        "readinessProbe": {"httpGet": {"path": "/health", "port": 7070}, "periodSeconds": 1},
        "securityContext": NO_RIGHTS,
        "volumeMounts": disk,
    }
    bucket = {
        "name": "bucket",
        "image": BUILDER_IMAGE,
        "command": ["mkdir", "-p", "/data/somewhere"],
        "securityContext": NO_RIGHTS,
        "volumeMounts": disk,
    }
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "elsewhere", "labels": {"app": "elsewhere"}},
        "spec": {
            "automountServiceAccountToken": False,
            "terminationGracePeriodSeconds": 1,
            "securityContext": RESTRICTED,
            "initContainers": [bucket],
            "containers": [server],
            "volumes": [{"name": "data", "emptyDir": {}}],
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "elsewhere"},
        "spec": {"selector": {"app": "elsewhere"}, "ports": [{"port": 7070}]},
    }
    return pod, service


def waiting(fleet: Fleet) -> str:
    """Return why the one engine waits for the store, '' while it does not."""
    for engine in fleet.items("yeng"):
        for condition in engine.get("status", {}).get("conditions", []):
            if condition["reason"] == "StoreUnavailable":
                return str(condition["message"])
    return ""

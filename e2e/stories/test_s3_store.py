"""Engines in the chart's own S3 server: built by a pod without a credential, served by pods that may only read."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.fleet import BUILDER_IMAGE, NO_RIGHTS, RESTRICTED, SYSTEM, TINY, Fleet, install
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


def look(fleet: Fleet, program: str, volume: dict[str, Any]) -> list[str]:
    """Run a small program over the store's volume, beside the server."""
    container = {
        "name": "look",
        "image": BUILDER_IMAGE,
        "command": ["python3", "-c", program, fleet.namespace],
        "securityContext": NO_RIGHTS,
        "volumeMounts": [{"name": "data", "mountPath": "/data", "readOnly": True}],
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


def waiting(fleet: Fleet) -> str:
    """Return why the one engine waits for the store, '' while it does not."""
    for engine in fleet.items("yeng"):
        for condition in engine.get("status", {}).get("conditions", []):
            if condition["reason"] == "StoreUnavailable":
                return str(condition["message"])
    return ""

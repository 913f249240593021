"""A store that is full, slow, or cut off in mid-file: a condition says so, and nobody ever serves half an engine."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest

from e2e.fleet import BUILDER_IMAGE, NO_RIGHTS, SYSTEM, TINY, Fleet, Object, install
from e2e.stories.test_s3_store import another_store
from e2e.waiting import wait_for

pytestmark = [pytest.mark.slow, pytest.mark.only_on_bare("it needs the bench's image of an S3 server")]
ROOM_MIB, BALLAST_MIB = 64, 60
"""An engine of 9 MiB finds no place beside the ballast, and more than one without."""
SLOW_S = 0.03
"""For each 16 KiB: half a MiB a second."""
LINK = """
import asyncio, contextlib, pathlib
MODE = pathlib.Path("/control/mode")
async def carry(reader, writer):
    with contextlib.suppress(OSError):
        while chunk := await reader.read(16384):
            mode = MODE.read_text()
            if mode == "cut" and len(chunk) > 8192:
                break
            await asyncio.sleep(float(mode) if mode != "cut" else 0)
            writer.write(chunk)
            await writer.drain()
    writer.close()
async def accept(reader, writer):
    far = await asyncio.open_connection("127.0.0.1", 7070)
    await asyncio.wait([asyncio.create_task(carry(reader, far[1])), asyncio.create_task(carry(far[0], writer))])
async def main():
    async with await asyncio.start_server(accept, "0.0.0.0", 7072) as server:
        await server.serve_forever()
asyncio.run(main())
"""


@pytest.fixture
def faulty(fleet: Fleet) -> Iterator[Fleet]:
    """The fleet on a small S3 store, behind a link whose speed the story sets; claims again after."""
    fleet.cluster.load_images(["versitygw"])
    credential = {"accessKey": "somebody", "secretKey": "somebody-secret"}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "elsewhere"}, "stringData": credential}
    Fleet(fleet.cluster, SYSTEM).apply(secret)
    fleet.apply(secret, *small_store(credential))
    fleet.kubectl("wait", "pod", "elsewhere", "--for=condition=Ready", "--timeout=60s")
    told = {"endpoint": f"http://elsewhere.{fleet.namespace}.svc:7070", "bucket": "somewhere"}
    told |= {"writeSecret": "elsewhere", "readSecret": "elsewhere"}
    try:
        install(fleet.cluster, "store.kind=S3", *[f"store.s3.{key}={value}" for key, value in told.items()])
        yield fleet
    finally:
        fleet.kubectl("delete", "yolodeployments", "--all", "--timeout=60s")
        install(fleet.cluster)


def small_store(credential: dict[str, str]) -> tuple[Object, Object]:
    """Return a store on a disk of a few MiB, most of them taken, behind a link."""
    pod, service = another_store(credential)
    spec: Any = pod["spec"]
    spec["volumes"] = [
        {"name": "data", "emptyDir": {"medium": "Memory", "sizeLimit": f"{ROOM_MIB}Mi"}},
        {"name": "control", "emptyDir": {}},
    ]
    mounts = [{"name": "data", "mountPath": "/data"}, {"name": "control", "mountPath": "/control"}]
    link = {"name": "link", "image": BUILDER_IMAGE, "securityContext": NO_RIGHTS, "volumeMounts": mounts}
    fill = "import pathlib; pathlib.Path('/data/somewhere').mkdir(); pathlib.Path('/control/mode').write_text('0');"
    fill += f"pathlib.Path('/data/ballast').write_bytes(bytes({BALLAST_MIB} * 1024 ** 2))"
    spec["initContainers"] = [link | {"name": "fill", "command": ["python3", "-c", fill]}]
    spec["containers"].append(link | {"command": ["python3", "-c", LINK]})
    service["spec"]["ports"] = [{"port": 7070, "targetPort": 7072}]
    return pod, service


def in_link(fleet: Fleet, program: str) -> str:
    """Run a program beside the store."""
    return fleet.kubectl("exec", "elsewhere", "-c", "link", "--", "python3", "-c", f"import pathlib; {program}")


def link(fleet: Fleet, mode: str) -> None:
    """Set the seconds that each piece waits, or cut whatever carries more than words."""
    in_link(fleet, f"pathlib.Path('/control/mode').write_text('{mode}')")


def manifests(fleet: Fleet) -> list[str]:
    """Return the manifests by which operator and pods know an engine: nothing without one is served."""
    found = in_link(fleet, "print(*pathlib.Path('/data/somewhere').rglob('manifest.json'), sep='\\n')").split()
    return [path for path in found if ".sgwtmp" not in path]


def pods_of(fleet: Fleet, name: str) -> list[Object]:
    return fleet.items("pods", f"yolofleet.dev/deployment={name}")


def served_whole(fleet: Fleet, name: str) -> Object:
    """Return the pod's init container; Triton started after its good end, once, and loaded what it was given."""
    (pod,) = pods_of(fleet, name)
    (assemble,), (triton,) = pod["status"]["initContainerStatuses"], pod["status"]["containerStatuses"]
    assert assemble["state"]["terminated"]["exitCode"] == 0
    assert assemble["state"]["terminated"]["finishedAt"] <= triton["state"]["running"]["startedAt"]
    assert triton["restartCount"] == 0
    found: Object = assemble
    return found


def test_a_full_store_is_said_and_the_next_try_completes(faulty: Fleet) -> None:
    fleet = faulty
    fleet.deploy("gate", engine=TINY)

    def told() -> str:
        message = str(fleet.condition("gate", "EngineReady").get("message", ""))
        return message if "the store is full" in message else ""

    print(wait_for("the condition to say that the store is full", told, timeout_s=120))
    assert fleet.condition("gate", "EngineReady")["status"] == "False"
    assert manifests(fleet) == []
    assert pods_of(fleet, "gate") == []
    in_link(fleet, "pathlib.Path('/data/ballast').unlink()")
    fleet.wait_serving("gate")
    assert fleet.get("yeng", fleet.engine_of("gate"))["status"]["attempts"] >= 2
    served_whole(fleet, "gate")


def test_a_slow_store_costs_time_and_one_that_is_cut_off_a_try(faulty: Fleet) -> None:
    """Half a MiB a second up; then down, where the link is cut in the middle until the pod has said so."""
    fleet = faulty
    in_link(fleet, "pathlib.Path('/data/ballast').unlink()")
    link(fleet, str(SLOW_S))
    fleet.deploy("gate", engine=TINY)

    def publishing() -> bool:
        return any(engine.get("status", {}).get("stage") == "Publish" for engine in fleet.items("yeng"))

    wait_for("the engine to say that it is published", publishing, timeout_s=120, interval_s=0.2)
    began = time.monotonic()

    def fetching() -> list[Object]:
        assert not pods_of(fleet, "gate") or manifests(fleet), "a pod before there was an engine"
        return [pod for pod in pods_of(fleet, "gate") if "running" in init_of(pod).get("state", {})]

    (pod,) = wait_for("the pod to fetch its engine", fetching, timeout_s=120, interval_s=0.2)
    took = time.monotonic() - began
    assert took > 10, "it was slow"
    link(fleet, "cut")

    def failed() -> Object | None:
        (now,) = pods_of(fleet, "gate")
        state = init_of(now)
        ended: Object | None = state.get("lastState", {}).get("terminated") or state.get("state", {}).get("terminated")
        return ended

    ended = wait_for("the pod to say what it met", failed, timeout_s=120, interval_s=0.2)
    print(f"published in {took:.0f} s; then, cut off: {ended.get('message')}")
    assert ended["exitCode"] != 0
    assert "store" in ended["message"]
    link(fleet, "0")
    fleet.wait_serving("gate")
    assert served_whole(fleet, "gate")["restartCount"] > 0
    (engine,) = fleet.items("yeng")
    assert engine["status"]["attempts"] == 1
    assert [p["metadata"]["name"] for p in pods_of(fleet, "gate")] == [pod["metadata"]["name"]]


def init_of(pod: Object) -> Object:
    """Return the state of the container that brings the engine."""
    states = pod["status"].get("initContainerStatuses")
    found: Object = states[0] if states else {}
    return found

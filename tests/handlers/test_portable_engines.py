"""A deployment on slices for which no engine is compiled yet: a portable one serves, until the exact one takes over."""

from __future__ import annotations

from tests.fake_api_server import FakeApiServer
from tests.handlers.test_build_loans import ends
from tests.handlers.test_fleet import conditions, message, seen, started
from tests.raw_objects import H100, PUBLISHED, SETTINGS, Object, node, rolled_out, serving_pod, settings, yolodeployment
from yolofleet.handlers.fleet import Fleet
from yolofleet.kube import Kube

TIED = settings(builds=SETTINGS.model_dump(by_alias=True)["builds"] | {"tensorrtVersion": "10.16.0"})
BUILD, TAKE = {"backend": "TensorRT", "portable": "Build"}, {"backend": "TensorRT"}
TWO = "nvidia.com/mig-2g.20gb"


def slices(large_ones: int = 3) -> Object:
    labels = {"gpu__product": H100, "gpu__compute__major": "9", "gpu__compute__minor": "0"}
    small = {"mig-1g__10gb__multiprocessors": "16", "mig-1g__10gb__memory": "9984"}
    large = {"mig-2g__20gb__multiprocessors": "32", "mig-2g__20gb__memory": "20096"}
    return node(devices={"nvidia.com/mig-1g.10gb": "3", TWO: str(large_ones)}, **labels, **small, **large)


def named(server: FakeApiServer, kind: str, name: str) -> Object:
    return next(one for one in server.all(kind) if one["metadata"]["name"] == name)


def targets(server: FakeApiServer) -> dict[tuple[int, str], str]:
    """Return the engines' names by SMs and hardware compatibility."""
    told = [(one["metadata"]["name"], one["spec"]["target"]) for one in server.all("YoloEngine")]
    return {(target["smCount"], target.get("hardwareCompatibility", "")): name for name, target in told}


async def served(server: FakeApiServer, kube: Kube, large_ones: int = 3) -> Fleet:
    """Return a fleet that serves on small slices, and has a portable engine built beside the exact one."""
    server.put(slices(large_ones))
    server.put(yolodeployment("first", engine=BUILD, placement={"profiles": ["1g.10gb"]}))
    fleet = await started(kube, TIED)
    assert sorted(targets(server)) == [(16, ""), (16, "SameComputeCapability")]
    for job in server.all("Job"):
        ends(server, job, PUBLISHED)
    await seen(fleet)
    return fleet


async def test_a_portable_engine_serves_until_the_exact_one_takes_over(server: FakeApiServer, kube: Kube) -> None:
    fleet = await served(server, kube)
    assert [one["metadata"]["name"] for one in server.all("Deployment")] == ["first-1g-10gb"]
    asked = {"placement": {"profiles": ["2g.20gb"]}, "rollout": {"canaryPercent": 0}}
    server.put(yolodeployment("second", engine=TAKE, **asked))
    await seen(fleet)
    engines = targets(server)
    exact, portable = engines[32, ""], engines[16, "SameComputeCapability"]
    group = named(server, "Deployment", "second-2g-20gb")
    assert group["metadata"]["labels"]["yolofleet.dev/engine"] == portable
    owners = named(server, "YoloEngine", portable)["metadata"]["ownerReferences"]
    assert sorted(one["name"] for one in owners) == ["first", "second"]

    server.put(serving_pod(group, device=TWO))
    server.edit("Deployment", "cams", "second-2g-20gb", status=rolled_out(group))
    await seen(fleet)
    told = named(server, "YoloDeployment", "second")
    assert conditions(told)["Ready"] == ("True", "Serving")
    assert conditions(told)["EngineReady"] == ("False", "Building")
    assert conditions(told)["Progressing"] == ("True", "ServingPortable")
    assert message(told, "Progressing").startswith(
        f"portable YoloEngine {portable} serves on 2g.20gb: YoloEngine {exact}"
    )
    assert told["status"]["groups"][0]["portable"] == "SameComputeCapability"

    ends(server, named(server, "Job", exact), PUBLISHED)
    await seen(fleet)
    group = named(server, "Deployment", "second-2g-20gb")
    assert group["metadata"]["labels"]["yolofleet.dev/engine"] == exact
    assert group["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}
    server.put(serving_pod(group, device=TWO))
    server.edit("Deployment", "cams", "second-2g-20gb", status=rolled_out(group))
    await seen(fleet)
    told = named(server, "YoloDeployment", "second")
    assert told["status"]["rollout"]["phase"] == "Promoted"
    assert "portable" not in told["status"]["groups"][0]
    owners = named(server, "YoloEngine", portable)["metadata"]["ownerReferences"]
    assert [one["name"] for one in owners] == ["first"], "it stays for who asked for it"


async def test_a_restart_while_a_portable_engine_serves_changes_nothing(server: FakeApiServer, kube: Kube) -> None:
    fleet = await served(server, kube)
    server.put(yolodeployment("second", engine=TAKE, placement={"profiles": ["2g.20gb"]}))
    await seen(fleet)
    group = named(server, "Deployment", "second-2g-20gb")
    server.put(serving_pod(group, device=TWO))
    server.edit("Deployment", "cams", "second-2g-20gb", status=rolled_out(group))
    await seen(fleet)
    server.asked.clear()
    await started(kube, TIED)
    assert server.writes == []


async def test_the_one_slice_that_is_free_is_for_the_replica_and_not_for_the_build(
    server: FakeApiServer, kube: Kube
) -> None:
    fleet = await served(server, kube, large_ones=1)
    server.put(yolodeployment("second", engine=TAKE, placement={"profiles": ["2g.20gb"]}))
    await seen(fleet)
    exact = targets(server)[32, ""]
    told = named(server, "YoloDeployment", "second")
    assert conditions(told)["EngineReady"] == ("False", "WaitingForBuildSlice")
    assert "replicas that serve a portable engine meanwhile take their slices first" in message(told, "EngineReady")
    assert exact not in [job["metadata"]["name"] for job in server.all("Job")]

    group = named(server, "Deployment", "second-2g-20gb")
    server.put(serving_pod(group, device=TWO))
    server.edit("Deployment", "cams", "second-2g-20gb", status=rolled_out(group))
    await seen(fleet)
    told = named(server, "YoloDeployment", "second")
    assert "0 of 1 2g.20gb of MigPool default are free" in message(told, "EngineReady")
    assert conditions(told)["Progressing"] == ("True", "ServingPortable")

    server.put(slices(2))
    await seen(fleet)
    assert exact in [job["metadata"]["name"] for job in server.all("Job")], "now there is one for it"


async def test_a_build_does_not_wait_for_replicas_that_find_no_slice_or_are_refused(
    server: FakeApiServer, kube: Kube
) -> None:
    """Else a quota, or nodes without room, would keep the exact engine away for ever."""
    fleet = await served(server, kube)
    server.put(yolodeployment("second", engine=TAKE, placement={"profiles": ["2g.20gb"]}))
    await seen(fleet)
    failing = {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota: small"}
    server.edit("Deployment", "cams", "second-2g-20gb", status={"conditions": [failing]})
    await seen(fleet)
    assert targets(server)[32, ""] in [job["metadata"]["name"] for job in server.all("Job")]

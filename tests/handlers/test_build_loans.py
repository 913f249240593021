"""A full fleet gets a new engine: one replica above its floor makes room for the build, and comes back after it."""

from __future__ import annotations

import json

import pytest

from tests.fake_api_server import FakeApiServer
from tests.handlers.test_fleet import conditions, message, seen, started
from tests.raw_objects import H100, PUBLISHED, REFUSED, Object, build_pod, job_ended, node, rolled_out, yolodeployment
from tests.raw_objects import serving_pod as raw_pod
from yolofleet.handlers.fleet import Fleet
from yolofleet.kube import Kube

MIG = "nvidia.com/mig-1g.10gb"
TENSORRT = {"backend": "TensorRT"}
GATE = "gate-1g-10gb"


def only(server: FakeApiServer, name: str) -> Object:
    """Return a YoloDeployment."""
    return next(one for one in server.all("YoloDeployment") if one["metadata"]["name"] == name)


def slices(count: int) -> Object:
    labels = {"gpu__product": H100, "gpu__compute__major": "9", "gpu__compute__minor": "0"}
    told = {"mig-1g__10gb__multiprocessors": "16", "mig-1g__10gb__memory": "9984"}
    return node(devices={MIG: str(count)}, **labels, **told)


def job_of(server: FakeApiServer, name: str) -> Object:
    """Return the build of a deployment's engine."""
    (engine,) = [e for e in server.all("YoloEngine") if e["metadata"]["ownerReferences"][0]["name"] == name]
    return next(job for job in server.all("Job") if job["metadata"]["name"] == engine["metadata"]["name"])


def ends(server: FakeApiServer, job: Object, result: Object, exit_code: int = 0) -> None:
    server.put(build_pod(job, result=result, exit_code=exit_code))
    how = "Failed" if exit_code else "Complete"
    server.edit("Job", "cams", job["metadata"]["name"], status=job_ended(how))


def replicas(server: FakeApiServer) -> int:
    return int(next(one for one in server.all("Deployment") if one["metadata"]["name"] == GATE)["spec"]["replicas"])


def run_pods(server: FakeApiServer) -> None:
    """Let as many pods of gate run as it asks for."""
    (deployment,) = server.all("Deployment")
    for number in range(deployment["spec"]["replicas"]):
        server.put(raw_pod(deployment, number, device=MIG))
    server.edit("Deployment", "cams", deployment["metadata"]["name"], status=rolled_out(deployment))


async def full(server: FakeApiServer, kube: Kube, *, least: int) -> Fleet:
    """Return a fleet whose two slices serve gate, and that is asked for another model."""
    server.put(slices(2))
    scaling = {"mode": "Declared", "minReplicas": 2, "maxReplicas": 4}
    asked = {"engine": TENSORRT, "demand": {"streams": 1, "framesPerSecond": "1"}}
    server.put(yolodeployment(scaling=scaling, **asked))
    fleet = await started(kube)
    first = job_of(server, "gate")
    assert json.loads(first["metadata"]["annotations"]["yolofleet.dev/slice"])["way"] == "Free"
    ends(server, first, PUBLISHED)
    await seen(fleet)
    run_pods(server)
    await seen(fleet)
    assert replicas(server) == 2
    lower = yolodeployment(scaling=scaling | {"minReplicas": least}, **asked)
    server.edit("YoloDeployment", "cams", "gate", spec=lower["spec"])
    await seen(fleet)
    assert replicas(server) == 2, "the window holds it"
    server.put(yolodeployment("new", engine=TENSORRT | {"maxBatchSize": 4}))
    await seen(fleet)
    return fleet


@pytest.mark.parametrize("result", [PUBLISHED, REFUSED])
async def test_a_replica_above_its_floor_makes_room_for_a_build_and_comes_back(server, kube, result):
    fleet = await full(server, kube, least=1)
    job = job_of(server, "new")
    told = json.loads(job["metadata"]["annotations"]["yolofleet.dev/slice"])
    assert (told["way"], told["lender"]) == ("Borrowed", {"namespace": "cams", "name": "gate"})
    assert replicas(server) == 1
    assert "1 lent to a build" in message(only(server, "gate"), "ScalingActive")
    assert only(server, "gate")["status"]["scaling"]["desiredReplicas"] == 2
    ends(server, job, result, 42 if result is REFUSED else 0)
    await seen(fleet)
    assert replicas(server) == 2
    assert "lent" not in message(only(server, "gate"), "ScalingActive")


async def test_a_restart_in_mid_loan_changes_nothing(server, kube):
    await full(server, kube, least=1)
    server.asked.clear()
    await started(kube)
    assert replicas(server) == 1
    assert [asked for asked in server.writes if asked.plural in ("deployments", "jobs")] == []


async def test_where_nobody_is_above_its_floor_the_build_waits_and_says_for_what(server, kube):
    fleet = await full(server, kube, least=2)
    assert replicas(server) == 2
    assert len(server.all("Job")) == 1
    told = conditions(only(server, "new"))
    assert told["EngineReady"] == ("False", "WaitingForBuildSlice")
    why = message(only(server, "new"), "EngineReady")
    assert "0 of 2 1g.10gb of MigPool default are free" in why
    assert "cams/gate (floor 2)" in why
    server.put(slices(3))
    await seen(fleet)
    waits = next(e for e in server.all("YoloEngine") if e["metadata"]["ownerReferences"][0]["name"] == "new")
    fleet._awake(_key(waits))  # the timer of its next look
    await seen(fleet)
    assert json.loads(job_of(server, "new")["metadata"]["annotations"]["yolofleet.dev/slice"])["way"] == "Free"


def _key(obj: Object):
    from yolofleet.observe.cache import Key

    return Key("YoloEngine", obj["metadata"]["namespace"], obj["metadata"]["name"])

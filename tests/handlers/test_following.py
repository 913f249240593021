"""The load is followed from real pages to replicas, and nothing is written while nothing changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import generate_latest

from tests.fake_api_server import FakeApiServer
from tests.handlers.test_fleet import conditions, ended, message, only, seen, settled, started
from tests.observe.test_scraping import Triton, free_port
from tests.raw_objects import PUBLISHED, Object, node, rolled_out, serving_pod, yolodeployment
from yolofleet.handlers.fleet import Fleet
from yolofleet.kube import Kube
from yolofleet.observe import scraping
from yolofleet.observe.cache import Key

GATE = Key("YoloDeployment", "cams", "gate")


@dataclass
class World:
    """A fleet with one deployment on one pod, whose Triton counts what a test says."""

    server: FakeApiServer
    kube: Kube
    fleet: Fleet
    triton: Triton
    session: aiohttp.ClientSession

    async def look(self) -> None:
        """Look once, and let what is woken come to rest."""
        await asyncio.sleep(0.02)
        await self.fleet._follower.look(self.session)
        await settled(self.fleet)

    def gate(self) -> Object:
        return only(self.server, "YoloDeployment")

    def replicas(self) -> int:
        return int(only(self.server, "Deployment")["spec"]["replicas"])

    def metrics(self) -> dict[str, float]:
        lines = generate_latest(self.fleet._metrics.registry).decode().splitlines()
        return {
            name: float(value)
            for name, _, value in (line.rpartition(" ") for line in lines if 'yolodeployment="gate"' in line)
        }


def pods(server: FakeApiServer) -> None:
    """Let the replicas become ready, each at the address of the one Triton."""
    deployment = only(server, "Deployment")
    for number in range(deployment["spec"]["replicas"]):
        made = serving_pod(deployment, number)
        server.put(made | {"status": made["status"] | {"podIP": "127.0.0.1"}})
    server.edit("Deployment", "cams", deployment["metadata"]["name"], status=rolled_out(deployment))


@pytest.fixture
async def world(server: FakeApiServer, kube: Kube, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    port, triton = free_port(), Triton()
    monkeypatch.setattr(scraping, "METRICS_PORT", port)
    app = web.Application()
    app.add_routes([web.get("/metrics", triton.answer)])
    running = TestServer(app, host="127.0.0.1", port=port)
    await running.start_server()
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    ended(server, PUBLISHED)
    await seen(fleet)
    pods(server)
    await seen(fleet)
    async with aiohttp.ClientSession() as session:
        made = World(server, kube, fleet, triton, session)
        await made.look()
        await made.look()
        server.asked.clear()
        yield made
    await running.close()


async def test_a_saturated_replica_gets_company(world: World) -> None:
    world.triton.frames += 100_000
    world.triton.infer_us += 10**9
    await world.look()
    assert world.replicas() == 2
    assert conditions(world.gate())["ScalingActive"] == ("True", "FollowingDemand")
    assert "fps observed" in message(world.gate(), "ScalingActive")
    told = world.metrics()
    assert told['yolofleet_desired_replicas{namespace="cams",yolodeployment="gate"}'] == 2
    assert told['yolofleet_busy_ratio{namespace="cams",yolodeployment="gate"}'] == 1
    labels = 'direction="up",namespace="cams",reason="FollowingDemand",yolodeployment="gate"'
    assert told[f"yolofleet_scale_decisions_total{{{labels}}}"] == 1


async def test_at_rest_nobody_is_woken_and_nothing_is_written(world: World) -> None:
    for _ in range(5):
        await asyncio.sleep(0.01)
        await world.fleet._follower.look(world.session)
        assert len(world.fleet.cache.dirty) == 0
    assert world.server.writes == []


async def test_a_restart_under_load_writes_nothing_before_it_has_seen_something_else(world: World) -> None:
    world.triton.frames += 100_000
    world.triton.infer_us += 10**9
    await world.look()
    pods(world.server)
    await seen(world.fleet)
    world.server.asked.clear()
    again = await started(world.kube)
    await again._follower.look(world.session)
    await settled(again)
    assert world.server.writes == []
    assert world.replicas() == 2


async def test_figures_nobody_saw_have_no_series_and_all_go_with_their_object(world: World) -> None:
    told = world.metrics()
    labels = '{namespace="cams",yolodeployment="gate"}'
    assert f"yolofleet_served_frames_per_second{labels}" in told
    assert f"yolofleet_engine_active_ratio{labels}" not in told
    assert f"yolofleet_p99_seconds{labels}" not in told
    assert told[
        'yolofleet_condition{namespace="cams",reason="Serving",status="True",type="Ready",yolodeployment="gate"}'
    ]
    world.server.remove("YoloDeployment", "gate")
    await seen(world.fleet)
    assert world.metrics() == {}


async def test_what_the_whole_fleet_has_is_counted(world: World) -> None:
    lines = generate_latest(world.fleet._metrics.registry).decode().splitlines()
    assert 'yolofleet_engines{stage="Published"} 1.0' in lines
    assert 'yolofleet_engine_builds_total{result="succeeded"} 1.0' in lines
    slices = [line for line in lines if line.startswith("yolofleet_slices{")]
    assert all('profile="gpu"' in line for line in slices)
    told = {line.split('state="')[1].split('"')[0]: float(line.rsplit(" ", 1)[1]) for line in slices}
    assert told["used"] == 1.0
    assert told["free"] == told["total"] - 1.0


async def test_what_other_peoples_pods_hold_is_not_free(world: World) -> None:
    before = {use.profile: use for use in world.fleet._observer.slices()}["gpu"]
    node = next(iter(world.fleet.cache.all("Node"))).name
    world.fleet._observer.foreign = lambda: {(node, "nvidia.com/gpu"): 99}
    after = {use.profile: use for use in world.fleet._observer.slices()}["gpu"]
    assert before.free > 0
    assert (after.foreign, after.free, after.used) == (before.free, 0, before.used)


def autoscaler(name: str = "web", target: str = "gate", **given: object) -> Object:
    ref = {"apiVersion": "yolofleet.dev/v1alpha1", "kind": "YoloDeployment", "name": target} | given
    return {
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": name, "namespace": "cams"},
        "spec": {"scaleTargetRef": ref, "maxReplicas": 9},
        "status": {"currentReplicas": 1},
    }


async def test_an_autoscaler_that_is_attached_is_noticed_and_forgotten_with_it(world: World) -> None:
    world.server.put(autoscaler())
    world.server.put(autoscaler("of-another", kind="Deployment", apiVersion="apps/v1"))
    await seen(world.fleet)
    assert conditions(world.gate())["ScalingActive"] == ("False", "AutoscalerIgnored")
    assert "HorizontalPodAutoscaler web targets" in message(world.gate(), "ScalingActive")
    assert world.replicas() == 1
    world.server.asked.clear()
    world.server.edit("HorizontalPodAutoscaler", "cams", "web", status={"currentReplicas": 5})
    await seen(world.fleet)
    assert world.server.writes == [], "its status is nobody's turn"
    world.server.remove("HorizontalPodAutoscaler", "web")
    await seen(world.fleet)
    assert conditions(world.gate())["ScalingActive"] == ("True", "AtMinReplicas")


async def test_in_mode_external_the_autoscaler_decides_and_is_named(world: World) -> None:
    world.server.put(autoscaler())
    parts = {"scaling": {"mode": "External"}, "placement": {"profiles": ["gpu"]}, "replicas": 2}
    world.server.edit("YoloDeployment", "cams", "gate", spec=world.gate()["spec"] | parts)
    await seen(world.fleet)
    assert world.replicas() == 2
    assert conditions(world.gate())["ScalingActive"] == ("False", "External")
    assert "written by HorizontalPodAutoscaler web" in message(world.gate(), "ScalingActive")

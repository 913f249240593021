"""Pods are asked over real HTTP: what they say becomes signals, and what they do not say has words, never a zero."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.fake_api_server import FakeApiServer
from tests.planning.worlds import deployment, group
from tests.planning.worlds import pod as planned_pod
from yolofleet.kube import Kube
from yolofleet.observe import asking, engine_activity, scraping
from yolofleet.observe.engine_activity import EngineActivity, Where
from yolofleet.observe.scraping import Scraper
from yolofleet.planning.snapshot import DeploymentView, PodView


@dataclass
class Triton:
    """A metrics page that counts as it is told to."""

    frames: int = 1000
    infer_us: int = 0
    status: int = 200
    delay_s: float = 0.0
    padding: int = 0
    model: str = "gate"
    asked: int = 0
    failed: int = 0

    async def answer(self, _request: web.Request) -> web.Response:
        self.asked += 1
        await asyncio.sleep(self.delay_s)
        labels = f'{{model="{self.model}",version="1"}}'
        counted = ("request_success", "count", "exec_count", "request_summary_us_count")
        lines = [f"nv_inference_{name}{labels} {self.frames}" for name in counted]
        lines += [
            f"nv_inference_compute_infer_duration_us{labels} {self.infer_us}",
            f"nv_inference_request_failure{labels} {self.failed}",
            f"nv_inference_queue_duration_us{labels} {self.frames * 10}",
            f'nv_inference_request_summary_us{{model="{self.model}",version="1",quantile="0.99"}} 5000',
            "#" * self.padding,
        ]
        return web.Response(text="\n".join(lines) + "\n", status=self.status)


@dataclass
class World:
    """One scraper, its clock, and pods on addresses of the loopback."""

    scraper: Scraper
    session: aiohttp.ClientSession
    now: list[float]
    tritons: dict[str, Triton] = field(default_factory=dict)
    servers: list[TestServer] = field(default_factory=list)
    activity: EngineActivity | None = None

    async def look(self, view: DeploymentView, after_s: float = 2.0):
        self.now[0] += after_s
        await self.scraper.look(self.session, [view])
        return self.scraper.signals(view)


def free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
async def world(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[World]:
    port, now = free_port(), [1000.0]
    monkeypatch.setattr(scraping, "METRICS_PORT", port)
    activity = EngineActivity(None, stale_s=15, clock=lambda: now[0])
    scraper = Scraper(period_s=2, stale_s=10, activity=activity, clock=lambda: now[0])
    async with aiohttp.ClientSession() as session:
        made = World(scraper, session, now)
        for n in range(2):
            triton, ip = Triton(), f"127.0.0.{n + 1}"
            app = web.Application()
            app.add_routes([web.get("/metrics", triton.answer)])
            server = TestServer(app, host=ip, port=port)
            await server.start_server()
            made.tritons[f"p{n}"] = triton
            made.servers.append(server)
        yield made
        for server in made.servers:
            await server.close()


def pod(name: str, **given) -> PodView:
    return planned_pod(name, **({"uid": f"uid-{name}", "ip": f"127.0.0.{int(name[1:]) + 1}"} | given))


def view(*names: str, **given) -> DeploymentView:
    return deployment(pods=tuple(pod(name, **given) for name in names))


async def test_two_looks_are_signals_and_one_is_not(world: World) -> None:
    gate = view("p0", "p1")
    assert world.scraper.signals(gate) is None, "nobody was asked"
    told = await world.look(gate)
    assert told.served_fps is None
    assert told.missing == ("pod p0: seen once so far", "pod p1: seen once so far")
    world.tritons["p0"].frames += 100
    world.tritons["p0"].infer_us += 1_000_000
    told = await world.look(gate)
    assert (told.served_fps, told.arrival_fps, told.failed_fps) == (50, 50, 0)
    assert told.busy == pytest.approx(0.25), "half of one of two"
    assert (told.missing, told.unbroken_s, told.age_s) == ((), 0.0, 0.0)
    assert (await world.look(gate)).unbroken_s == 2


async def test_the_99th_percentile_needs_enough_requests_in_the_summarys_own_window(world: World) -> None:
    gate = view("p0")
    await world.look(gate)
    world.tritons["p0"].frames += 99
    assert (await world.look(gate)).p99_us is None
    world.tritons["p0"].frames += 1
    assert (await world.look(gate)).p99_us == 5000
    for _ in range(40):
        told = await world.look(gate)
    assert told.p99_us is None, "a minute later they are no longer in it"


def trial(**given) -> DeploymentView:
    """Return a deployment of which p0 serves the old engine and p1 is the canary."""
    made = view("p0", "p1")
    old, new = made.pods
    return replace(
        made,
        pods=(old, replace(new, **({"canary": True, "engine": "e-new"} | given))),
        canary=group("gpu", "e-new", name="gate-gpu-canary"),
    )


async def test_both_revisions_are_counted_from_the_same_look_on(world: World) -> None:
    old, new = world.tritons["p0"], world.tritons["p1"]
    await world.look(trial(ready=False))
    old.frames += 500
    await world.look(trial(ready=False))
    assert world.scraper.comparison(trial(ready=False)) is None, "nobody to compare with"
    await world.look(trial())
    old.frames, new.frames, new.failed = old.frames + 200, new.frames + 40, 10
    await world.look(trial())
    told = world.scraper.comparison(trial())
    assert (told.seconds, told.old.served, told.old.failed, told.old.p99_us) == (2, 200, 0, 5000)
    assert (told.new.served, told.new.failed, told.new.p99_us) == (40, 10, None)
    assert told.new.failed_share == pytest.approx(0.2)
    gone = trial(terminating=True)
    new.failed = 30
    await world.look(gone)
    assert world.scraper.comparison(gone).new.failed == 10, "what drains is not compared, and what it did is kept"
    await world.look(view("p0"))
    assert world.scraper.comparison(view("p0")) is None, "without a canary there is no comparison"


async def test_another_revision_is_compared_anew(world: World) -> None:
    await world.look(trial())
    world.tritons["p1"].failed += 7
    await world.look(trial())
    assert world.scraper.comparison(trial()).new.failed == 7
    other = replace(trial(engine="e-third"), canary=group("gpu", "e-third"))
    await world.look(other)
    assert world.scraper.comparison(other).new.failed == 0


async def test_a_silent_pod_is_missing_and_never_zero(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    gate = view("p0", "p1")
    await world.look(gate)
    await world.look(gate)
    monkeypatch.setattr(asking, "TIMEOUT_S", 0.3)
    world.tritons["p1"].delay_s = 1.0
    told = await world.look(gate)
    assert told.missing == (), "its last seconds are still fresh"
    for _ in range(3):
        told = await world.look(gate, 4.0)
    assert told.missing == ("pod p1: no answer within 0.3 s for 14 s",)
    silent = told.replicas[1]
    assert (silent.served_fps, silent.busy, silent.missing) == (None, None, told.missing[0])
    assert told.unbroken_s == 0
    monkeypatch.setattr(asking, "TIMEOUT_S", 10)
    world.tritons["p1"].delay_s = 0.0
    for _ in range(3):
        told = await world.look(gate, 11.0)
    assert told.missing == ()


async def test_what_does_not_answer_is_asked_less_often(world: World) -> None:
    world.tritons["p0"].status = 500
    for _ in range(20):
        await world.look(view("p0"))
    assert 4 <= world.tritons["p0"].asked <= 10


@pytest.mark.parametrize(
    ("what", "given", "words"),
    [
        ("an error", {"status": 503}, "it answers 503"),
        ("a redirect", {"status": 302}, "it answers 302"),
        ("too long", {"padding": 600_000}, "its page is longer than 512 KiB"),
        ("another model", {"model": "yard"}, "its metrics do not name the model gate"),
    ],
)
async def test_each_way_of_saying_nothing_has_words(world: World, what, given, words) -> None:
    for key, value in given.items():
        setattr(world.tritons["p0"], key, value)
    told = await world.look(view("p0"))
    assert told.missing == (f"pod p0: {words} for 0 s",)


async def test_nobody_at_the_address(world: World) -> None:
    told = await world.look(view("p8"))
    assert "it cannot be asked (ClientConnectorError)" in told.missing[0]


async def test_a_restarted_triton_begins_anew(world: World) -> None:
    gate = view("p0")
    await world.look(gate)
    await world.look(gate)
    world.tritons["p0"].frames = 3
    told = await world.look(gate)
    assert told.missing == ("pod p0: its counters began anew",)
    world.tritons["p0"].frames += 10
    told = await world.look(gate)
    assert (told.served_fps, told.missing) == (5, ())


async def test_another_pod_by_the_same_name_is_another_pod(world: World) -> None:
    await world.look(view("p0"))
    await world.look(view("p0"))
    told = await world.look(view("p0", uid="uid-new"))
    assert told.missing == ("pod p0: seen once so far",)


async def test_a_pod_that_goes_counts_while_it_answers_and_is_not_missed_after(world: World) -> None:
    gate = deployment(pods=(pod("p0"), pod("p1", terminating=True)))
    await world.look(gate)
    world.tritons["p1"].frames += 20
    told = await world.look(gate)
    assert told.served_fps == 10
    world.tritons["p1"].status = 500
    for _ in range(4):
        told = await world.look(gate, 4.0)
    assert (told.served_fps, told.missing) == (0, ())


async def test_a_pod_that_was_seen_before_it_served_counts_from_its_first_answer(world: World) -> None:
    world.tritons["p0"].frames, loads = 0, replace(pod("p0"), ready=False, unborn=True)
    assert await world.look(replace(view(), pods=(loads,))) is None
    world.tritons["p0"].frames = 60
    told = await world.look(view("p0"))
    assert told.missing == ()
    assert (told.recent_fps, told.served_fps) == (30.0, 30.0)


async def test_pods_that_load_are_not_asked(world: World) -> None:
    assert await world.look(view("p0", ready=False)) is None
    assert world.tritons["p0"].asked == 0


# DCGM


async def test_engine_activity_is_found_by_the_service_and_has_words_when_it_is_not(
    server: FakeApiServer, kube: Kube, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, port = [1000.0], free_port()
    energy, moving = [1.0], [1.0]

    async def answer(_request: web.Request) -> web.Response:
        energy[0] += moving[0]
        row = 'DCGM_FI_PROF_GR_ENGINE_ACTIVE{gpu="0",GPU_I_ID="7",namespace="cams",pod="p0"} 0.625\n'
        return web.Response(text=row + f'DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION{{gpu="0"}} {energy[0]}\n')

    async def pages(*_: object, **given: object) -> AsyncIterator[dict]:
        assert given == {"namespace": "gpu-operator", "selector": "kubernetes.io/service-name=nvidia-dcgm-exporter"}
        yield {"items": [{"endpoints": [{"addresses": ["127.0.0.1"]}]}]}

    monkeypatch.setattr(kube, "pages", pages)
    app = web.Application()
    app.add_routes([web.get("/metrics", answer)])
    exporter = TestServer(app, host="127.0.0.1", port=port)
    await exporter.start_server()
    where = Where("gpu-operator", "nvidia-dcgm-exporter", port)
    told = EngineActivity(where, stale_s=15, clock=lambda: now[0])
    assert told.of("cams", "p0") == (None, "DCGM was not asked yet")
    async with aiohttp.ClientSession() as session:
        await told.look(kube, session)
        assert told.of("cams", "p0") == (0.625, "")
        assert told.of("cams", "p9")[1] == "DCGM has no row for pod cams/p9"
        moving[0] = 0.0
        for _ in range(10):
            now[0] += 10
            await told.look(kube, session)
        assert told.of("cams", "p0") == (None, "DCGM's pages do not change for 90 s")
        await exporter.close()
        now[0] += engine_activity.FIND_S
        await told.look(kube, session)
        assert told.of("cams", "p0")[0] is None
        assert "DCGM exporter at 127.0.0.1: it cannot be asked" in told.of("cams", "p0")[1]


async def test_where_nobody_asks_dcgm_nothing_is_missed() -> None:
    assert EngineActivity(None, stale_s=15).of("cams", "p0") == (None, "")

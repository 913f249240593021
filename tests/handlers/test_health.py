"""What the probes are told, and what is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp.test_utils import TestClient, TestServer

from yolofleet.handlers import health as module
from yolofleet.handlers.health import STUCK_S, Health, app
from yolofleet.handlers.metrics import Metrics
from yolofleet.observe.audit import Finding


def test_a_fresh_operator_is_well() -> None:
    assert Health().ailments(1000.0) == []


@pytest.mark.parametrize(("age_s", "ill"), [(0, False), (STUCK_S, False), (STUCK_S + 1, True)])
def test_a_pass_that_hangs_is_an_ailment(age_s, ill) -> None:
    told = Health(pass_began=1000.0).ailments(1000.0 + age_s)
    assert bool(told) is ill
    assert all("more than 300 s" in line for line in told)


def test_a_watch_is_silent_after_two_audits_in_a_row() -> None:
    health = Health()
    health.heard(Finding("Pod", 3))
    assert health.ailments(0) == []
    health.heard(Finding("Pod", 1))
    assert health.ailments(0) == ["the watch of Pod is silent: audits found changes that it never told"]
    health.heard(Finding("Pod", 0))
    assert health.ailments(0) == []


def test_another_kind_or_namespace_that_speaks_hides_no_silence() -> None:
    health = Health()
    for _ in range(2):
        health.heard(Finding("Pod", 1, "cams"))
        health.heard(Finding("Pod", 0, "gates"))
        health.heard(Finding("Job", 0, "cams"))
    assert len(health.ailments(0)) == 1


def test_two_namespaces_of_one_kind_are_one_line() -> None:
    health = Health()
    for namespace in ("a", "b", "a", "b"):
        health.heard(Finding("Pod", 1, namespace))
    assert len(health.ailments(0)) == 1


@pytest.fixture
def health() -> Health:
    return Health()


@pytest.fixture
async def client(health) -> AsyncIterator[TestClient]:
    metrics = Metrics()
    metrics.writes.labels("apply", "Deployment").inc(2)
    async with TestClient(TestServer(app(health, metrics))) as made:
        yield made


async def test_probes_of_an_operator_that_starts_serves_and_hangs(client, health, monkeypatch) -> None:
    async def answers() -> tuple[int, int]:
        return (await client.get("/healthz")).status, (await client.get("/readyz")).status

    assert await answers() == (200, 503)
    health.synced = True
    assert await answers() == (200, 200)
    health.pass_began = 0.0
    monkeypatch.setattr(module.time, "monotonic", lambda: STUCK_S + 1)
    assert await answers() == (503, 503)
    assert "a pass has been running" in await (await client.get("/healthz")).text()


async def test_metrics_are_prometheus_text(client) -> None:
    answer = await client.get("/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain")
    assert 'yolofleet_writes_total{kind="Deployment",verb="apply"} 2.0' in await answer.text()


async def test_nothing_else_is_served(client) -> None:
    assert (await client.get("/")).status == 404
    assert (await client.post("/healthz")).status == 405

"""What the operator reacts to, called as plain functions; how it starts, and how it ends."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable

import aiohttp
import kopf
import pytest

from tests.fake_api_server import FakeApiServer, Fault
from tests.raw_objects import PUBLISHED, SETTINGS, build_pod, job_ended, node, rolled_out, yolodeployment
from yolofleet import handlers
from yolofleet.errors import ApiServerError
from yolofleet.handlers import __main__ as process
from yolofleet.handlers import fleet as fleet_module
from yolofleet.handlers import switchboard, take
from yolofleet.handlers.fleet import Fleet
from yolofleet.handlers.health import Health
from yolofleet.handlers.metrics import Metrics
from yolofleet.observe.cache import Cache, Key

GATE = Key("YoloDeployment", "cams", "gate")


def seen(version: int = 5, **meta: str):
    told = yolodeployment()
    told["metadata"] |= {"resourceVersion": str(version), "uid": "u"} | meta
    return told


async def until(met: Callable[[], bool]) -> None:
    """Wait for something that other tasks bring about."""
    async with asyncio.timeout(30):
        while not met():  # noqa: ASYNC110 - whatever it is, it may happen in another task or on the server
            await asyncio.sleep(0.005)


# Events


def test_the_switchboard_lists_our_kinds_and_nodes_and_no_children() -> None:
    registry = switchboard(SETTINGS)
    plurals = {(h.selector.group, h.selector.any_name or h.selector.plural) for h in registry._watching._handlers}
    assert plurals == {
        ("yolofleet.dev", "yolodeployments"),
        ("yolofleet.dev", "yoloengines"),
        ("yolofleet.dev", "migpools"),
        ("", "nodes"),
    }
    assert not registry._changing._handlers, "kopf writes annotations for those"
    assert not registry._spawning._handlers, "one task per object"


@pytest.mark.parametrize("event", [None, "ADDED", "MODIFIED"])
def test_what_a_watch_tells_is_in_the_cache(event) -> None:
    cache = Cache()
    take(cache, "YoloDeployment", {"type": event, "object": seen()})
    assert cache.get(GATE) is not None
    assert cache.dirty.take(9) == {GATE}


def test_what_a_watch_says_is_gone_is_gone() -> None:
    cache = Cache()
    take(cache, "YoloDeployment", {"type": "ADDED", "object": seen()})
    take(cache, "YoloDeployment", {"type": "DELETED", "object": seen(6)})
    assert cache.get(GATE) is None


def test_what_is_on_its_way_out_is_kept_until_it_is_gone() -> None:
    cache = Cache()
    take(cache, "YoloDeployment", {"type": "ADDED", "object": seen()})
    cache.dirty.take(9)
    take(cache, "YoloDeployment", {"type": "MODIFIED", "object": seen(6, deletionTimestamp="2026-01-01T00:00:00Z")})
    assert "deletionTimestamp" in cache.get(GATE)["metadata"]
    assert cache.dirty.take(9) == {GATE}


def test_kopf_writes_nothing_of_its_own_and_every_watch_is_bounded() -> None:
    settings = kopf.OperatorSettings()
    handlers._tune(settings)
    assert settings.posting.enabled is False
    assert settings.scanning.disabled is True
    assert settings.watching.server_timeout < settings.watching.client_timeout


# Start and end


@pytest.mark.parametrize(
    "error", [ApiServerError(status=403, reason="Forbidden", message="no"), aiohttp.ClientError(), OSError()]
)
async def test_starting_is_patient_with_the_api_server(monkeypatch, error) -> None:
    pauses = []

    async def sleep(pause_s: float) -> None:
        pauses.append(pause_s)

    class Late:
        async def load(self) -> None:
            if len(pauses) < 7:
                raise error

    monkeypatch.setattr(handlers.asyncio, "sleep", sleep)
    await handlers._loaded(Late())
    assert pauses == [1, 2, 4, 5, 5, 5, 5]


async def test_a_crash_of_the_passes_is_loud_and_stops_the_process(caplog) -> None:
    async def crash() -> None:
        raise RuntimeError("a bug")

    stop, task = asyncio.Event(), asyncio.create_task(crash())
    await asyncio.wait([task])
    handlers._ended(task, stop=stop)
    assert stop.is_set()
    assert "a bug" in caplog.text


async def test_an_end_that_was_asked_for_is_quiet(caplog) -> None:
    stop, task = asyncio.Event(), asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    handlers._ended(task, stop=stop)
    assert not stop.is_set()
    assert caplog.text == ""


@pytest.mark.parametrize(
    ("host", "server"),
    [("10.0.0.1", "https://10.0.0.1:6443"), ("fd00::1", "https://[fd00::1]:6443"), ("", "https://by.name")],
)
def test_the_api_server_is_reached_by_its_address(monkeypatch, host, server) -> None:
    monkeypatch.setenv("KUBERNETES_SERVICE_HOST", host)
    monkeypatch.setenv("KUBERNETES_SERVICE_PORT", "6443")
    assert handlers._by_address(kopf.ConnectionInfo(server="https://by.name")).server == server
    assert handlers._by_address(None) is None


def test_settings_that_are_wrong_end_the_process_with_each_field(monkeypatch, capsys, tmp_path) -> None:
    path = tmp_path / "settings.yaml"
    path.write_text("images: {triton: t, builder: b}\nbuilds: {version: '1'}\nhttpPort: 99999\nhttpProt: 1\n")
    monkeypatch.setattr("sys.argv", ["yolofleet", "--settings", str(path)])
    assert process.main() == 2
    told = capsys.readouterr().err
    for fragment in ("images.operator", "httpPort", "99999", "httpProt"):
        assert fragment in told


def test_a_settings_file_that_is_not_there_names_its_remedy(monkeypatch, capsys, tmp_path) -> None:
    monkeypatch.setattr("sys.argv", ["yolofleet", "--settings", str(tmp_path / "none.yaml")])
    assert process.main() == 2
    assert "mount the chart's ConfigMap there" in capsys.readouterr().err


def test_a_log_line_is_one_json_object_with_its_fields() -> None:
    record = logging.makeLogRecord({"msg": "listed", "levelname": "INFO", "pods": 3})
    told = json.loads(process._Json().format(record))
    assert (told["event"], told["level"], told["pods"]) == ("listed", "INFO", 3)


# All together


@pytest.fixture
async def running(server, kube, monkeypatch):
    """A fleet that runs: its passes, reflectors and timers, fed with our kinds as kopf would."""
    monkeypatch.setattr(fleet_module, "PROGRESS_PERIOD_S", 0.01)
    metrics, health = Metrics(), Health()
    made = Fleet(SETTINGS, kube, metrics=metrics, health=health)
    await made.load()
    task = asyncio.create_task(made.run())
    await until(lambda: server.watched("Pod") and server.watched("Job") and server.watched("Deployment"))
    yield made, metrics, health
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def tells(server: FakeApiServer, fleet: Fleet, kind: str, name: str, namespace: str = "cams") -> None:
    take(fleet.cache, kind, {"type": "MODIFIED", "object": server.get(kind, name, namespace)})


async def test_from_a_manifest_to_replicas_by_watches_alone(server, running) -> None:
    fleet, metrics, health = running
    server.put(node())
    tells(server, fleet, "Node", "n1", "")
    server.put(yolodeployment())
    tells(server, fleet, "YoloDeployment", "gate")
    await until(lambda: bool(server.all("Job")))
    (job,) = server.all("Job")
    server.put(build_pod(job, result=PUBLISHED))
    server.edit("Job", "cams", job["metadata"]["name"], status=job_ended())
    await until(lambda: bool(server.all("Deployment")))
    (deployment,) = server.all("Deployment")
    server.edit("Deployment", "cams", "gate-gpu", status=rolled_out(deployment))
    await until(lambda: server.get("YoloDeployment", "gate")["status"]["readyReplicas"] == 1)
    assert health.synced
    assert metrics.failed_passes._value.get() == 0


async def test_idle_it_asks_and_writes_nothing(server, running) -> None:
    _fleet, metrics, _ = running
    before, now = (-1, -1), (0, 0)
    async with asyncio.timeout(30):
        while now != before:
            before = now
            await asyncio.sleep(0.1)  # ten periods of its quickest timer
            now = (metrics.passes._value.get(), len(server.asked))


async def test_an_audit_that_fails_is_told_and_harms_nothing(server, kube, caplog) -> None:
    health = Health()
    fleet = Fleet(SETTINGS, kube, metrics=Metrics(), health=health)
    server.faults.append(Fault("GET", "pods", 500, "Oops", "later"))
    await fleet._audit(fleet_module.CHILDREN[-1], None)
    assert "audit failed" in caplog.text
    assert health.silent == {}

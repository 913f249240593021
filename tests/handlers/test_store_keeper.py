"""Passes over a real S3 server: no build without a grant, no engine that is not there."""

from __future__ import annotations

import asyncio
import json
import secrets
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import generate_latest

from model_repo_builder import bucket_shelf, command
from model_repo_builder.__main__ import assemble_model
from model_repo_builder.granted_store import GrantedStore
from tests.fake_api_server import FakeApiServer
from tests.handlers.test_fleet import conditions, ended, made, message, only, seen, serving_fleet, settled
from tests.model_repo_builder.test_store import told_of
from tests.raw_objects import ARTIFACT, node, serving_pod, settings, yolodeployment
from tests.s3_server import WRITER, S3Server, s3_server
from yolofleet.api.store import GRANT_ENV, Grant
from yolofleet.handlers import store_keeper
from yolofleet.handlers.fleet import Fleet
from yolofleet.kube import Kube
from yolofleet.render.meta import stamp


@pytest.fixture(autouse=True)
def _mounted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Put the operator's credential where the chart mounts it."""
    for name, value in (("accessKey", WRITER.access), ("secretKey", WRITER.secret)):
        (tmp_path / name).write_text(value)
    monkeypatch.setattr(store_keeper, "CREDENTIAL_PATH", str(tmp_path))
    monkeypatch.setattr(store_keeper, "SILENCE_S", 0.0)


def s3_settings(s3: S3Server):
    endpoint, prefix = s3.bucket().endpoint, f"{secrets.token_hex(4)}/"
    return settings(store={"kind": "S3", "s3": {"endpoint": endpoint, "prefix": prefix}})


async def building(server: FakeApiServer, kube: Kube, s3: S3Server) -> tuple[Fleet, Grant]:
    """Return a fleet whose one engine is being built, and the grant of its build."""
    server.put(node())
    server.put(yolodeployment())
    fleet = made(kube, s3_settings(s3))
    await fleet.load()
    await settled(fleet)
    return fleet, grant_of(server)


def grant_of(server: FakeApiServer) -> Grant:
    (container,) = only(server, "Job")["spec"]["template"]["spec"]["containers"]
    (told,) = [variable["value"] for variable in container["env"] if variable["name"] == GRANT_ENV]
    return Grant.model_validate_json(told)


def built(grant: Grant) -> dict[str, object]:
    """Publish an engine as the build pod would; return its report."""
    with GrantedStore(grant).writing(grant.key) as writer:
        (writer.folder / "model.onnx").write_bytes(b"a whole model")
        stored = writer.publish(told_of(writer.folder, grant.key))
    return {"outcome": "Published", "artifact": stored.artifact.wire(), "weightsSHA256": "b" * 64}


async def test_a_build_gets_a_grant_and_its_engine_is_published_by_the_operator(server, kube, s3) -> None:
    fleet, grant = await building(server, kube, s3)
    assert not server.all("PersistentVolumeClaim")
    report = built(grant)
    ended(server, report)
    await seen(fleet)
    engine = only(server, "YoloEngine")
    assert conditions(engine)["Ready"] == ("True", "Published")
    assert engine["status"]["artifact"] == report["artifact"]
    (deployment,) = server.all("Deployment")
    assert deployment["spec"]["template"]["spec"]["volumes"][0]["secret"]["secretName"] == "yolofleet-store-read"
    again = made(kube, fleet._settings)
    await again.load()
    await settled(again)
    assert len(server.all("Job")) == 1


async def test_two_deployments_of_one_model_on_two_nodes_have_one_build(server, kube, s3) -> None:
    server.put(node("n1", devices={"nvidia.com/gpu": "1"}))
    server.put(node("n2", devices={"nvidia.com/gpu": "1"}))
    server.put(yolodeployment("gate"))
    server.put(yolodeployment("yard"))
    fleet = made(kube, s3_settings(s3))
    await fleet.load()
    await settled(fleet)
    assert [owner["name"] for owner in only(server, "YoloEngine")["metadata"]["ownerReferences"]] == ["gate", "yard"]
    ended(server, built(grant_of(server)))  # `grant_of` fails where there is another Job
    await seen(fleet)
    assert {d["metadata"]["labels"]["yolofleet.dev/deployment"] for d in server.all("Deployment")} == {"gate", "yard"}
    assert only(server, "YoloEngine")["status"]["attempts"] == 1


async def test_what_lies_in_the_store_from_former_days_needs_no_build(server, kube, s3) -> None:
    fleet, grant = await building(server, kube, s3)
    report = built(grant)
    ended(server, report)
    await seen(fleet)
    for kind in ("YoloEngine", "Job", "Deployment", "Pod", "YoloDeployment"):
        for obj in server.all(kind):
            server.remove(kind, obj["metadata"]["name"])
    server.put(yolodeployment("again"))
    later = made(kube, fleet._settings)
    await later.load()
    await settled(later)
    engine = only(server, "YoloEngine")
    assert not server.all("Job")
    assert conditions(engine)["Ready"] == ("True", "Published")
    assert (engine["status"]["message"], engine["status"]["artifact"]) == ("cached", report["artifact"])
    assert engine["status"].get("attempts", 0) == 0
    assert only(server, "Deployment")["metadata"]["name"].startswith("again")


async def test_a_build_that_reports_what_is_not_there_is_tried_again_and_the_condition_says_why(
    server, kube, s3
) -> None:
    fleet, grant = await building(server, kube, s3)
    ended(server, {"outcome": "Published", "artifact": ARTIFACT | {"uri": grant.uri}, "weightsSHA256": "b" * 64})
    await seen(fleet)
    engine = only(server, "YoloEngine")
    assert conditions(engine)["Ready"] == ("False", "BackingOff")
    assert "the store holds something else than the build reports" in message(engine, "Ready")
    assert not server.all("Deployment")


async def test_no_build_starts_while_the_store_is_away_and_it_starts_when_it_is_back(
    server, kube, tmp_path: Path
) -> None:
    with s3_server(tmp_path / "s3") as s3:
        s3.stop()
        server.put(node())
        server.put(yolodeployment())
        fleet = made(kube, s3_settings(s3))
        await fleet.load()
        await settled(fleet)
        assert not server.all("Job")
        engine = only(server, "YoloEngine")
        assert conditions(engine)["Ready"] == ("False", "StoreUnavailable")
        assert s3.bucket().endpoint in message(engine, "Ready")
        assert "StoreUnavailable" not in json.dumps(server.all("Deployment"))
        s3.start()
        await seen(fleet)
        report = built(grant_of(server))
        s3.stop()
        ended(server, report)
        await seen(fleet)
        assert conditions(only(server, "YoloEngine"))["Ready"] == ("False", "StoreUnavailable")
        s3.start()
        await seen(fleet)
        assert conditions(only(server, "YoloEngine"))["Ready"] == ("True", "Published")


async def test_an_engine_that_lies_on_a_claim_is_built_anew_into_s3(server, kube, s3) -> None:
    fleet = await serving_fleet(server, kube)
    serving = only(server, "Deployment")
    assert only(server, "YoloEngine")["status"]["artifact"]["uri"].startswith("file://")
    moved = made(kube, s3_settings(s3))
    await moved.load()
    await settled(moved)
    engine = only(server, "YoloEngine")
    assert conditions(engine)["Ready"] == ("False", "Building")
    assert only(server, "Deployment") == serving, "what serves stays as it is until the other store has its engine"
    assert conditions(only(server, "YoloDeployment"))["Progressing"] == ("True", "HeldBack")
    report = built(grant_of(server))
    ended(server, report)
    await seen(moved)
    assert only(server, "YoloEngine")["status"]["artifact"] == report["artifact"]
    assert only(server, "Deployment")["spec"]["template"]["spec"]["volumes"][0]["secret"]
    del fleet


async def test_an_engine_that_a_pod_finds_damaged_is_built_anew_by_itself(server, kube, s3, tmp_path: Path) -> None:
    """The pod's words are those of the real `assemble`; nobody deletes anything by hand."""
    fleet, grant = await building(server, kube, s3)
    ended(server, built(grant))
    await seen(fleet)
    assert await assembled(server, tmp_path) == ""
    bucket = s3.bucket(fleet._settings.store.s3.prefix).of_namespace("cams")
    s3.path(bucket.file_of(grant.key, grant.attempt, "model.onnx")).write_bytes(b"a whole modem")
    said = await assembled(server, tmp_path)
    assert json.loads(said)["damaged"] is True
    failing(server, said)
    await seen(fleet)
    engine = only(server, "YoloEngine")
    assert conditions(engine)["Ready"] == ("False", "Building")
    assert "has sha256" in engine["status"]["damage"]["message"]
    (event,) = [e for e in server.all("Event") if e["reason"] == "EngineDamaged" and e["action"] == "Ready"]
    assert "gate" in event["note"]
    again = grant_of(server)
    assert again.attempt != grant.attempt
    assert again.published is not None, "the build is told what lies there, and finds it damaged"
    ended(server, built(again))
    await seen(fleet)
    engine = only(server, "YoloEngine")
    assert conditions(engine)["Ready"] == ("True", "Published")
    assert engine["status"]["damage"]["repairs"] == 1
    metrics = generate_latest(fleet._metrics.registry).decode()
    assert 'yolofleet_damaged_engines_total{namespace="cams"} 1.0' in metrics, "however many passes saw it"
    assert await assembled(server, tmp_path) == ""


async def test_an_engine_that_the_store_has_lost_is_built_anew(server, kube, s3, tmp_path: Path) -> None:
    fleet, grant = await building(server, kube, s3)
    ended(server, built(grant))
    await seen(fleet)
    bucket = s3.bucket(fleet._settings.store.s3.prefix).of_namespace("cams")
    shutil.rmtree(s3.path(bucket.manifest_of(grant.key)).parent)
    failing(server, await assembled(server, tmp_path))
    await seen(fleet)
    assert "no engine is published under this key" in only(server, "YoloEngine")["status"]["damage"]["message"]
    assert grant_of(server).published is None
    ended(server, built(grant_of(server)))
    await seen(fleet)
    assert conditions(only(server, "YoloEngine"))["Ready"] == ("True", "Published")
    assert await assembled(server, tmp_path) == ""


async def assembled(server: FakeApiServer, tmp_path: Path) -> str:
    """Run the init container of the Deployment's pods as it stands there; return its last words."""
    (init,) = only(server, "Deployment")["spec"]["template"]["spec"]["initContainers"]
    log = tmp_path / "termination-log"
    log.write_text("")
    told = ["assemble", "--models", str(tmp_path), "--termination-log", str(log)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bucket_shelf, "CREDENTIAL_PATH", str(tmp_path))
        for variable in init["env"]:
            patch.setenv(variable["name"], variable["value"])
        await asyncio.to_thread(assemble_model, command.parse(told))
    return log.read_text()


def failing(server: FakeApiServer, said: str) -> None:
    """Let a serving pod's init container have ended with these words, half a minute after the engine was published."""
    now = datetime.now(UTC)
    engine = only(server, "YoloEngine")
    told = [c | {"lastTransitionTime": stamp(now - timedelta(minutes=1))} for c in engine["status"]["conditions"]]
    server.edit("YoloEngine", "cams", engine["metadata"]["name"], status=engine["status"] | {"conditions": told})
    pod = serving_pod(only(server, "Deployment"), ready=False)
    state = {"terminated": {"exitCode": 1, "message": said, "startedAt": stamp(now - timedelta(seconds=30))}}
    pod["status"]["initContainerStatuses"] = [{"name": "assemble", "ready": False, "state": state, "lastState": {}}]
    server.put(pod)

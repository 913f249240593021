"""One pass after the other against the fake API server, until nothing is left to do."""

from __future__ import annotations

import pytest

from tests.fake_api_server import FakeApiServer, Fault, faulty
from tests.raw_objects import (
    FAILED,
    PUBLISHED,
    REFUSED,
    SETTINGS,
    Object,
    build_pod,
    job_ended,
    migpool,
    node,
    rolled_out,
    serving_pod,
    settings,
    yolodeployment,
)
from yolofleet.handlers import fleet as fleet_module
from yolofleet.handlers.fleet import Fleet
from yolofleet.handlers.health import Health
from yolofleet.handlers.metrics import Metrics
from yolofleet.kube import Kube
from yolofleet.observe.cache import Key

MOST_PASSES = 12


def made(kube: Kube, given=SETTINGS) -> Fleet:
    return Fleet(given, kube, metrics=Metrics(), health=Health())


async def settled(fleet: Fleet) -> int:
    """Run passes until nobody's turn is left; a fleet that never comes to rest is a write loop."""
    for count in range(MOST_PASSES):
        if not len(fleet.cache.dirty):
            return count
        await fleet.one_pass(fleet.cache.dirty.take(500))
    raise AssertionError("the fleet does not come to rest")


async def started(kube: Kube, given=SETTINGS) -> Fleet:
    """Start an operator, as after a restart, and let it come to rest."""
    fleet = made(kube, given)
    await fleet.load()
    await settled(fleet)
    return fleet


async def seen(fleet: Fleet) -> None:
    """Let the operator see what others did, and come to rest."""
    await fleet.load()
    await settled(fleet)


def only(server: FakeApiServer, kind: str) -> Object:
    (found,) = server.all(kind)
    return found


def conditions(obj: Object) -> dict[str, tuple[str, str]]:
    return {c["type"]: (c["status"], c["reason"]) for c in obj["status"]["conditions"]}


def message(obj: Object, kind: str) -> str:
    return next(c["message"] for c in obj["status"]["conditions"] if c["type"] == kind)


def ended(server: FakeApiServer, result: Object | str, *, how: str = "Complete", exit_code: int = 0) -> None:
    """Let the build's Job end, as the Job controller and the kubelet would."""
    job = only(server, "Job")
    server.put(build_pod(job, result=result, exit_code=exit_code))
    server.edit("Job", "cams", job["metadata"]["name"], status=job_ended(how))


def serves(server: FakeApiServer, **given: object) -> Object:
    """Let the one Deployment's replicas become ready."""
    deployment = only(server, "Deployment")
    for number in range(deployment["spec"]["replicas"]):
        server.put(serving_pod(deployment, number))
    return server.edit("Deployment", "cams", deployment["metadata"]["name"], status=rolled_out(deployment), **given)


async def serving_fleet(server: FakeApiServer, kube: Kube) -> Fleet:
    """Return a fleet with one YoloDeployment that serves."""
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    ended(server, PUBLISHED)
    await seen(fleet)
    serves(server)
    await seen(fleet)
    server.asked.clear()
    return fleet


async def test_a_fresh_yolodeployment_gets_an_engine_a_claim_and_a_build_and_says_so(server, kube):
    server.put(node())
    server.put(yolodeployment())
    await started(kube)
    engine, job = only(server, "YoloEngine"), only(server, "Job")
    assert engine["metadata"]["name"] == job["metadata"]["name"]
    assert [o["name"] for o in engine["metadata"]["ownerReferences"]] == ["gate"]
    assert only(server, "PersistentVolumeClaim")["metadata"]["name"] == "yolofleet-engines"
    assert not server.all("Deployment")
    assert conditions(engine)["Ready"] == ("False", "Building")
    told = conditions(only(server, "YoloDeployment"))
    assert told["EngineReady"] == ("False", "Building")
    assert told["Placed"] == ("False", "WaitingForEngine")
    assert told["Ready"] == ("False", "NotServing")


async def test_each_object_is_written_once(server, kube):
    server.put(node())
    server.put(yolodeployment())
    await started(kube)
    written = [(asked.plural, asked.name) for asked in server.writes if asked.subresource != "status"]
    assert len(written) == len(set(written))


async def test_a_fleet_that_starts_takes_together_those_that_share_an_engine(server, kube):
    for number in range(6):
        other = yolodeployment(engine={"maxBatchSize": 8 + number % 2})
        server.put(other | {"metadata": {"name": f"gate-{number}", "namespace": "cams"}})
    fleet = made(kube)
    await fleet.load()
    order = [key.name for _ in range(6) for key in fleet.cache.dirty.take(1)]
    assert order == ["gate-0", "gate-2", "gate-4", "gate-1", "gate-3", "gate-5"]


async def test_a_published_engine_is_served_and_then_nothing_is_left_to_write(server, kube):
    fleet = await serving_fleet(server, kube)
    (deployment,) = server.all("Deployment")
    assert deployment["metadata"]["name"] == "gate-gpu"
    assert only(server, "Service")["metadata"]["name"] == "gate"
    assert only(server, "PodDisruptionBudget")["spec"]["maxUnavailable"] == 1
    told = conditions(only(server, "YoloDeployment"))
    assert told["Ready"] == ("True", "Serving")
    assert told["Progressing"] == ("False", "Stable")
    await seen(fleet)
    assert server.writes == []


async def test_a_restart_writes_nothing(server, kube):
    await serving_fleet(server, kube)
    await started(kube)
    assert server.writes == []


async def test_a_restart_in_mid_build_writes_nothing_and_starts_no_second_build(server, kube):
    server.put(node())
    server.put(yolodeployment())
    await started(kube)
    server.put(build_pod(only(server, "Job")))
    await started(kube)
    server.asked.clear()
    await started(kube)
    assert server.writes == []
    assert only(server, "YoloEngine")["status"]["attempts"] == 1


async def test_a_build_that_ended_while_the_operator_was_down_is_published(server, kube):
    server.put(node())
    server.put(yolodeployment())
    await started(kube)
    ended(server, PUBLISHED)
    await started(kube)
    assert only(server, "YoloEngine")["status"]["artifact"]["sha256"] == "a" * 64
    assert only(server, "Deployment")["spec"]["replicas"] == 1


async def test_a_failed_build_is_taken_away_and_tried_again_when_its_time_has_come(server, kube):
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    ended(server, FAILED, how="Failed", exit_code=1)
    await seen(fleet)
    engine = only(server, "YoloEngine")
    assert not server.all("Job")
    assert conditions(engine)["Ready"] == ("False", "BackingOff")
    assert "the network is down" in message(only(server, "YoloDeployment"), "EngineReady")
    server.asked.clear()
    await started(kube)
    assert server.writes == [], "a backoff survives a restart"
    server.edit(
        "YoloEngine",
        "cams",
        engine["metadata"]["name"],
        status=engine["status"] | {"nextAttemptTime": "2026-01-01T00:00:00+00:00"},
    )
    await started(kube)
    assert only(server, "Job")
    assert only(server, "YoloEngine")["status"]["attempts"] == 2


async def test_the_pod_of_the_attempt_before_does_not_speak_for_the_next(server, kube):
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    ended(server, FAILED, how="Failed", exit_code=1)
    await seen(fleet)
    name = only(server, "YoloEngine")["metadata"]["name"]
    status = only(server, "YoloEngine")["status"] | {"nextAttemptTime": "2026-01-01T00:00:00+00:00"}
    server.edit("YoloEngine", "cams", name, status=status)
    assert only(server, "Pod")["status"]["phase"] == "Failed"
    await started(kube)
    await started(kube)
    engine = only(server, "YoloEngine")
    assert only(server, "Job")
    assert conditions(engine)["Ready"] == ("False", "Building")
    assert engine["status"]["attempts"] == 2


async def test_a_refused_build_is_final_says_what_to_mend_and_comes_to_rest(server, kube):
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    ended(server, REFUSED, how="Failed", exit_code=42)
    await seen(fleet)
    deployment = only(server, "YoloDeployment")
    assert conditions(deployment)["EngineReady"] == ("False", "BuildRefused")
    assert conditions(deployment)["Progressing"] == ("False", "BuildRefused")
    told = message(deployment, "EngineReady")
    assert "spec.model.http.sha256" in told
    assert "c" * 64 in told
    assert "pin the digest" in told
    server.remove("Job", only(server, "YoloEngine")["metadata"]["name"])
    await seen(fleet)
    await started(kube)
    assert not server.all("Job")


async def test_the_end_of_a_job_waits_for_the_last_words_of_its_pod(server, kube, monkeypatch):
    monkeypatch.setattr("yolofleet.planning.builds.building.LAST_WORDS_S", 10**9)
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    job = only(server, "Job")
    server.put(build_pod(job))
    server.edit("Job", "cams", job["metadata"]["name"], status=job_ended("Complete"))
    await seen(fleet)
    assert only(server, "Job")
    assert conditions(only(server, "YoloEngine"))["Ready"] == ("False", "Building")
    server.put(build_pod(job, result=PUBLISHED))
    await seen(fleet)
    assert conditions(only(server, "YoloEngine"))["Ready"] == ("True", "Published")


async def test_two_deployments_share_an_engine_and_it_goes_with_the_last(server, kube):
    server.put(node())
    server.put(yolodeployment("gate"))
    server.put(yolodeployment("yard"))
    fleet = await started(kube)
    engine = only(server, "YoloEngine")
    assert sorted(o["name"] for o in engine["metadata"]["ownerReferences"]) == ["gate", "yard"]
    assert len(server.all("Job")) == 1
    server.edit("YoloDeployment", "cams", "gate", spec=yolodeployment(model={"builtin": "yolo11n"})["spec"])
    await seen(fleet)
    engines = {
        e["metadata"]["name"]: [o["name"] for o in e["metadata"]["ownerReferences"]] for e in server.all("YoloEngine")
    }
    assert engines.pop(engine["metadata"]["name"]) == ["yard"]
    assert list(engines.values()) == [["gate"]]
    server.edit("YoloDeployment", "cams", "yard", spec=yolodeployment(model={"builtin": "yolo11n"})["spec"])
    await seen(fleet)
    assert only(server, "YoloEngine")["metadata"]["name"] != engine["metadata"]["name"]


async def test_another_engine_is_built_while_the_old_one_serves(server, kube):
    fleet = await serving_fleet(server, kube)
    before = only(server, "Deployment")["spec"]
    server.edit("YoloDeployment", "cams", "gate", spec=yolodeployment(model={"builtin": "yolo11n"})["spec"])
    await seen(fleet)
    assert only(server, "Deployment")["spec"] == before
    told = only(server, "YoloDeployment")
    assert conditions(told)["Ready"] == ("True", "Serving")
    assert conditions(told)["Progressing"] == ("True", "HeldBack")
    assert len(server.all("YoloEngine")) == 2
    job = next(j for j in server.all("Job") if not j.get("status"))
    server.put(build_pod(job, result=PUBLISHED, name="second"))
    server.edit("Job", "cams", job["metadata"]["name"], status=job_ended())
    await seen(fleet)
    new = job["metadata"]["name"]
    stable, canary = sorted(server.all("Deployment"), key=lambda one: len(one["metadata"]["name"]))
    assert stable["spec"] == before, "it goes on while the new one proves itself beside it"
    assert canary["metadata"]["labels"]["yolofleet.dev/engine"] == new
    assert conditions(only(server, "YoloDeployment"))["Progressing"] == ("True", "Canary")
    again = made(kube)
    await again.load()
    written = len([asked for asked in server.asked if asked.method != "GET"])
    await settled(again)
    assert len([asked for asked in server.asked if asked.method != "GET"]) == written, "a restart changes nothing"
    server.edit("YoloDeployment", "cams", "gate", metadata={"annotations": {"yolofleet.dev/rollout": f"promote {new}"}})
    await seen(fleet)
    stable, canary = sorted(server.all("Deployment"), key=lambda one: len(one["metadata"]["name"]))
    assert stable["metadata"]["labels"]["yolofleet.dev/engine"] == new
    assert only(server, "YoloDeployment")["status"]["rollout"]["phase"] == "Promoting"
    assert len(server.all("YoloEngine")) == 2, "the old one is still in use"


async def test_suspend_takes_the_replicas_and_keeps_the_engine(server, kube):
    fleet = await serving_fleet(server, kube)
    server.edit("YoloDeployment", "cams", "gate", spec=yolodeployment(suspend=True)["spec"])
    await seen(fleet)
    assert not server.all("Deployment")
    assert only(server, "YoloEngine")
    for pod in server.all("Pod"):
        server.remove("Pod", pod["metadata"]["name"])
    await seen(fleet)
    told = conditions(only(server, "YoloDeployment"))
    assert told["Ready"] == ("False", "Suspended")
    assert told["Progressing"] == ("False", "Suspended")


async def test_a_refused_write_becomes_a_condition_and_goes_with_its_cause(server, kube):
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    ended(server, PUBLISHED)
    quota = 'deployments.apps "gate-gpu" is forbidden: exceeded quota: small, requested: count=1, used: 1, limited: 1'
    with faulty(server, Fault("PATCH", "deployments", 403, "Forbidden", quota)):
        await seen(fleet)
        told = only(server, "YoloDeployment")
        assert conditions(told)["Placed"] == ("False", "QuotaExceeded")
        assert "exceeded quota: small" in message(told, "Placed")
        assert "raise the ResourceQuota" in message(told, "Placed")
        server.asked.clear()
        await seen(fleet)
        assert [(a.plural, a.subresource) for a in server.writes] == [("deployments", "")], (
            "one try, nothing new to say"
        )
    await seen(fleet)
    assert conditions(only(server, "YoloDeployment"))["Placed"] == ("True", "Placed")


async def test_a_refusal_that_is_no_longer_asked_for_is_forgotten(server, kube):
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    ended(server, PUBLISHED)
    with faulty(server, Fault("PATCH", "deployments", 422, "Invalid", "spec.template: no")):
        await seen(fleet)
        assert conditions(only(server, "YoloDeployment"))["Placed"] == ("False", "PodRefused")
        server.edit("YoloDeployment", "cams", "gate", spec=yolodeployment(suspend=True)["spec"])
        await seen(fleet)
        assert conditions(only(server, "YoloDeployment"))["Placed"] == ("True", "Placed")


async def test_a_refused_build_job_is_held_told_and_tried_again_by_the_timer(server, kube, monkeypatch):
    monkeypatch.setattr(fleet_module, "REFUSED_RETRY_S", 0.5)
    server.put(node())
    server.put(yolodeployment())
    with faulty(server, Fault("POST", "jobs", 403, "Forbidden", "jobs.batch is forbidden: exceeded quota: small")):
        fleet = await started(kube)
        engine = only(server, "YoloEngine")
        assert conditions(engine)["Ready"] == ("False", "BuildQuotaExceeded")
        assert "exceeded quota: small" in message(engine, "Ready")
        assert "raise the quota" in message(engine, "Ready")
        tries = [a for a in server.writes if a.plural == "jobs"]
        assert len(tries) <= 2
    await fleet.cache.dirty.wait()
    await settled(fleet)
    assert only(server, "Job")
    assert conditions(only(server, "YoloEngine"))["Ready"] == ("False", "Building")


@pytest.mark.parametrize("status", [0, 500, 429])
async def test_an_engine_that_could_not_be_created_is_tried_again(server, kube, monkeypatch, status):
    monkeypatch.setattr(fleet_module, "RETRY_S", 0.02)
    server.put(node())
    server.put(yolodeployment())
    with faulty(server, Fault("PATCH", "yoloengines", status, "Oops", "later")):
        fleet = await started(kube)
        assert not server.all("YoloEngine")
    await fleet.cache.dirty.wait()
    await settled(fleet)
    assert only(server, "Job")


async def test_an_engine_that_may_not_be_created_is_told_by_who_asked_and_tried_again(server, kube, monkeypatch):
    monkeypatch.setattr(fleet_module, "REFUSED_RETRY_S", 0.5)
    server.put(node())
    server.put(yolodeployment())
    told = "yoloengines is forbidden: exceeded quota: engines"
    with faulty(server, Fault("PATCH", "yoloengines", 403, "Forbidden", told)):
        fleet = await started(kube)
        assert told in message(only(server, "YoloDeployment"), "Placed")
    await fleet.cache.dirty.wait()
    await settled(fleet)
    assert only(server, "Job")
    assert conditions(only(server, "YoloDeployment"))["Placed"] == ("False", "WaitingForEngine")


async def test_a_job_of_another_by_the_same_name_is_told_and_left_alone(server, kube):
    server.put(node())
    server.put(yolodeployment())
    await started(kube)
    name = only(server, "Job")["metadata"]["name"]
    server.remove("Job", name)
    server.put({"kind": "Job", "metadata": {"name": name, "namespace": "cams"}, "spec": {}})
    await started(kube)
    engine = only(server, "YoloEngine")
    assert "is not yolofleet's" in message(engine, "Ready")
    assert only(server, "Job")["spec"] == {}
    assert engine["status"]["attempts"] == 1


async def test_a_claim_of_somebody_else_serves_as_the_store(server, kube):
    server.put({"kind": "PersistentVolumeClaim", "metadata": {"name": "yolofleet-engines", "namespace": "cams"}})
    server.put(node())
    server.put(yolodeployment())
    await started(kube)
    assert only(server, "Job")
    assert "labels" not in only(server, "PersistentVolumeClaim")["metadata"]


async def test_a_job_on_its_way_out_blocks_the_next_build_without_a_write_loop(server, kube):
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    name = only(server, "Job")["metadata"]["name"]
    server.edit("Job", "cams", name, metadata={"deletionTimestamp": "2026-01-01T00:00:00Z"})
    await seen(fleet)
    await seen(fleet)
    engine = only(server, "YoloEngine")
    assert engine["status"]["attempts"] == 1
    assert conditions(engine)["Ready"] == ("False", "Queued")
    assert "former Job" in message(engine, "Ready")
    server.remove("Job", name)
    await seen(fleet)
    assert only(server, "YoloEngine")["status"]["attempts"] == 2


async def test_an_object_that_cannot_be_read_is_told_once_and_stops_nobody(server, kube):
    fleet = await serving_fleet(server, kube)
    server.put(yolodeployment("odd", engine={"precision": "FP2"}))
    odd_engine = only(server, "YoloEngine")["spec"] | {"recipe": {"task": "Dream"}}
    server.put({"kind": "YoloEngine", "metadata": {"name": "e-odd", "namespace": "cams"}, "spec": odd_engine})
    server.put(migpool("odd", overflow="Explode"))
    server.put(yolodeployment("yard", suspend=True))
    await seen(fleet)
    told = server.get("YoloDeployment", "odd")
    assert conditions(told) == {"Ready": ("False", "InvalidSpec")}
    assert "spec.engine.precision" in message(told, "Ready")
    assert "FP2" in message(told, "Ready")
    assert "mend the field, or upgrade the operator" in message(told, "Ready")
    assert conditions(server.get("YoloEngine", "e-odd"))["Ready"] == ("False", "InvalidSpec")
    assert conditions(server.get("MigPool", "odd", ""))["Ready"] == ("False", "InvalidSpec")
    assert conditions(server.get("YoloDeployment", "yard"))["Ready"] == ("False", "Suspended")
    server.asked.clear()
    await seen(fleet)
    await started(kube)
    assert server.writes == [], "no clock in it"


async def test_an_unreadable_spec_keeps_the_rest_of_its_status(server, kube):
    fleet = await serving_fleet(server, kube)
    server.edit("YoloDeployment", "cams", "gate", spec=yolodeployment(engine={"precision": "FP2"})["spec"])
    await seen(fleet)
    told = only(server, "YoloDeployment")
    assert conditions(told)["Ready"] == ("False", "InvalidSpec")
    assert conditions(told)["EngineReady"] == ("True", "EngineReady")
    assert told["status"]["selector"]
    assert only(server, "Deployment")


async def test_a_copied_label_makes_no_deployment_ours(server, kube):
    fleet = await serving_fleet(server, kube)
    labels = dict(only(server, "Deployment")["metadata"]["labels"])
    server.put(
        {"kind": "Deployment", "metadata": {"name": "theirs", "namespace": "cams", "labels": labels}, "spec": {}}
    )
    await seen(fleet)
    assert server.get("Deployment", "theirs")
    assert [g["profile"] for g in only(server, "YoloDeployment")["status"]["groups"]] == ["gpu"]


async def test_what_somebody_changed_is_put_back(server, kube):
    fleet = await serving_fleet(server, kube)
    deployment = only(server, "Deployment")
    server.edit("Deployment", "cams", "gate-gpu", spec=deployment["spec"] | {"replicas": 5})
    await seen(fleet)
    assert only(server, "Deployment")["spec"]["replicas"] == 1
    stripped = {k: v for k, v in deployment["metadata"]["annotations"].items() if k != "yolofleet.dev/profile"}
    server.edit("Deployment", "cams", "gate-gpu", metadata={"annotations": stripped})
    await seen(fleet)
    assert only(server, "Deployment")["metadata"]["annotations"]["yolofleet.dev/profile"] == "gpu"


async def test_a_bug_with_one_object_stops_no_other(server, kube, monkeypatch):
    for name in ("a", "b", "c", "d", "e"):
        server.put(yolodeployment(name))
    server.put(node())
    monkeypatch.setattr(fleet_module, "RETRY_S", 30.0)
    fleet = made(kube)
    await fleet.load()
    whole = fleet._observer.look

    def look(keys, now):
        if any(key.name == "c" for key in keys):
            raise RuntimeError("a bug about c")
        return whole(keys, now)

    monkeypatch.setattr(fleet._observer, "look", look)
    await fleet._survived(fleet.cache.dirty.take(500))
    assert [bool(server.get("YoloDeployment", n).get("status")) for n in "abcde"] == [True, True, False, True, True]
    assert fleet._timers[Key("YoloDeployment", "cams", "c")]


async def test_a_node_that_comes_lets_waiting_deployments_be_placed(server, kube):
    server.put(yolodeployment(placement={"profiles": ["1g.10gb"]}))
    fleet = await started(kube)
    assert conditions(only(server, "YoloDeployment"))["Placed"] == ("False", "NoMatchingProfile")
    server.put(node(devices={"nvidia.com/mig-1g.10gb": "7"}))
    await seen(fleet)
    assert conditions(only(server, "YoloDeployment"))["Placed"] == ("False", "WaitingForEngine")


async def test_a_pool_says_what_it_has_and_what_is_used(server, kube):
    server.put(migpool())
    fleet = await serving_fleet(server, kube)
    status = server.get("MigPool", "default", "")["status"]
    assert status["slices"] == [{"profile": "gpu", "total": 2, "used": 1}]
    assert conditions({"status": status}) == {"Ready": ("True", "PoolReady"), "Conflicted": ("False", "NodesOwn")}
    await seen(fleet)
    assert server.writes == []


async def test_only_watched_namespaces_are_touched(server, kube):
    server.put(node())
    server.put(yolodeployment("gate", "cams"))
    server.put(yolodeployment("gate", "others"))
    await started(kube, settings(watchNamespaces=["cams"]))
    assert "status" in server.get("YoloDeployment", "gate", "cams")
    assert "status" not in server.get("YoloDeployment", "gate", "others")


async def test_events_tell_ends_and_alarms_and_a_missing_right_to_write_them_harms_nobody(server, kube):
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    ended(server, PUBLISHED)
    with faulty(server, Fault("POST", "events", 403, "Forbidden", "no events for you")):
        await seen(fleet)
    assert conditions(only(server, "YoloDeployment"))["Placed"] == ("True", "Placed")
    serves(server)
    await seen(fleet)
    assert {(e["regarding"]["kind"], e["reason"]) for e in server.all("Event")} >= {("YoloDeployment", "Serving")}
    told = len(server.all("Event"))
    await seen(fleet)
    await started(kube)
    assert len(server.all("Event")) == told


async def test_a_node_more_or_its_heartbeat_changes_no_status_of_who_serves(server, kube):
    fleet = await serving_fleet(server, kube)
    server.put(node("n2"))
    server.edit("Node", "", "n1", status=node()["status"] | {"conditions": [{"type": "Ready", "status": "True"}]})
    await seen(fleet)
    assert server.writes == []


async def test_a_refused_engine_that_somebody_deletes_is_built_anew_as_its_message_says(server, kube):
    server.put(node())
    server.put(yolodeployment())
    fleet = await started(kube)
    ended(server, REFUSED, how="Failed", exit_code=42)
    await seen(fleet)
    name = only(server, "YoloEngine")["metadata"]["name"]
    server.remove("YoloEngine", name)
    await seen(fleet)
    engine = only(server, "YoloEngine")
    assert conditions(engine)["Ready"] == ("False", "Queued"), "the garbage collector is not there yet"
    server.remove("Job", name)
    server.remove("Pod", f"{name}-x1")
    await seen(fleet)
    assert only(server, "Job")
    assert conditions(only(server, "YoloEngine"))["Ready"] == ("False", "Building")

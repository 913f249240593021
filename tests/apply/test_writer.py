"""The writer against the fake API server: what it skips, what it writes, and what becomes of each refusal."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fake_api_server import FakeApiServer, Fault, merged
from yolofleet.apply.writer import CONCURRENCY, Outcome, Writer, difference
from yolofleet.kube import Kube
from yolofleet.observe.resources import CHILDREN, MIGPOOL, YOLODEPLOYMENT, YOLOENGINE
from yolofleet.render.meta import MANAGED_BY, MANAGER, hashed
from yolofleet.render.writes import StatusWrite, Step, Target, Writes

Object = dict[str, Any]
GATE = Target("YoloDeployment", "cams", "gate", "uid-gate")


class Known:
    """A cache of the least kind."""

    def __init__(self) -> None:
        self.objects: dict[tuple[str, str, str], Object] = {}

    def stands(self, kind: str, namespace: str, name: str) -> Object | None:
        return self.objects.get((kind, namespace, name))

    def knows(self, kind: str, namespace: str, name: str) -> bool:
        return (kind, namespace, name) in self.objects

    def took(self, kind: str, obj: Object) -> None:
        self.objects[(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])] = obj

    def gone(self, kind: str, obj: Object) -> None:
        del self.objects[(kind, obj["metadata"].get("namespace", ""), obj["metadata"]["name"])]


@pytest.fixture
def known() -> Known:
    return Known()


@pytest.fixture
def writer(kube: Kube, known: Known) -> Writer:
    return Writer(kube, known, (YOLODEPLOYMENT, YOLOENGINE, MIGPOOL, *CHILDREN))


def deployment(replicas: int = 1, name: str = "gate-gpu", **spec: Any) -> Object:
    meta = {"name": name, "namespace": "cams", "labels": {MANAGED_BY: MANAGER}, "annotations": {"a": "b"}}
    return hashed({"kind": "Deployment", "metadata": meta, "spec": {"replicas": replicas} | spec})


def job(**meta: Any) -> Object:
    told = {"name": "e-1", "namespace": "cams", "labels": {MANAGED_BY: MANAGER}, "ownerReferences": [{"uid": "u"}]}
    return {"kind": "Job", "metadata": told | meta, "spec": {"backoffLimit": 0}}


def claim() -> Object:
    return {"kind": "PersistentVolumeClaim", "metadata": {"name": "engines", "namespace": "cams"}, "spec": {}}


def wave(*steps: Step) -> Writes:
    return Writes(owners=(), builds=(), serving=steps)


async def applied(writer: Writer, *documents: Object) -> Outcome:
    return await writer.carry_out(wave(Step(GATE, apply=documents)))


# Apply


async def test_what_stands_is_skipped(server, writer):
    assert (await applied(writer, deployment())).written == {("apply", "Deployment"): 1}
    server.asked.clear()
    outcome = await applied(writer, deployment())
    assert outcome.written == {}
    assert outcome.done == {GATE}
    assert server.asked == []


async def test_apply_is_server_side_forced_and_by_one_manager(server, writer):
    await applied(writer, deployment())
    (asked,) = server.asked
    assert (asked.method, asked.query) == ("PATCH", {"fieldManager": "yolofleet", "force": "true"})


async def test_another_hash_is_written(server, writer):
    await applied(writer, deployment())
    await applied(writer, deployment(paused=True))
    assert server.get("Deployment", "gate-gpu")["spec"]["paused"] is True


async def test_a_restarted_writer_takes_what_stands_for_its_own(server, kube, writer, known):
    await applied(writer, deployment())
    server.asked.clear()
    again = Writer(kube, known, CHILDREN)
    assert (await applied(again, deployment())).written == {}


@pytest.mark.parametrize(
    "change",
    [
        {"spec": {"replicas": 1, "paused": True}},
        {"spec": {"replicas": 4}},
        {"metadata": {"labels": {}}},
        {"metadata": {"annotations": {}}},
        {"metadata": {"deletionTimestamp": "2026-01-01T00:00:00Z"}},
    ],
    ids=["spec", "replicas", "labels", "annotations", "deleted"],
)
async def test_what_somebody_else_changed_is_written_again(server, writer, known, change):
    await applied(writer, deployment())
    known.took("Deployment", server.edit("Deployment", "cams", "gate-gpu", **change))
    assert (await applied(writer, deployment())).written == {("apply", "Deployment"): 1}


async def test_labels_that_somebody_added_are_left_alone(server, writer, known):
    await applied(writer, deployment())
    labels = {MANAGED_BY: MANAGER, "team": "gates"}
    known.took("Deployment", server.edit("Deployment", "cams", "gate-gpu", metadata={"labels": labels}))
    assert (await applied(writer, deployment())).written == {}


async def test_replicas_that_somebody_changed_while_we_were_down_are_put_back(server, kube, writer, known):
    await applied(writer, deployment())
    known.took("Deployment", server.edit("Deployment", "cams", "gate-gpu", spec={"replicas": 7}))
    await applied(Writer(kube, known, CHILDREN), deployment())
    assert server.get("Deployment", "gate-gpu")["spec"]["replicas"] == 1


# Refusals


@pytest.mark.parametrize("status", [400, 403, 422])
async def test_a_final_answer_is_a_refusal_of_its_subject(server, writer, status):
    server.faults.append(Fault("PATCH", "deployments", status, "Forbidden", "exceeded quota"))
    outcome = await applied(writer, deployment())
    assert [(e.status, e.reason, e.message) for e in outcome.refused[GATE]] == [(status, "Forbidden", "exceeded quota")]
    assert (outcome.again, outcome.done) == (set(), set())


@pytest.mark.parametrize("status", [0, 409, 429, 500, 503])
async def test_what_may_go_well_later_is_tried_again(server, writer, status):
    server.faults.append(Fault("PATCH", "deployments", status, "Later", "not now"))
    outcome = await applied(writer, deployment())
    assert (outcome.again, outcome.refused, outcome.done) == ({GATE}, {}, set())


async def test_one_refusal_hides_no_other_write_of_its_step(server, writer):
    server.faults.append(Fault("PATCH", "deployments", 422, "Invalid", "no", times=1))
    outcome = await applied(writer, deployment(name="a"), deployment(name="b"))
    assert server.get("Deployment", "b")
    assert list(outcome.refused) == [GATE]


async def test_a_failure_stays_with_its_own_subject(server, writer):
    server.faults.append(Fault("PATCH", "deployments", 500, times=1))
    other = Target("YoloDeployment", "cams", "yard")
    first, second = Step(GATE, apply=(deployment(name="a"),)), Step(other, apply=(deployment(name="b"),))
    outcome = await writer.carry_out(wave(first, second))
    assert len(outcome.again) == len(outcome.done) == 1
    assert outcome.again | outcome.done == {GATE, other}


# Create


async def test_what_is_there_is_not_created_again(server, writer):
    step = Step(GATE, create=(claim(), job()))
    assert (await writer.carry_out(wave(step))).written == {
        ("create", "PersistentVolumeClaim"): 1,
        ("create", "Job"): 1,
    }
    server.asked.clear()
    assert (await writer.carry_out(wave(step))).written == {}
    assert server.asked == []


async def test_our_own_that_we_did_not_know_of_is_learnt(server, writer, known):
    server.put(job(uid="theirs"))
    outcome = await writer.carry_out(wave(Step(GATE, create=(job(),))))
    assert outcome.done == {GATE}
    assert known.stands("Job", "cams", "e-1")["metadata"]["uid"] == "theirs"


async def test_anothers_by_the_same_name_is_a_refusal_with_a_remedy(server, writer, known):
    server.put(job(labels={}))
    outcome = await writer.carry_out(wave(Step(GATE, create=(job(),))))
    (error,) = outcome.refused[GATE]
    assert error.message == "Job e-1 is there already and is not yolofleet's; delete or rename it"
    assert known.stands("Job", "cams", "e-1") is None


async def test_anothers_claim_will_do(server, writer):
    server.put(claim())
    outcome = await writer.carry_out(wave(Step(GATE, create=(claim(), job()))))
    assert outcome.done == {GATE}
    assert server.get("Job", "e-1")


@pytest.mark.parametrize("status", [0, 403, 500])
async def test_what_rests_on_a_create_does_not_happen_when_it_fails(server, writer, known, status):
    known.took(
        "YoloDeployment", server.put({"kind": "YoloDeployment", "metadata": {"name": "gate", "namespace": "cams"}})
    )
    server.faults.append(Fault("POST", "persistentvolumeclaims", status))
    write = StatusWrite(GATE, {"replicas": 1}, ())
    outcome = await writer.carry_out(wave(Step(GATE, create=(claim(), job()), apply=(deployment(),), status=write)))
    assert (outcome.written, outcome.done) == ({}, set())
    assert not server.all("Job")
    assert "status" not in server.get("YoloDeployment", "gate")


# Delete


async def test_a_delete_is_for_one_incarnation_only(server, writer, known):
    await applied(writer, deployment())
    stale = Target("Deployment", "cams", "gate-gpu", "uid-before")
    assert (await writer.carry_out(wave(Step(GATE, delete=(stale,))))).written == {}
    assert known.stands("Deployment", "cams", "gate-gpu"), "a successor is not forgotten either"
    now = Target("Deployment", "cams", "gate-gpu", known.stands("Deployment", "cams", "gate-gpu")["metadata"]["uid"])
    outcome = await writer.carry_out(wave(Step(GATE, delete=(now,))))
    assert outcome.written == {("delete", "Deployment"): 1}
    assert known.stands("Deployment", "cams", "gate-gpu") is None
    assert server.writes[-1].body == {"propagationPolicy": "Background", "preconditions": {"uid": now.uid}}


async def test_what_is_gone_already_is_fine(server, writer, known):
    await applied(writer, deployment())
    server.remove("Deployment", "gate-gpu")
    outcome = await writer.carry_out(wave(Step(GATE, delete=(Target("Deployment", "cams", "gate-gpu"),))))
    assert (outcome.done, outcome.again) == ({GATE}, set())
    never = await writer.carry_out(wave(Step(GATE, delete=(Target("Deployment", "cams", "never"),))))
    assert never.done == {GATE}


async def test_a_job_goes_only_after_its_failure_is_written_down(server, writer, known):
    known.took("YoloEngine", server.put({"kind": "YoloEngine", "metadata": {"name": "e-1", "namespace": "cams"}}))
    known.took("Job", server.put(job()))
    subject = Target("YoloEngine", "cams", "e-1")
    write = StatusWrite(subject, {"attempts": 1}, ())
    step = Step(subject, delete=(Target("Job", "cams", "e-1"),), status=write)
    server.faults.append(Fault("PATCH", "yoloengines", 500, times=1))
    assert (await writer.carry_out(wave(step))).again == {subject}
    assert server.get("Job", "e-1")
    assert (await writer.carry_out(wave(step))).done == {subject}
    assert server.get("Job", "e-1") is None
    assert server.get("YoloEngine", "e-1")["status"] == {"attempts": 1}


# Status and Events


def event(number: int = 1) -> Object:
    return {"kind": "Event", "metadata": {"name": f"gate.{number}", "namespace": "cams"}, "reason": "Serving"}


@pytest.fixture
def gate(server: FakeApiServer, known: Known) -> Object:
    made = server.put({"kind": "YoloDeployment", "metadata": {"name": "gate", "namespace": "cams"}, "spec": {}})
    known.took("YoloDeployment", made)
    return made


async def told(writer: Writer, status: Object, *events: Object) -> Outcome:
    return await writer.carry_out(wave(Step(GATE, status=StatusWrite(GATE, status, events))))


async def test_a_status_is_patched_by_its_difference_and_then_stands(server, writer, gate):
    await told(writer, {"replicas": 1, "summary": {"fps": "", "slices": "x"}})
    await told(writer, {"replicas": 1, "summary": {"fps": ""}, "groups": []})
    assert server.writes[-1].body == {"status": {"summary": {"slices": None}, "groups": []}}
    assert server.writes[-1].subresource == "status"
    assert server.get("YoloDeployment", "gate")["status"] == {"replicas": 1, "summary": {"fps": ""}, "groups": []}
    count = len(server.asked)
    outcome = await told(writer, {"replicas": 1, "summary": {"fps": ""}, "groups": []}, event())
    assert outcome.written == {}
    assert len(server.asked) == count, "no Event without a change either"


async def test_the_status_waits_for_the_turn_that_new_children_bring(server, writer, gate):
    write = StatusWrite(GATE, {"replicas": 1}, (event(),))
    first = await writer.carry_out(wave(Step(GATE, apply=(deployment(),), status=write)))
    assert first.written == {("apply", "Deployment"): 1}
    assert first.done == {GATE}
    second = await writer.carry_out(wave(Step(GATE, apply=(deployment(),), status=write)))
    assert second.written == {("status", "YoloDeployment"): 1, ("create", "Event"): 1}


async def test_the_status_waits_once_for_children_that_change_and_no_longer(server, writer, gate):
    await applied(writer, deployment(1))
    write = StatusWrite(GATE, {"replicas": 1}, ())
    first = await writer.carry_out(wave(Step(GATE, apply=(deployment(2),), status=write)))
    assert first.written == {("apply", "Deployment"): 1}
    undone = await writer.carry_out(wave(Step(GATE, apply=(deployment(3),), status=write)))
    assert undone.written == {("apply", "Deployment"): 1, ("status", "YoloDeployment"): 1}
    third = await writer.carry_out(wave(Step(GATE, apply=(deployment(4),), status=write)))
    assert third.written == {("apply", "Deployment"): 1}, "and the next change is told anew"


async def test_what_is_gone_is_forgotten_and_a_successor_is_taken_as_it_is(server, writer, known):
    await applied(writer, deployment(1))
    made = server.get("Deployment", "gate-gpu")
    known.gone("Deployment", made)
    writer.prune()
    successor = made | {"metadata": made["metadata"] | {"uid": "another", "generation": 7}}
    known.took("Deployment", successor)
    assert (await applied(writer, deployment(1))).written == {}
    known.took("Deployment", successor | {"metadata": successor["metadata"] | {"generation": 8}})
    assert (await applied(writer, deployment(1))).written == {("apply", "Deployment"): 1}


async def test_the_status_does_not_wait_for_a_child_that_was_refused(server, writer, gate):
    server.faults.append(Fault("PATCH", "services", 403))
    service = hashed({"kind": "Service", "metadata": {"name": "gate", "namespace": "cams"}, "spec": {}})
    write = StatusWrite(GATE, {"replicas": 1}, ())
    outcome = await writer.carry_out(wave(Step(GATE, apply=(deployment(), service), status=write)))
    assert outcome.written == {("apply", "Deployment"): 1, ("status", "YoloDeployment"): 1}


async def test_events_follow_their_status(server, writer, gate):
    outcome = await told(writer, {"replicas": 1}, event(1), event(2))
    assert outcome.written == {("status", "YoloDeployment"): 1, ("create", "Event"): 2}
    assert [asked.plural for asked in server.writes] == ["yolodeployments", "events", "events"]


@pytest.mark.parametrize("status", [0, 403, 409, 500])
async def test_an_event_that_cannot_be_written_harms_nothing(server, writer, gate, status):
    server.faults.append(Fault("POST", "events", status))
    outcome = await told(writer, {"replicas": 1}, event())
    assert (outcome.done, outcome.refused, outcome.again) == ({GATE}, {}, set())


async def test_the_status_of_one_that_is_gone_is_nobodys(server, writer, gate):
    server.remove("YoloDeployment", "gate")
    outcome = await told(writer, {"replicas": 1})
    assert (outcome.again, outcome.refused) == (set(), {})


async def test_a_pool_has_no_namespace(server, writer, known):
    known.took("MigPool", server.put({"kind": "MigPool", "metadata": {"name": "default"}}))
    target = Target("MigPool", "", "default")
    await writer.carry_out(wave(Step(target, status=StatusWrite(target, {"nodes": 2}, ()))))
    assert server.get("MigPool", "default", "")["status"] == {"nodes": 2}


async def test_waves_come_one_after_the_other_and_steps_at_most_twenty_at_once(server, kube, known):
    running, most, order = 0, 0, []

    class Watched(Kube):
        async def apply(self, resource, document):
            nonlocal running, most
            running += 1
            most = max(most, running)
            order.append(document["metadata"]["name"].partition("-")[0])
            try:
                return await super().apply(resource, document)
            finally:
                running -= 1

    watched = Watched(kube._configuration)
    writer = Writer(watched, known, CHILDREN)

    def steps(prefix: str) -> tuple[Step, ...]:
        names = [f"{prefix}-{number}" for number in range(30)]
        return tuple(Step(Target("YoloDeployment", "cams", name), apply=(deployment(name=name),)) for name in names)

    outcome = await writer.carry_out(Writes(owners=steps("a"), builds=steps("b"), serving=steps("c")))
    await watched.close()
    assert order == ["a"] * 30 + ["b"] * 30 + ["c"] * 30
    assert 1 < most <= CONCURRENCY
    assert len(outcome.done) == 90


# The patch

values = st.recursive(
    st.text(max_size=3) | st.integers(-3, 3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abcd"), inner, max_size=4),
    max_leaves=12,
)
objects = st.dictionaries(st.sampled_from("abcd"), values, max_size=4)


@given(objects, objects)
def test_the_patch_between_two_objects_makes_the_one_the_other(old: Object, new: Object) -> None:
    assert merged(old, difference(old, new)) == new


@given(objects)
def test_between_equals_there_is_nothing_to_patch(one: Object) -> None:
    assert difference(one, one) == {}


@given(objects, objects)
def test_a_patch_names_only_what_differs(old: Object, new: Object) -> None:
    for key in difference(old, new):
        assert old.get(key) != new.get(key) or (key in old) != (key in new)

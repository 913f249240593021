"""Engines that a serving pod found damaged: built anew by themselves, once for each damage, and ever more seldom."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from itertools import pairwise

import pytest

from tests.planning.worlds import (
    ARTIFACT,
    H100,
    NOW,
    NS,
    POLICY,
    PUBLISHED,
    deployment,
    engine,
    group,
    job,
    pod,
    result,
    snapshot,
)
from yolofleet.api.conditions import Condition, Reason
from yolofleet.api.curve import Curve
from yolofleet.api.yoloengine import Damage, YoloEngineStatus
from yolofleet.planning.builds.building import EnginePlan, step
from yolofleet.planning.builds.mending import WELL_S, as_stored
from yolofleet.planning.plan import plan
from yolofleet.planning.snapshot import DamageReport, EngineView, JobView
from yolofleet.render.status import engine_status

TOLD = "s3://engines/cams/k/a1/model.onnx has sha256 …, its manifest says …"
DONE = {"active": False, "succeeded": True, "spoke": True, "ended": NOW}


def published(at: datetime = NOW, **more: object) -> YoloEngineStatus:
    ready = Condition(type="Ready", status="True", reason="Published", last_transition_time=f"{at:%Y-%m-%dT%H:%M:%SZ}")
    return PUBLISHED.model_copy(update={"conditions": [ready], **more})


def report(after_s: float = 1) -> DamageReport:
    return DamageReport("gate-1", NOW + timedelta(seconds=after_s), TOLD)


def stepped(view: EngineView, *, now: datetime = NOW) -> EnginePlan:
    return step(view, policy=POLICY, now=now, free_builds=1)


def test_damage_is_written_down_and_the_engine_is_built_anew_at_once() -> None:
    done = job(**DONE, result=result("Published", artifact=ARTIFACT.wire()))
    view = engine(status=published(weights_sha256="b" * 64), job=done, damage=report())
    told = stepped(view)
    assert (told.ready, told.reason, told.remove_job, told.start) == (False, Reason.ENGINE_DAMAGED, True, False)
    assert told.message == f"found by pod gate-1: {TOLD}; it is built anew"
    assert told.status.artifact is None
    assert told.status.damage == Damage(
        message=f"found by pod gate-1: {TOLD}", time=NOW.isoformat(timespec="seconds"), repairs=1, job=done.uid
    )
    built = stepped(replace(view, status=told.status, job=None))
    assert built.start
    assert built.status.damage == told.status.damage
    assert built.status.attempts == 2


@pytest.mark.parametrize("after_s", [-3600, -1, 0])
def test_who_looked_before_it_was_published_says_nothing_of_it(after_s: float) -> None:
    told = stepped(engine(status=published(), damage=report(after_s)))
    assert (told.ready, told.reason) == (True, Reason.PUBLISHED)


def test_the_job_that_made_what_is_damaged_is_not_believed_again() -> None:
    """Its deletion may have failed, or its removal may be heard of late."""
    done = job(**DONE, result=result("Published", artifact=ARTIFACT.wire()))
    status = stepped(engine(status=published(), job=done, damage=report())).status
    told = stepped(as_stored(engine(status=status, job=done), ""))
    assert (told.status.artifact, told.start, told.remove_job, told.reason) == (None, False, True, Reason.QUEUED)
    going = stepped(as_stored(engine(status=status, job=replace(done, terminating=True)), ""))
    assert (going.start, going.remove_job) == (False, False)
    other = replace(done, uid="uid-next")
    assert stepped(as_stored(engine(status=status, job=other), "")).status.artifact == ARTIFACT


def test_what_lies_in_a_former_store_is_built_anew_without_a_failure() -> None:
    done = job(**DONE, result=result("Published", artifact=ARTIFACT.wire()))
    view = as_stored(engine(status=published(), job=done), "s3://engines/")
    first = stepped(view)
    assert (first.remove_job, first.status.artifact, first.status.failure) == (True, None, None)
    assert stepped(replace(view, job=None)).start
    assert as_stored(engine(status=published(), job=done), "file:///store/").artifact == ARTIFACT


def test_an_engine_that_is_damaged_again_and_again_is_built_ever_more_seldom() -> None:
    """A store or a node that spoils each copy must not have the builders work without a pause."""
    status, now, running, starts = published(), NOW, None, []
    while now < NOW + timedelta(hours=6):
        now += timedelta(seconds=5)
        told = stepped(engine(status=status, job=running, damage=replace(report(), began=now)), now=now)
        status = engine_status(told, now)
        running = _next(told, running)
        starts += [now] if told.start else []
    assert starts[0] <= NOW + timedelta(seconds=10), "the first repair does not wait"
    gaps = [(later - sooner).total_seconds() for sooner, later in pairwise(starts)]
    assert all(later >= sooner for sooner, later in pairwise(gaps))
    assert gaps[-1] >= 3600
    assert len(starts) < 20


def _next(told: EnginePlan, running: JobView | None) -> JobView | None:
    """Return the Job after a step: each build ends well by the next look."""
    if told.start:
        uid = f"uid-{told.status.attempts}"
        return job(**DONE, result=result("Published", artifact=ARTIFACT.wire()), uid=uid)
    return None if told.remove_job else running


def test_after_a_day_without_damage_the_next_is_the_first_again() -> None:
    long_ago = Damage(message="x", time=(NOW - timedelta(seconds=WELL_S)).isoformat(), repairs=9)
    lately = long_ago.model_copy(update={"time": (NOW - timedelta(hours=1)).isoformat()})
    for before, repairs in ((long_ago, 1), (lately, 10)):
        status = stepped(engine(status=published(damage=before), damage=report())).status
        assert status.damage is not None
        assert status.damage.repairs == repairs


def test_what_was_learnt_of_an_engine_outlives_its_repair() -> None:
    curve = Curve(source="Measured", product=H100, profile="1g.10gb", sm_count=16, points=[])
    damaged = stepped(engine(status=published(curve=curve), damage=report()))
    assert stepped(engine(status=damaged.status)).status.curve == curve


def test_a_pods_word_reaches_its_own_engine_alone_and_what_serves_stays_as_it_is() -> None:
    made, other = engine(status=published()), engine(name="e-other", status=published())
    speaking = pod("gate-1", engine=made.name, ready=False, damage=report())
    serving = group(engine=made.name, replicas=1)
    world = snapshot(
        deployment(groups=(serving,), pods=(speaking,)), engines=(made, other), engines_due=((NS, other.name),)
    )
    told = {planned.view.name: planned for planned in plan(world).engines}
    assert told[made.name].reason == Reason.ENGINE_DAMAGED
    assert told[other.name].reason == Reason.PUBLISHED
    after = replace(made, status=told[made.name].status)
    (planned,) = plan(snapshot(deployment(groups=(serving,), pods=(speaking,)), engines=(after, other))).deployments
    assert (planned.groups, planned.kept) == ((), (serving.name,))
    assert planned.judgement.progressing.reason == Reason.HELD_BACK

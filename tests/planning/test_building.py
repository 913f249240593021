"""The life of an engine: one pure step at a time, and laws over whole lives."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planning.worlds import (
    ARTIFACT,
    FAILURE,
    NOW,
    POLICY,
    PUBLISHED,
    REFUSED,
    backing_off,
    engine,
    job,
    jobs,
    result,
    statuses,
)
from yolofleet.api.build import Progress
from yolofleet.api.conditions import Reason
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.builds.backoff import MAX_BACKOFF_S, backoff_s
from yolofleet.planning.builds.building import LAST_WORDS_S, EnginePlan, step
from yolofleet.planning.snapshot import EngineView
from yolofleet.render.status import engine_status

ENDED = {"active": False, "spoke": True, "ended": NOW - timedelta(seconds=1)}


def stepped(view: EngineView, *, now: datetime = NOW, free: int = 1) -> EnginePlan:
    return step(view, policy=POLICY, now=now, free_builds=free)


@given(st.integers(1, 10_000), st.integers(1, 86_400))
def test_backoff_doubles_and_never_passes_an_hour(attempts: int, first_s: int) -> None:
    now, then = backoff_s(attempts, first_s=first_s), backoff_s(attempts + 1, first_s=first_s)
    assert then == min(MAX_BACKOFF_S, 2 * now)
    assert backoff_s(1, first_s=first_s) == min(MAX_BACKOFF_S, first_s)


@given(jobs(), st.integers(-10, 10))
def test_a_published_engine_is_never_built_again(made, free: int) -> None:
    told = stepped(engine(status=PUBLISHED, job=made), free=free)
    assert (told.start, told.remove_job, told.ready) == (False, False, True)
    assert told.status == PUBLISHED


@given(st.integers(0, 10**9), st.integers(0, 10))
def test_a_refused_build_is_never_started_again(later_s: int, free: int) -> None:
    told = stepped(engine(status=REFUSED), now=NOW + timedelta(seconds=later_s), free=free)
    assert not told.start
    assert told.due is None
    assert told.reason == Reason.BUILD_REFUSED
    assert "mend it" in told.message
    assert "delete the YoloEngine" in told.message


@given(statuses(), jobs(), st.integers(-3, 0))
def test_nothing_starts_while_no_build_is_free(status, made, free: int) -> None:
    assert not stepped(engine(status=status, job=made), free=free).start


@given(statuses(), jobs())
def test_a_step_that_was_taken_is_not_taken_again(status, made) -> None:
    """With the status written and the world unchanged, the next step says the same: no write loop."""
    view = engine(status=status, job=made)
    first = stepped(view)
    if first.start or first.remove_job:
        return
    again = stepped(replace(view, status=first.status), now=NOW + timedelta(seconds=3))
    assert again.status == first.status


@given(st.lists(st.sampled_from(("wait", "end", "fail", "refuse", "vanish", "restart")), max_size=12))
def test_over_a_whole_life_attempts_count_starts_and_final_words_stay_final(events: list[str]) -> None:
    ends = {
        "end": result("Published", artifact=ARTIFACT.wire()),
        "fail": result("Failed", failure=FAILURE.wire()),
        "refuse": result("Refused", failure=FAILURE.wire()),
    }
    status, running, starts, now = YoloEngineStatus(), None, 0, NOW
    for event in events:
        now += timedelta(hours=2)
        final = status.artifact is not None or (status.failure is not None and status.next_attempt_time is None)
        told = stepped(engine(status=status, job=running), now=now)
        assert not (final and told.start)
        starts += told.start
        running = job() if told.start else (None if told.remove_job else running)
        status = told.status
        if running is not None and running.active and event in ends:
            running = job(
                active=False, spoke=True, ended=now, succeeded=event == "end", failed=event != "end", result=ends[event]
            )
        if running is not None and event == "vanish":
            running = None
    assert status.attempts == starts


def test_a_start_says_so_and_counts() -> None:
    told = stepped(engine(status=backing_off(NOW - timedelta(seconds=1), 3)))
    assert told.start
    assert (told.status.stage, told.status.attempts, told.status.failure) == ("Fetch", 4, None)


def test_a_failed_build_is_due_after_its_backoff_and_its_job_goes() -> None:
    failed = job(**ENDED, failed=True, result=result("Failed", failure=FAILURE.wire()))
    told = stepped(engine(status=YoloEngineStatus(stage="Export", attempts=3), job=failed))
    assert told.remove_job
    assert told.due == NOW + timedelta(seconds=40)
    assert told.status.next_attempt_time == "2026-01-01T12:00:40+00:00"
    assert told.message == "spec.model: it broke (got 'x'); mend it; attempt 4 at 2026-01-01T12:00:40+00:00"


def test_a_failure_that_is_written_down_keeps_its_time_while_its_job_lingers() -> None:
    failed = job(**ENDED, failed=True, result=result("Failed", failure=FAILURE.wire()))
    first = stepped(engine(status=YoloEngineStatus(stage="Export", attempts=1), job=failed))
    later = stepped(engine(status=first.status, job=failed), now=NOW + timedelta(seconds=5))
    assert later.status == first.status
    assert later.due == first.due


def test_before_its_time_a_failed_build_waits() -> None:
    due = NOW + timedelta(minutes=5)
    told = stepped(engine(status=backing_off(due, 2)))
    assert (told.start, told.due, told.reason) == (False, due, Reason.BACKING_OFF)
    assert "attempt 3 at" in told.message


def test_a_refused_build_keeps_its_job_so_that_its_log_can_be_read() -> None:
    refused = job(**ENDED, failed=True, result=result("Refused", failure=FAILURE.wire()))
    told = stepped(engine(status=YoloEngineStatus(stage="Fetch", attempts=1), job=refused))
    assert (told.remove_job, told.due, told.reason) == (False, None, Reason.BUILD_REFUSED)
    assert told.status.next_attempt_time is None


@pytest.mark.parametrize("outcome", ["Published", "Cached"])
def test_a_result_with_an_artifact_is_published_at_once(outcome: str) -> None:
    gate = {"reference": "torch", "frames": 3, "largestError": "1.2e-06", "allowedError": "0.001"}
    gate |= {"boxes": 7, "unmatchedBoxes": 0, "lowestIoU": "1", "scoreGap": "1e-07"}
    made = job(result=result(outcome, artifact=ARTIFACT.wire(), weightsSHA256="b" * 64, gate=gate), spoke=True)
    told = stepped(engine(status=YoloEngineStatus(stage="Compare", attempts=1), job=made))
    assert (told.ready, told.reason) == (True, Reason.PUBLISHED)
    assert (told.status.artifact, told.status.progress_percent) == (ARTIFACT, 100)
    assert told.status.weights_sha256 == "b" * 64
    verified = next(c for c in engine_status(told, NOW).conditions if c.type == "Verified")
    assert verified.message == (
        "3 frames against torch: largest error 1.2e-06; 7 boxes, 0 seen by one only, lowest IoU 1, scores within 1e-07"
    )
    assert told.status.message == ("cached" if outcome == "Cached" else "")


def test_the_end_of_a_job_waits_a_while_for_the_last_words_of_its_pod() -> None:
    silent = job(active=False, succeeded=True, ended=NOW)
    view = engine(status=YoloEngineStatus(stage="Publish", attempts=1), job=silent)
    told = stepped(view, now=NOW + timedelta(seconds=1))
    assert (told.remove_job, told.reason, told.due) == (False, Reason.BUILDING, NOW + timedelta(seconds=LAST_WORDS_S))
    late = stepped(view, now=NOW + timedelta(seconds=LAST_WORDS_S))
    assert late.remove_job
    assert "left no result" in late.message


def test_a_job_that_ended_without_a_word_is_told_by_its_own_message() -> None:
    lost = job(active=False, failed=True, message="the build's Job failed: deadline exceeded")
    told = stepped(engine(status=YoloEngineStatus(stage="Export", attempts=1), job=lost))
    assert "deadline exceeded" in told.message
    assert told.status.failure is not None
    assert told.status.failure.remedy == "it is tried again"


def test_a_queued_build_names_the_setting_and_looks_again() -> None:
    told = stepped(engine(), free=0)
    assert (told.start, told.reason) == (False, Reason.QUEUED)
    assert "builds.maxConcurrent of the MigPool" in told.message
    assert told.due is not None


def test_a_job_on_its_way_out_blocks_the_next() -> None:
    told = stepped(engine(status=YoloEngineStatus(stage="Export", attempts=1), job=job(terminating=True)))
    assert (told.start, told.reason, told.due) == (False, Reason.QUEUED, None)
    assert "former Job" in told.message


def test_a_refused_write_holds_the_build_with_its_words_and_a_remedy() -> None:
    told = stepped(engine(refused="exceeded quota: small"))
    assert (told.start, told.reason) == (False, Reason.BUILD_QUOTA_EXCEEDED)
    assert told.message == "exceeded quota: small; raise the quota of the namespace, or free what it counts"


@pytest.mark.parametrize(
    ("stage", "percent", "taken"),
    [("Export", 49, False), ("Export", 50, True), ("Export", 30, True), ("Build", 41, True), ("Export", 31, False)],
)
def test_progress_is_written_in_steps_of_ten_percent_and_at_each_stage(stage, percent, taken) -> None:
    told = Progress(stage=stage, percent=percent, message="busy")
    before = YoloEngineStatus(stage="Export", progress_percent=40, attempts=1)
    after = stepped(engine(status=before, job=job(), progress=told)).status
    assert (after.stage, after.progress_percent) == ((stage, percent) if taken else ("Export", 40))


def test_what_a_pod_waits_for_is_told_and_taken_back() -> None:
    before = YoloEngineStatus(stage="Fetch", attempts=1)
    waiting = stepped(engine(status=before, job=job(waiting="waits for a node: 0/1 nodes"))).status
    assert waiting.message == "waiting: waits for a node: 0/1 nodes"
    assert stepped(engine(status=waiting, job=job())).status.message == ""


@given(statuses(), jobs())
def test_while_the_store_is_silent_nothing_is_started_removed_or_believed(status, made) -> None:
    view = replace(engine(status=status, job=made), held="the store does not answer")
    told = stepped(view)
    assert (told.start, told.remove_job) == (False, False)
    if status.artifact is None and not (made and (made.failed or made.succeeded or made.active)):
        assert told.due is not None
    assert told.ready == (status.artifact is not None)

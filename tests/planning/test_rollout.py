"""Rollouts lived through: a canary, its numbers, promotion and the way back; what never happens meanwhile."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.rolling import BEHIND, FAILING, GOOD, SILENT, SLOW, Cluster, cluster, policy
from tests.planning.worlds import PUBLISHED, deployment, engine, group, node, snapshot, spec
from yolofleet.api.rollout import RolloutReason
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.plan import plan
from yolofleet.planning.rollout.comparing import LEAST_FAILURES, Comparison, Tally, outcome
from yolofleet.planning.rollout.steps import beside, share


def history(made: Cluster) -> list[tuple[str, str]]:
    return [(one.phase, one.reason) for one in made.view.status.rollout.history]


@pytest.mark.parametrize(("replicas", "devices"), [(1, 2), (2, 2), (2, 3), (4, 4), (4, 5), (6, 9)])
@pytest.mark.parametrize("percent", [10, 50, 100])
def test_a_good_revision_takes_over_with_at_most_one_replica_less(replicas: int, devices: int, percent: int) -> None:
    made = cluster(replicas, devices, rollout={"canaryPercent": percent})
    made.until("Promoted")
    made.tick()
    assert made.served == [made.new] * replicas
    assert made.fewest >= replicas - 1 + (replicas == 1), "one replica alone is never taken away"
    assert made.most <= min(devices, replicas + 2), "the canary's surge, and that of the stable Deployment"
    status = made.view.status.rollout
    assert (status.reason, status.previous_engine) == ("AsGood", "e-old")
    assert "new: 1 pods, 16.7 fps, p99 21 ms, 0 of 2000 requests failed" in status.message


@pytest.mark.parametrize(
    ("seen", "reason", "words"),
    [
        (FAILING, "Errors", "50 of 500 requests failed (10.0%) against 0 of 1500 (0.0%): 10.0% apart"),
        (SLOW, "Latency", "p99 190 ms, above objective.p99LatencyMilliseconds 100 and above 1.25 × 20 ms"),
        (BEHIND, "FramesPerSecond", "it served 60.0% of what came, 40.0% less than the old one"),
    ],
)
@pytest.mark.parametrize("devices", [4, 5])
def test_a_worse_revision_is_rolled_back_with_its_numbers(seen, reason: str, words: str, devices: int) -> None:
    made = cluster(4, devices, seen)
    made.until("RolledBack")
    status = made.view.status.rollout
    assert (status.reason, status.engine) == (reason, made.new)
    assert words in status.message
    judged = {c.type: c for c in made.view.status.conditions}
    for _ in range(10):
        judged = {c.type: c for c in made.tick().view.status.conditions}
    assert made.served == ["e-old"] * 4
    assert made.fewest >= 3
    assert made.phase == "RolledBack", "it is not tried again by itself"
    assert judged["Progressing"].reason == "RolledBack"
    assert words in judged["Progressing"].message


def test_a_comparison_under_way_is_said_as_a_condition() -> None:
    made = cluster(4, 5, None)
    for _ in range(6):
        made.tick()
    progressing = next(c for c in made.view.status.conditions if c.type == "Progressing")
    assert (progressing.status, progressing.reason) == ("True", "Canary")
    assert "1 of 5 replicas are to serve" in progressing.message
    assert made.served == sorted(["e-old"] * 4 + [made.new])


def test_a_restart_changes_nothing() -> None:
    """All that a step knows stands in the status and the Deployments: the same world, the same plan and no write."""
    made = cluster(4, 5, None)
    for _ in range(6):
        made.tick()
    before = made.view.status.rollout
    assert made.tick().rollout.status == before


def test_a_canary_that_crashes_is_rolled_back_with_the_pods_words() -> None:
    made = cluster(3, 4, None, broken=True)
    made.until("RolledBack")
    assert made.view.status.rollout.reason == "NotReady"
    assert "does not come up: triton: exit code 1" in made.view.status.rollout.message
    made.tick()
    assert made.served == ["e-old"] * 3


def test_a_single_replica_waits_for_a_slice_instead_of_going_away() -> None:
    made = cluster(1, 1)
    for _ in range(60):
        made.tick()
    assert (made.phase, made.fewest, made.served) == ("Canary", 1, ["e-old"])
    placed = next(c for c in made.view.status.conditions if c.type == "Placed")
    assert placed.reason == "NoRoom"
    made.devices = 2
    made.until("Promoted")
    assert made.fewest == 1


def test_errors_count_before_the_time_is_over_and_all_else_after() -> None:
    early = replace(SLOW, seconds=119.0)
    assert outcome(early, bound_ms=100, seconds=120) is None
    assert outcome(SLOW, bound_ms=100, seconds=120).reason == RolloutReason.LATENCY
    assert outcome(SLOW, bound_ms=200, seconds=120).good, "within the objective a larger model may be slower"
    assert outcome(FAILING, bound_ms=100, seconds=120).reason == RolloutReason.ERRORS
    assert outcome(replace(SLOW, seconds=59.0), bound_ms=100, seconds=30).good, "a model's first frames are slow"


def test_too_few_requests_prove_nothing_and_are_waited_for() -> None:
    assert outcome(replace(SILENT, seconds=359.0), bound_ms=100, seconds=120) is None
    told = outcome(SILENT, bound_ms=100, seconds=120)
    assert (told.good, told.reason) == (True, "NotCompared")
    assert "2 requests of the 100" in told.message


@given(
    st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000), st.integers(0, 10_000), st.floats(0, 1000)
)
@settings(max_examples=150, deadline=None)
def test_who_fails_no_more_often_is_never_rolled_back_for_errors(served, failed, more, old_failed, seconds) -> None:
    new, old = Tally(1, served, failed), Tally(1, served + more, old_failed + failed)
    told = outcome(Comparison(seconds, old, new), bound_ms=100, seconds=120)
    if new.failed_share <= old.failed_share or failed < LEAST_FAILURES:
        assert told is None or told.reason != RolloutReason.ERRORS


@given(st.integers(1, 100), st.integers(1, 100), st.booleans())
def test_one_old_replica_is_always_left_to_compare_with(percent: int, replicas: int, surge: bool) -> None:
    if replicas == 1 and not surge:
        return
    canary = share(percent, replicas, surge=surge)
    assert canary >= 1
    assert beside(replicas, canary, surge=surge) >= 1
    assert beside(replicas, canary, surge=surge) + canary <= replicas + surge


def test_promote_abort_and_retry_are_carried_out_once_and_for_their_engine_only() -> None:
    made = cluster(2, 3, None)
    made.until("Canary")
    made.request = "promote e-another 1"
    made.tick()
    assert made.phase == "Canary"
    made.request = f"abort {made.new} 1"
    made.until("RolledBack", 1)
    assert made.view.status.rollout.reason == "Aborted"
    for _ in range(3):
        made.tick()
    assert made.phase == "RolledBack"
    made.request = f"retry {made.new} 2"
    made.until("Canary", 1)
    assert history(made) == [("RolledBack", "Aborted")]
    made.request = f"promote {made.new} 3"
    made.until("Promoted")
    assert made.view.status.rollout.reason == "Asked"


def test_an_abort_while_it_takes_over_goes_back() -> None:
    made = cluster(4, 4)
    made.until("Promoting")
    made.request = "abort"
    made.tick()
    for _ in range(12):
        made.tick()
    assert made.served == ["e-old"] * 4
    assert made.phase == "RolledBack"


def test_where_nothing_is_taken_back_a_worse_revision_stays_a_canary_and_says_so() -> None:
    made = cluster(4, 5, SLOW, rollout={"autoRollback": "Disabled"})
    for _ in range(12):
        made.tick()
    told = made.view.status.rollout
    assert (told.phase, told.reason) == ("Canary", "Latency")
    assert "autoRollback is Disabled" in told.message
    made.comparison = replace(SLOW, seconds=500.0)
    assert made.tick().rollout.status == told, "the numbers are those of the moment of judging"


def test_another_spec_in_the_middle_begins_anew_and_going_back_withdraws() -> None:
    made = cluster(4, 5, None)
    made.until("Canary")
    first, before = made.new, made.asked
    made.extra = (engine(before, status=PUBLISHED),)
    made.asked = before.model_copy(update={"engine": before.engine.model_copy(update={"max_batch_size": 4})})
    made.until("Canary", 3)
    assert made.view.status.rollout.engine == made.new != first
    assert history(made) == [("Withdrawn", "SpecChanged")]
    made.comparison = GOOD
    made.until("Promoted")
    made.tick()
    assert made.served == [made.new] * 4


def test_without_a_canary_the_new_revision_takes_over_at_once() -> None:
    made = cluster(3, 3, None, rollout={"canaryPercent": 0})
    made.until("Promoting", 1)
    assert made.view.status.rollout.message == "rollout.canaryPercent is 0"
    made.until("Promoted")
    assert made.most <= 3


def test_while_the_engine_is_built_the_old_one_serves_with_its_old_image() -> None:
    """A release changes builder and image: neither touches what serves before its engine is there."""
    made = cluster(2, 3, engine_status=YoloEngineStatus())
    seen = snapshot(
        deployment(asked=made.asked, groups=(group("gpu", "e-old", ready=2, replicas=2, image="triton:1"),)),
        engines=(engine(made.asked, name="e-old", status=PUBLISHED), engine(made.asked)),
    )
    (told,) = plan(replace(seen, policy=policy("triton:2"))).deployments
    (kept,) = told.groups
    assert (kept.engine.name, kept.image, kept.replicas) == ("e-old", "triton:1", 2)
    assert told.rollout.status.phase == "Building"


def test_another_image_alone_is_a_revision_and_proves_itself_too() -> None:
    asked = spec(scaling={"minReplicas": 2})
    seen = snapshot(
        deployment(asked=asked, groups=(group("gpu", engine(asked).name, ready=2, replicas=2, image="triton:1"),)),
        engines=(engine(asked, status=PUBLISHED),),
        nodes=(node(devices={"nvidia.com/gpu": 3}),),
    )
    (told,) = plan(replace(seen, policy=policy("triton:2"))).deployments
    assert [(g.canary, g.image, g.replicas) for g in told.groups] == [(False, "triton:1", 2), (True, "triton:2", 1)]


def test_two_hundred_deployments_of_a_release_do_not_build_at_once() -> None:
    """A new builder makes every key anew: all serve on, and no more builds start than builds.maxConcurrent allows."""
    old, specs = [], []
    for number in range(200):
        asked = spec(model={"builtin": "yolo26n-shapes"}, engine={"backend": "ONNXRuntime", "maxBatchSize": number + 1})
        old.append(engine(asked, name=f"e-{number}", status=PUBLISHED, owners=(f"d-{number}",)))
        specs.append(asked)
    views = [
        deployment(f"d-{number}", asked=asked, groups=(group("gpu", f"e-{number}"),))
        for number, asked in enumerate(specs)
    ]
    new = [engine(asked, owners=(f"d-{number}",)) for number, asked in enumerate(specs)]
    seen = snapshot(*views, engines=(*old, *new), nodes=(node(devices={"nvidia.com/gpu": 250}),))
    decided = plan(seen)
    assert sum(one.start for one in decided.engines) == 4
    assert sum(one.reason == "Queued" for one in decided.engines) == 196
    assert all(d.groups[0].engine.name == d.view.groups[0].engine for d in decided.deployments)
    assert {d.rollout.status.phase for d in decided.deployments} == {"Building"}
    busy = replace(seen, builds_running=3)
    assert sum(one.start for one in plan(busy).engines) == 1

"""How many replicas, and why: the arithmetic, the window, what is missing, and that a restart changes nothing."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planning.worlds import NOW, PUBLISHED, deployment, engine, group, node, pod, snapshot, spec
from yolofleet.api.conditions import Reason
from yolofleet.api.curve import Curve, CurvePoint
from yolofleet.api.yolodeployment import Group, YoloDeploymentStatus
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.judging import Judged
from yolofleet.planning.placing.fitting import Worths
from yolofleet.planning.plan import plan
from yolofleet.planning.scaling.capacity import Capacity
from yolofleet.planning.scaling.replicas import Desired, decide
from yolofleet.planning.scaling.signals import ReplicaSignals, Signals, together
from yolofleet.planning.snapshot import DeploymentView
from yolofleet.render.status import deployment_status

CARRIES = Capacity(100.0, "Measured")
LONG = 1000.0


def seen(*fps: float, busy: float | None = 0.5, unbroken_s: float = LONG, **given) -> Signals:
    """Return the signals of as many pods as there are rates."""
    facts = {"queue_us": 100.0, "p99_us": 5000.0, "mean_batch": 1.0, "pending": 0.0} | given
    replicas = [
        ReplicaSignals(f"p{n}", "gpu", rate, rate, 0.0, busy=busy, frames=rate * 6, **facts)
        for n, rate in enumerate(fps)
    ]
    return together(replicas, missing=(), unbroken_s=unbroken_s)


def lost(signals: Signals, *, age_s: float = 12.0) -> Signals:
    """Return signals in which the first pod did not answer."""
    first = ReplicaSignals("p0", "gpu", age_s=age_s, missing="pod p0: no answer for 12 s")
    return together((first, *signals.replicas[1:]), missing=(first.missing,), unbroken_s=0.0)


def world(asked: dict | None = None, *, replicas: int = 1, signals: Signals | None = None, **given) -> DeploymentView:
    """Return a deployment that serves, with its spec's scaling and demand."""
    parts = {"scaling": {"maxReplicas": 10} | (asked or {}).get("scaling", {})}
    made = spec(**((asked or {}) | parts))
    pods = tuple(pod(f"p{n}") for n in range(replicas))
    groups = (group(replicas=replicas, ready=replicas),)
    return deployment(asked=made, groups=groups, pods=pods, signals=signals, **given)


def decided(view: DeploymentView, *, at: datetime = NOW, measured: Capacity | None = CARRIES) -> Desired:
    return decide(view, profile="gpu", measured=measured, now=at, stale_s=10)


def later(view: DeploymentView, told: Desired, **given) -> DeploymentView:
    """Return the deployment after a decision: its replicas stand, its status is written."""
    status = written(view, told)
    pods = tuple(pod(f"p{n}") for n in range(told.replicas))
    groups = (group(replicas=told.replicas, ready=told.replicas),)
    return replace(view, status=status, pods=pods, groups=groups, memory=told.memory, **given)


def written(view: DeploymentView, told: Desired, at: datetime = NOW) -> YoloDeploymentStatus:
    """Return the status as the API server would give it back."""
    (planned,) = plan(snapshot(view, engines=(engine(status=PUBLISHED),), nodes=(node(),))).deployments
    judged = replace(planned.judgement, scaling_active=Judged(told.active, told.reason, told.message))
    made = deployment_status(replace(planned, desired=told, judgement=judged), at)
    return YoloDeploymentStatus.model_validate(made.wire())


CASES = [
    (
        "declared demand",
        world({"demand": {"streams": 47, "framesPerSecond": "15"}}, signals=seen(10)),
        (9, Reason.FOLLOWING_DEMAND, "True", "demand 705 fps declared ÷ (100 fps/replica measured × 0.80) → 9"),
    ),
    (
        "observed demand is the larger one",
        world({"demand": {"streams": 1, "framesPerSecond": "15"}}, signals=seen(250)),
        (3, Reason.FOLLOWING_DEMAND, "True", "demand 250 fps observed"),
    ),
    (
        "observed demand within the tolerance",
        world(signals=seen(83)),
        (1, Reason.AT_MIN_REPLICAS, "True", "demand 83 fps observed"),
    ),
    (
        "mode Declared does not look at what arrives",
        world({"demand": {"streams": 1, "framesPerSecond": "15"}, "scaling": {"mode": "Declared"}}, signals=seen(250)),
        (1, Reason.AT_MIN_REPLICAS, "True", "demand 15 fps declared"),
    ),
    (
        "mode Observed does not look at what is declared",
        world({"demand": {"streams": 99, "framesPerSecond": "15"}, "scaling": {"mode": "Observed"}}, signals=seen(20)),
        (1, Reason.AT_MIN_REPLICAS, "True", "demand 20 fps observed"),
    ),
    (
        "a closed loop at saturation",
        world(signals=seen(50, busy=0.98)),
        (2, Reason.FOLLOWING_DEMAND, "True", "utilisation 0.98 of 1 ready replicas ÷ 0.80"),
    ),
    (
        "a queue that grows",
        world(signals=seen(50, queue_us=80_000.0)),
        (2, Reason.FOLLOWING_DEMAND, "True", "frames queue for 80 ms of 100: one more than 1"),
    ),
    (
        "more than may be",
        world(replicas=10, signals=seen(*[500.0] * 10)),
        (10, Reason.AT_MAX_REPLICAS, "True", "= 60, bound by scaling.maxReplicas 10"),
    ),
    (
        "never fewer than may be",
        world({"scaling": {"minReplicas": 3}}, signals=seen(0)),
        (3, Reason.AT_MIN_REPLICAS, "True", "demand 0 fps observed: scaling.minReplicas 3"),
    ),
    (
        "warm ones above the need",
        world({"scaling": {"warmReplicas": 2}}, signals=seen(70)),
        (3, Reason.FOLLOWING_DEMAND, "True", "+ 2 warm"),
    ),
    (
        "nothing seen yet",
        world({"scaling": {"minReplicas": 2}}, replicas=0),
        (2, Reason.AT_MIN_REPLICAS, "True", "no demand is declared and none was seen"),
    ),
    ("suspended", world({"suspend": True}), (0, Reason.SUSPENDED, "False", "spec.suspend is true")),
    (
        "external",
        world({"scaling": {"mode": "External"}, "placement": {"profiles": ["gpu"]}, "replicas": 5}),
        (5, Reason.EXTERNAL, "False", "spec.replicas says 5, written by whoever writes /scale"),
    ),
    (
        "external, by name",
        world(
            {"scaling": {"mode": "External"}, "placement": {"profiles": ["gpu"]}, "replicas": 5},
            autoscalers=("by-queue",),
        ),
        (5, Reason.EXTERNAL, "False", "written by HorizontalPodAutoscaler by-queue"),
    ),
    (
        "a pod that does not answer",
        world(replicas=3, signals=lost(seen(1, 1, 1))),
        (3, Reason.SIGNALS_MISSING, "False", "pod p0: no answer for 12 s"),
    ),
]


@pytest.mark.parametrize(("what", "view", "expected"), CASES, ids=[case[0] for case in CASES])
def test_a_decision_with_its_arithmetic(what, view, expected) -> None:
    told = decided(view)
    assert (told.replicas, told.reason, told.active) == expected[:3], told.message
    assert expected[3] in told.message


def test_without_a_curve_and_without_load_the_capacity_is_unknown_and_nothing_moves() -> None:
    view = world({"demand": {"streams": 47, "framesPerSecond": "15"}}, replicas=3, signals=seen(1, 1, 1, busy=0.01))
    told = decided(view, measured=None)
    assert (told.replicas, told.reason, told.active) == (3, Reason.CAPACITY_UNKNOWN, "Unknown")
    assert "demand 705 fps declared" in told.message


def test_what_replicas_carry_is_learnt_while_they_are_busy_and_kept_in_the_status() -> None:
    view = world({"demand": {"streams": 47, "framesPerSecond": "15"}}, signals=seen(50, busy=0.5))
    told = decided(view, measured=None)
    assert told.capacity == Capacity(100.0, "Observed")
    assert told.replicas == 9
    (kept,) = written(view, told).groups
    assert (kept.frames_per_second_per_replica, kept.curve) == (100, "Observed")
    quiet = replace(later(view, told), signals=seen(*[0.0] * 9), memory=None)
    assert decided(quiet, measured=None).capacity == Capacity(100.0, "Observed"), "a restart knows it"


def test_saturation_does_not_count_twice_while_new_replicas_have_no_work_yet() -> None:
    """One saturated pod asks for two; the second, ready and not seen yet, must not make it three."""
    assert decided(world(replicas=2, signals=seen(50, busy=1.0))).replicas == 2
    assert decided(world(replicas=2, signals=seen(50, queue_us=90_000.0, unbroken_s=5.0))).replicas == 2


@pytest.mark.parametrize(
    ("what", "signals"),
    [
        ("too idle to tell", seen(50, busy=0.2)),
        ("too few frames to tell", seen(3, busy=0.5)),
        ("not seen", lost(seen(50, busy=0.5))),
    ],
)
def test_what_says_too_little_of_the_capacity_is_not_believed(what, signals) -> None:
    assert decided(world(signals=signals), measured=None).capacity is None


def test_the_engine_counts_as_busy_too() -> None:
    told = decided(world(signals=seen(50, busy=0.4, engine_active=0.95)))
    assert "utilisation 0.95" in told.message
    assert told.replicas == 2


def test_a_learnt_capacity_moves_by_a_tenth_and_once_a_minute() -> None:
    view = world(signals=seen(50, busy=0.5))
    first = decided(view, measured=None)
    near = later(view, first, signals=seen(54, busy=0.5))
    assert decided(near, measured=None, at=NOW + timedelta(hours=1)).capacity == first.capacity
    far = later(view, first, signals=seen(80, busy=0.5))
    soon, in_time = (decided(far, measured=None, at=NOW + timedelta(seconds=s)) for s in (59, 60))
    assert (soon.capacity, in_time.capacity) == (first.capacity, Capacity(160.0, "Observed"))


def test_the_curve_is_read_at_the_objective_on_its_lower_edge() -> None:
    points = [(1, 100, 9), (8, 400, 49), (32, 900, 200)]
    curve = Curve(
        source="Estimated",
        error="0.1",
        product="X",
        profile="gpu",
        sm_count=1,
        points=[
            CurvePoint(
                endpoint="Ultralytics",
                batch=batch,
                instances=1,
                frames_per_second=fps,
                p50_microseconds=1,
                p99_microseconds=ms * 1000,
            )
            for batch, fps, ms in points
        ],
    )
    asked = spec(objective={"p99LatencyMilliseconds": 55}), spec(objective={"p99LatencyMilliseconds": 5})
    made = engine(asked[0], status=YoloEngineStatus(curve=curve))
    worths = Worths(snapshot(engines=(made,)).curves)
    near, strict = (deployment(asked=one) for one in asked)
    assert worths.capacity(near, "gpu", ()) == worths.capacity(near, "gpu", ("X",)) == Capacity(360.0, "Estimated")
    assert worths.capacity(strict, "gpu", ()) is None
    assert worths.capacity(near, "1g.10gb", ()) is None
    assert worths.capacity(near, "gpu", ("Y",)) is None


# The window


def run(needs: list[float], *, view: DeploymentView | None = None, period_s: float = 10, **given) -> list[int]:
    """Let needs come one after the other; return the replicas that were decided on."""
    view = view or world()
    counts = []
    for step, need in enumerate(needs):
        at = NOW + timedelta(seconds=step * period_s)
        ready = max(1, sum(p.ready for p in view.pods))
        told = decided(replace(view, signals=seen(*[need * 80 / ready] * ready, **given)), at=at)
        counts.append(told.replicas)
        view = later(view, told)
    return counts


def test_up_at_once_and_down_after_the_window_to_the_largest_need_of_it() -> None:
    needs = [1, 5, 5, 1, 1, 3, *[1] * 40]
    counts = run(needs)
    assert counts[:3] == [1, 5, 5]
    assert set(counts[1:33]) == {5}, "five were needed until step 2, and the window is 300 s"
    assert counts[33] == 3, "the largest need since then"
    assert counts[36] == 1


def test_a_window_of_zero_goes_down_at_once() -> None:
    asked = {"scaling": {"scaleDown": {"stabilizationWindowSeconds": 0}}}
    assert run([5, 1], view=world(asked)) == [5, 1]


def test_nothing_goes_down_before_the_signals_were_whole_for_a_while() -> None:
    view = later(world(), replace(decided(world(signals=seen(400))), replicas=5))
    assert run([1] * 40, view=view, unbroken_s=29.0)[-1] == 5
    assert run([1] * 40, view=view, unbroken_s=30.0)[-1] == 1


def test_nothing_goes_down_while_a_ready_pod_is_missing_and_up_goes_on() -> None:
    start = world(replicas=5)
    view = later(start, decided(replace(start, signals=seen(*[80.0] * 5))))
    for step in range(100):
        at = NOW + timedelta(seconds=10 * step)
        told = decided(replace(view, signals=lost(seen(*[1.0] * 5))), at=at)
        assert told.replicas == 5
        view = later(view, told)
    assert decided(replace(view, signals=lost(seen(*[200.0] * 5)))).replicas == 10


def test_a_pod_that_is_not_ready_may_be_lost_with_its_load() -> None:
    start = world({"scaling": {"scaleDown": {"stabilizationWindowSeconds": 0}}}, replicas=2)
    view = later(start, decided(replace(start, signals=seen(80, 80))))
    away = replace(view, pods=(pod("p0"), pod("p1", ready=False)), signals=seen(1))
    assert decided(away).replicas == 2
    broken = replace(view, pods=(pod("p0"), pod("p1", ready=False, crash="it broke")), signals=seen(1))
    assert decided(broken).replicas == 1


def test_when_nobody_is_ready_nothing_is_known_and_nothing_goes_down() -> None:
    start = world({"scaling": {"scaleDown": {"stabilizationWindowSeconds": 0}}}, replicas=3)
    view = later(start, decided(replace(start, signals=seen(80, 80, 80))))
    gone = replace(view, pods=tuple(replace(p, ready=False) for p in view.pods), signals=None)
    assert decided(gone, at=NOW + timedelta(hours=2)).replicas == 3


def test_more_than_the_status_says_may_stand_after_a_crash_and_is_not_taken_down() -> None:
    view = later(world(), decided(world(signals=seen(100))))
    crashed = replace(view, memory=None, groups=(group(replicas=6, ready=2),), signals=None)
    assert decided(crashed).replicas == 6


# A restart


def restarted(view: DeploymentView) -> DeploymentView:
    return replace(view, memory=None)


@given(
    needs=st.lists(st.integers(0, 9), min_size=2, max_size=60),
    at=st.integers(1, 59),
    window_s=st.sampled_from([0, 5, 30, 60, 300]),
)
def test_a_restart_at_any_step_changes_nothing_or_goes_down_later(needs, at, window_s) -> None:
    """Same trace, with and without a restart: never fewer replicas, and the same ones in the end."""
    asked = {"scaling": {"scaleDown": {"stabilizationWindowSeconds": window_s}}}
    undisturbed, disturbed = world(asked), world(asked)
    told = other = None
    rest = [needs[-1]] * (window_s // 10 + 50)
    for step, need in enumerate([*needs, *rest]):
        now = NOW + timedelta(seconds=10 * step)
        if step == at:
            disturbed = restarted(disturbed)
        proof = LONG if step < at else 10.0 * (step - at)
        told = decided(replace(undisturbed, signals=spread(need, undisturbed)), at=now)
        other = decided(replace(disturbed, signals=spread(need, disturbed, unbroken_s=proof)), at=now)
        assert other.replicas >= told.replicas
        undisturbed, disturbed = later(undisturbed, told), later(disturbed, other)
    assert told is not None
    assert other is not None
    assert other.replicas == told.replicas


def spread(need: int, view: DeploymentView, **given) -> Signals:
    ready = max(1, sum(p.ready for p in view.pods))
    return seen(*[need * 80 / ready] * ready, **given)


@given(needs=st.lists(st.integers(0, 9), min_size=1, max_size=40), gap=st.integers(1, 10))
def test_nothing_is_lowered_while_a_restarted_operator_has_seen_nothing(needs, gap) -> None:
    view = world({"scaling": {"scaleDown": {"stabilizationWindowSeconds": 30}}})
    for step, need in enumerate(needs):
        told = decided(replace(view, signals=spread(need, view)), at=NOW + timedelta(seconds=10 * step))
        view = later(view, told)
    before = view.groups[0].replicas
    view = replace(restarted(view), signals=None)
    for step in range(len(needs), len(needs) + gap):
        told = decided(view, at=NOW + timedelta(seconds=10 * step))
        assert told.replicas == before
        view = replace(later(view, told), signals=None)


def test_a_restart_at_rest_writes_nothing() -> None:
    view = world(signals=seen(20))
    told = decided(view)
    rest = later(view, told)
    for seconds in (0, 5, 120):
        again = decided(replace(restarted(rest), signals=None), at=NOW + timedelta(seconds=seconds))
        assert written(rest, again) == rest.status
        fresh = decided(replace(rest, memory=again.memory), at=NOW + timedelta(seconds=seconds + 90))
        assert written(rest, fresh) == rest.status


def test_noise_writes_nothing_and_a_real_change_at_most_once_a_minute() -> None:
    view = world(signals=seen(50))
    told = decided(view)
    view = later(view, told)
    messages = []
    for second in range(2, 200, 2):
        fps = 50 + second % 5 if second < 100 else 70
        told = decided(replace(view, signals=seen(fps)), at=NOW + timedelta(seconds=second))
        messages.append((told.message, told.fps))
        view = later(view, told)
    assert len(set(messages)) == 2
    assert messages[-1][1] == "70/70"


def test_an_autoscaler_that_is_not_read_is_named_with_the_remedy() -> None:
    view = world(signals=seen(20), autoscalers=("web",))
    (planned,) = plan(snapshot(view, engines=(engine(status=PUBLISHED),))).deployments
    told = planned.judgement.scaling_active
    assert (told.status, told.reason) == ("False", Reason.AUTOSCALER_IGNORED)
    assert "HorizontalPodAutoscaler web" in told.message
    assert "set scaling.mode External" in told.message


def test_lower_needs_are_told_while_the_window_runs() -> None:
    view = later(world(), decided(world(signals=seen(400))))
    told = decided(replace(view, signals=seen(*[10.0] * 6)), at=NOW)
    told = decided(later(view, told, signals=seen(*[10.0] * 6)), at=NOW + timedelta(seconds=60))
    assert told.reason == Reason.STABILIZING_DOWN
    assert "less was needed since 12:00:00Z, replicas go after 300 s of it → 5" in told.message
    (need,) = written(view, told).scaling.needs
    assert (need.replicas, need.since) == (1, NOW.isoformat())


def test_a_need_that_nobody_can_date_is_forgotten() -> None:
    needs = [{"replicas": 1, "since": since} for since in ("yesterday", "2020-01-01T00:00:00")]
    status = YoloDeploymentStatus.model_validate({"scaling": {"desiredReplicas": 3, "needs": needs[:1]}})
    odd = YoloDeploymentStatus.model_validate({"scaling": {"desiredReplicas": 3, "needs": needs[1:]}})
    for told in (status, odd):
        assert decided(world(replicas=3, status=told, signals=seen(10, 10, 10))).replicas == 3


def test_an_autoscaler_that_comes_later_is_named_at_once() -> None:
    view = world({"scaling": {"mode": "External"}, "placement": {"profiles": ["gpu"]}, "replicas": 2}, replicas=2)
    view = later(view, decided(view))
    assert "written by HorizontalPodAutoscaler web" in decided(replace(view, autoscalers=("web",))).message


def test_a_status_of_another_version_is_no_hindrance() -> None:
    status = YoloDeploymentStatus.model_validate(
        {"scaling": {"desiredReplicas": 1, "reason": "MinReplicas", "message": "x"}, "groups": [{"profile": "gpu"}]}
    )
    assert isinstance(status.groups[0], Group)
    assert decided(world(status=status, signals=seen(20))).reason == Reason.AT_MIN_REPLICAS

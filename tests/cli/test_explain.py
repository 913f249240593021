"""The stories of `explain`: the arithmetic is right, the figures have their source, and what binds is named."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.fake_cluster import Cluster, refused
from tests.cli.test_standing import obj
from yolofleet.api.conditions import Reason
from yolofleet.api.top import TopDeployment
from yolofleet.cli.explain import found
from yolofleet.cli.explanation import engine, figure, happened, pool
from yolofleet.cli.explanation.deployment import BINDS, Seen, story, sum_of
from yolofleet.cli.printing import consoles
from yolofleet.cli.session import Flags, Session
from yolofleet.errors import ApiServerError, CannotAskError

MESSAGE = "demand 720 fps ÷ (288 fps/replica × 0.80) → 4 (was 3)"
POOL = {"spec": {}, "status": {"nodes": 2, "slices": [{"profile": "1g.10gb", "total": 7, "used": 3}]}}
ENGINE: dict[str, Any] = {
    "metadata": {"name": "e-1", "ownerReferences": [{"kind": "YoloDeployment", "name": "gate"}]},
    "spec": {
        "key": "a" * 64,
        "recipe": {
            "backend": "TensorRT",
            "precision": "FP16",
            "task": "Detect",
            "weights": "builtin:yolo26n",
            "imageSize": {"height": 640, "width": 640},
            "maxBatchSize": 32,
        },
        "builder": {"version": "1", "tensorrtVersion": "10.13"},
        "target": {"smCount": 16, "memoryMiB": 9984, "computeCapability": "9.0"},
    },
}


def seen(*, reason: str = "FollowingDemand", desired: int = 4, row: TopDeployment | None = None, **spec: Any) -> Seen:
    """Return a deployment of 48 cameras at 15 frames a second, each replica good for 288."""
    made = obj(ready=desired, desired=desired, fps="700/720")
    demand = {"streams": 48, "framesPerSecond": "15"}
    scaling = {"mode": "Auto", "minReplicas": 1, "maxReplicas": 8, "targetUtilizationPercent": 80}
    model = {"builtin": "yolo26n", "task": "Detect"}
    made["spec"] = {"model": model, "demand": demand, "scaling": scaling, "objective": {"p99LatencyMilliseconds": 50}}
    made["spec"] |= spec
    made["status"]["scaling"] = {"desiredReplicas": desired, "reason": reason, "message": MESSAGE}
    made["status"]["groups"] = [
        {
            "profile": "1g.10gb",
            "product": "NVIDIA-H100-80GB-HBM3",
            "replicas": desired,
            "readyReplicas": desired,
            "engineRef": {"name": "e-1"},
            "framesPerSecondPerReplica": 288,
            "curve": "Measured",
        }
    ]
    return Seen(made, {"e-1": ENGINE}, POOL, [], row, "" if row else "the operator is away")


def row(**figures: Any) -> TopDeployment:
    return TopDeployment(namespace="cams", name="gate", **figures)


def told(sections, title: str) -> list[str]:
    (found,) = [section.lines for section in sections if section.title.startswith(title)]
    return list(found)


def test_the_arithmetic_is_shown_with_its_figures_and_where_they_come_from() -> None:
    lines = told(story(seen()), "Why so many replicas")
    assert lines[0] == f"4 replicas, decided by the operator: FollowingDemand: {MESSAGE}"
    assert "demand declared: 48 streams × 15 frames/s = 720 fps" in lines
    assert "one replica carries: 288 fps (measured); planned for 80% of it" in lines
    assert "720 ÷ (288 × 0.80) = 3.12 → 4" in lines
    assert "what binds: the demand" in lines
    assert lines[-1] == "(figures from status, not live: the operator is away)"


@pytest.mark.parametrize(
    ("desired", "more", "less"),
    [
        (4, "one more from 922 fps on", "one less below 691 fps"),
        (8, None, "one less below 1610 fps"),
        (1, "one more from 230 fps on", None),
    ],
)
def test_what_would_change_the_count_respects_the_bounds(desired, more, less) -> None:
    lines = told(story(seen(desired=desired)), "Why so many replicas")
    change = next((line for line in lines if line.startswith("what would change it")), "")
    assert ("one more" in change, "one less" in change) == (more is not None, less is not None)
    assert (more or "") in change
    assert (less or "") in change


def test_the_thresholds_are_where_the_sum_changes() -> None:
    """Just above and just below the demand that is named, the same sum gives another count."""
    for desired in range(2, 8):
        one = 288 * 0.8
        above = sum_of(seen(desired=desired, row=row(demand_fps=desired * one + 0.01)))
        at = sum_of(seen(desired=desired, row=row(demand_fps=desired * one)))
        below = sum_of(seen(desired=desired, row=row(demand_fps=(desired - 1) * one - 0.01)))
        assert (above.needed, at.needed, below.needed) == (desired + 1, desired, desired - 1)


def test_live_figures_come_before_those_of_status() -> None:
    figures = sum_of(seen(row=row(demand_fps=900.0, capacity_fps=300.0)))
    assert (figures.demand, figures.capacity, figures.needed) == (900.0, 300.0, 4)
    assert sum_of(seen()).demand == 720.0


def test_a_count_that_the_sum_does_not_give_is_the_operators_word() -> None:
    lines = told(story(seen(reason="AtMaxReplicas", desired=2)), "Why so many replicas")
    assert "720 ÷ (288 × 0.80) = 3.12 → 4; 2 stands, for the reason above" in lines
    assert "what binds: scaling.maxReplicas: the demand needs more" in lines


def test_a_count_above_what_is_needed_now_waits_for_the_window() -> None:
    lines = told(story(seen(row=row(demand_fps=300.0))), "Why so many replicas")
    assert any(line.startswith("what binds: what was needed when it was decided; less is needed now") for line in lines)


def test_without_a_capacity_there_is_no_sum_and_no_threshold() -> None:
    made = seen()
    del made.obj["status"]["groups"][0]["framesPerSecondPerReplica"]
    lines = told(story(made), "Why so many replicas")
    assert "one replica carries: unknown; planned for 80% of it" in lines
    assert not [line for line in lines if "÷" in line and line != lines[0]]


def test_every_reason_of_scaling_says_what_binds() -> None:
    known = {reason.value for reason in Reason}
    scaling = {"FollowingDemand", "AtMinReplicas", "AtMaxReplicas", "CapacityUnknown", "SignalsMissing"}
    assert (scaling | {"StabilizingDown", "External", "Suspended"}) & known <= set(BINDS)


def test_profile_and_engine_are_explained() -> None:
    sections = story(seen(placement={"profiles": ["1g.10gb"]}))
    assert "asked for in spec.placement: profiles 1g.10gb" in told(sections, "Why this slice")
    assert "MigPool default offers: 1g.10gb 3 of 7 used" in told(sections, "Why this slice")
    (line,) = [line for line in told(sections, "Why this engine") if line.startswith("serving: e-1")]
    assert "TensorRT FP16, Detect from builtin:yolo26n" in line
    assert line.endswith("for 16 SMs, 9984 MiB, compute capability 9.0")


def test_a_portable_engine_and_its_curves_are_told_apart_from_exact_ones() -> None:
    made = seen()
    target = ENGINE["spec"]["target"] | {"hardwareCompatibility": "SameComputeCapability"}
    curve = {"source": "Measured", "product": "NVIDIA-H100-80GB-HBM3", "profile": "1g.10gb", "smCount": 16}
    point = {"endpoint": "Ultralytics", "batch": 8, "instances": 1, "framesPerSecond": 900}
    told_so = curve | {"points": [point | {"p50Microseconds": 9000, "p99Microseconds": 9500}]}
    portable = ENGINE | {"spec": ENGINE["spec"] | {"target": target}, "status": {"curve": told_so}}
    sections = story(replace(made, engines={"e-1": portable}))
    (line,) = [line for line in told(sections, "Why this engine") if line.startswith("serving: e-1")]
    assert line.endswith("portable (SameComputeCapability): it runs on slices that are as large or larger, too")
    lines = told(sections, "Why this slice")
    assert any(line.startswith("by measured curve of a portable engine: 1g.10gb of NVIDIA-H100") for line in lines)


@pytest.mark.parametrize(("p99", "words"), [(41.0, "it does ("), (61.0, "it does not ("), (None, "nobody could see")])
def test_the_objective_is_held_against_what_is_seen(p99, words) -> None:
    lines = told(story(seen(row=row(p99_ms=p99, queue_ms=3.0, busy=0.5))), "Does it meet")
    assert words in lines[-1]


def test_a_deployment_that_nobody_has_looked_at_has_a_story_too() -> None:
    bare = {"metadata": {"name": "gate", "namespace": "cams", "generation": 1}, "spec": {"model": {"builtin": "x"}}}
    sections = story(Seen(bare, {}, "you are not allowed", "you are not allowed to see events"))
    assert told(sections, "In short") == ["cams/gate serves builtin x: 0 of 0 replicas ready; not seen yet"]
    assert told(sections, "Why so many") == ["the operator has not decided yet"]
    assert told(sections, "What happened") == ["you are not allowed to see events"]


def test_events_are_told_in_order_and_the_last_ones_only() -> None:
    events = [
        {"metadata": {}, "eventTime": f"2026-01-01T00:00:{second:02}.5Z", "reason": "Scaled", "message": str(second)}
        for second in (9, 3, 7, 1, 5, 8, 2, 6, 4)
    ]
    lines = happened(events).lines
    assert [line.split()[-1] for line in lines] == list("23456789")


def test_an_engine_that_failed_says_why_and_what_to_do() -> None:
    failure = {"field": "spec.model.http.sha256", "value": "c", "message": "another digest", "remedy": "pin it"}
    status = {"failure": failure, "attempts": 2, "nextAttemptTime": "2026-01-01T00:10:00Z", "stage": "Fetch"}
    ready = {"type": "Ready", "status": "False", "reason": "BackingOff", "message": "2 builds failed"}
    sections = engine.story(ENGINE | {"status": status | {"conditions": [ready]}}, [])
    lines = told(sections, "How far it is")
    assert lines[0] == "BackingOff: 2 builds failed"
    assert "the last build failed: spec.model.http.sha256 (c): another digest" in lines
    assert "  → pin it" in lines
    assert told(sections, "Who uses it") == ["YoloDeployments gate: one build for all of them"]


def test_a_measured_engine_tells_its_curve() -> None:
    point = {"endpoint": "Ultralytics", "batch": 8, "instances": 2, "framesPerSecond": 1310}
    point |= {"p50Microseconds": 6110, "p99Microseconds": 6150}
    curve = {"source": "Measured", "profile": "1g.10gb", "product": "H100", "smCount": 16, "points": [point]}
    lines = told(engine.story(ENGINE | {"status": {"curve": curve}}, []), "What it is worth")
    assert lines == [
        "measured on 1g.10gb of H100 (16 SMs)",
        "Ultralytics batch 8 × 2: 1310 fps, p50 6.11 ms, p99 6.15 ms",
    ]


def test_an_engine_that_nobody_measured_says_by_what_it_is_counted() -> None:
    judged = {"type": "Measured", "status": "False", "reason": "NotMeasured", "message": "counted by an estimate"}
    lines = told(engine.story(ENGINE | {"status": {"conditions": [judged]}}, []), "What it is worth")
    assert lines == ["counted by an estimate"]


def test_a_pool_says_who_uses_it_and_what_is_wrong() -> None:
    shared = {"type": "Conflicted", "status": "True", "reason": "NodesShared", "message": "node n1 is another's"}
    status = POOL["status"] | {"conditions": [shared]}
    sections = pool.story({"spec": {}, "status": status}, [obj()], [])
    assert "Conflicted=True NodesShared: node n1 is another's" in told(sections, "Which nodes")
    assert told(sections, "Who uses it") == ["1 YoloDeployments: cams/gate"]
    assert told(sections, "What they offer")[0] == "1g.10gb: 3 of 7 held by this fleet"


@pytest.mark.parametrize(("value", "text"), [(None, "unknown"), (0.0, "0"), (921.6, "922"), (0.8349, "0.835")])
def test_figures_have_three_digits(value, text) -> None:
    assert figure(value) == text


def test_curves_say_what_each_kind_of_slice_is_worth() -> None:
    from tests.planning.files import curve

    told = ENGINE | {"status": {"curves": [curve("2g.20gb", 850, 20), curve("1g.10gb", 400, 4000)]}}
    made = replace(seen(), engines={"e-1": told})
    lines = next(section.lines for section in story(made) if section.title == "Why this slice profile")
    worth = [line for line in lines if line.startswith("by measured curve")]
    assert [line.split()[3] for line in worth] == ["1g.10gb", "2g.20gb"]
    assert "its p99 is 4000.0 ms at best" in worth[0]
    assert "850 fps at batch 8 × 80 % = 680 fps" in worth[1]


def test_triton_s_numbers_are_told_with_their_reasons() -> None:
    assert told(story(seen()), "How Triton")[0].startswith("no curve speaks for it: one instance, batches up to 32")
    tuning = {
        "endpoint": "Ultralytics",
        "maxBatchSize": 8,
        "instances": 2,
        "message": "measured curve of x; instances: 2",
    }
    made = seen()
    groups = [{"profile": "1g.10gb", "tuning": [tuning]}]
    made = replace(made, obj=made.obj | {"status": made.obj["status"] | {"groups": groups}})
    lines = told(story(made), "How Triton")
    assert lines[:3] == [
        "Ultralytics on 1g.10gb: batches up to 8, instances 2",
        "  measured curve of x",
        "  instances: 2",
    ]


async def test_a_name_alone_is_looked_for_among_all_kinds_and_a_kind_that_is_hidden_is_said(
    cluster: Cluster, tmp_path: Path
) -> None:
    pool = "/apis/yolofleet.dev/v1alpha1/migpools/east"
    cluster.answers = {pool: [(200, {"metadata": {"name": "east"}})]}
    session = Session(Flags(str(cluster.kubeconfig(tmp_path, {"token": "t"})), None, None), *consoles())
    async with session.cluster() as asked:
        resource, made = await found(asked, "", "east")
        assert (resource.kind, made["metadata"]["name"]) == ("MigPool", "east"), "the two before it are forbidden"
        with pytest.raises(CannotAskError, match="no YoloDeployment, YoloEngine, MigPool named west"):
            await found(asked, "", "west")
        cluster.answers = {pool: [refused(403, "Forbidden", "cannot get migpools")]}
        with pytest.raises(ApiServerError, match="cannot get migpools"):
            await found(asked, "mpool", "east")

"""ObjectiveMet: the p99 that replicas show against what was asked, said once and not at every look."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planning.worlds import deployment, group, spec
from yolofleet.api.conditions import Condition, Reason
from yolofleet.api.yolodeployment import Objective
from yolofleet.api.yolodeployment_status import YoloDeploymentStatus
from yolofleet.planning.judging import Judged, objective_met
from yolofleet.planning.scaling.signals import ReplicaSignals, together
from yolofleet.planning.snapshot import DeploymentView

BOUND_MS = 50


def seen(
    p99_ms: float | None, *, queue_ms: float = 0.0, before: Judged | None = None, ready: int = 1
) -> DeploymentView:
    """Return a deployment whose worst pod shows a p99, and whose status has said `before` of this generation."""
    p99_us = None if p99_ms is None else p99_ms * 1000
    pod = ReplicaSignals("p0", "gpu", 10.0, 10.0, 0.0, queue_us=queue_ms * 1000, p99_us=p99_us, frames=100)
    asked = spec().model_copy(update={"objective": Objective(p99_latency_milliseconds=BOUND_MS)})
    view = deployment(asked=asked, groups=(group(ready=ready),), signals=together([pod], missing=(), unbroken_s=60))
    if before is None:
        return view
    said = Condition(
        type="ObjectiveMet",
        status=before.status,
        reason=before.reason.value,
        message=before.message,
        observed_generation=view.generation,
    )
    return replace(view, status=YoloDeploymentStatus(conditions=[said]))


def test_met_and_missed_say_figure_field_and_remedy() -> None:
    met = objective_met(seen(49.9))
    assert (met.status, met.reason) == ("True", Reason.OBJECTIVE_MET)
    assert met.message == "p99 49.9 ms of objective.p99LatencyMilliseconds 50"
    slow = objective_met(seen(80))
    assert (slow.status, slow.reason) == ("False", Reason.OBJECTIVE_MISSED)
    assert "p99 80 ms of objective.p99LatencyMilliseconds 50; frames do not queue" in slow.message
    assert "larger profile" in slow.message
    queued = objective_met(seen(80, queue_ms=60))
    assert "frames queue for 60 ms: more replicas help (scaling.maxReplicas" in queued.message


@pytest.mark.parametrize(("p99_ms", "reason"), [(50.0, Reason.OBJECTIVE_MET), (50.1, Reason.OBJECTIVE_MISSED)])
def test_the_bound_itself_is_met(p99_ms: float, reason: Reason) -> None:
    assert objective_met(seen(p99_ms)).reason == reason


def test_a_word_stands_while_it_is_true() -> None:
    said = objective_met(seen(10))
    assert objective_met(seen(40, before=said)) == said, "another figure alone is no news"
    assert objective_met(seen(None, before=said)) == said, "nor is a time without frames"


def test_a_missed_objective_is_met_again_a_tenth_below() -> None:
    missed = objective_met(seen(60))
    assert objective_met(seen(49, before=missed)) == missed
    assert objective_met(seen(45, before=missed)).reason == Reason.OBJECTIVE_MET


def test_nobody_guesses() -> None:
    told = objective_met(seen(None))
    assert (told.status, told.reason) == ("Unknown", Reason.NOT_MEASURED)
    assert objective_met(seen(10, ready=0)).reason == Reason.NOT_MEASURED
    said = objective_met(seen(10))
    assert objective_met(seen(None, before=said, ready=0)).reason == Reason.NOT_MEASURED


def test_a_new_spec_is_judged_anew() -> None:
    view = seen(60, before=objective_met(seen(60)))
    assert objective_met(replace(view, generation=view.generation + 1)).message != ""
    softer = view.spec.model_copy(update={"objective": Objective(p99_latency_milliseconds=62)})
    assert objective_met(replace(view, spec=softer, generation=view.generation + 1)).reason == Reason.OBJECTIVE_MET


def answering(*pods: tuple[str, float | None, float | None], before: Judged | None = None) -> DeploymentView:
    """Return a deployment by what its pods answer: name, frames served and failed a second."""
    made = [ReplicaSignals(name, "gpu", 1.0, served, failed, p99_us=9_000.0) for name, served, failed in pods]
    return replace(seen(9, before=before), signals=together(made, missing=(), unbroken_s=60))


def test_a_pod_of_which_every_request_fails_is_named_however_fast_the_others_are() -> None:
    told = objective_met(answering(("a", 10.0, 0.0), ("b", 0.0, 2.0), ("c", 5.0, 5.0)))
    assert (told.status, told.reason) == ("False", Reason.REQUESTS_FAILING)
    assert told.message.startswith("b: every request fails")
    many = objective_met(answering(*((name, 0.0, 1.0) for name in "fedcba")))
    assert many.message.startswith("a, b, c, and 3 more: every")


def test_a_pod_that_failed_and_is_asked_no_more_is_not_well_until_it_has_served_or_gone() -> None:
    failed = objective_met(answering(("a", 9.0, 0.0), ("b", 0.0, 2.0)))
    assert objective_met(answering(("a", 9.0, 0.0), ("b", 0.0, 0.0), before=failed)) == failed
    assert objective_met(answering(("a", 9.0, 0.0), ("b", None, None), before=failed)) == failed
    assert objective_met(answering(("a", 9.0, 0.0), ("b", 0.1, 0.0), before=failed)).reason == Reason.OBJECTIVE_MET
    assert objective_met(answering(("a", 9.0, 0.0), ("bb", 0.0, 0.0), before=failed)).reason == Reason.OBJECTIVE_MET


def test_a_pod_that_nobody_asks_does_not_fail() -> None:
    assert objective_met(answering(("a", 9.0, 0.0), ("b", 0.0, 0.0))).reason == Reason.OBJECTIVE_MET

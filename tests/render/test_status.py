"""Status and Events: written once and then stand; endpoints that are listed are served; notes that Kubernetes takes."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planning.worlds import NOW, deployment, engine, group, pod, snapshot, spec
from tests.render.cases import planned, serves
from yolofleet.api.conditions import Condition, Reason
from yolofleet.planning.judging import Judged
from yolofleet.planning.plan import plan
from yolofleet.planning.snapshot import PodView, UnreadableView
from yolofleet.render.events import NOTE_LIMIT_BYTES, events
from yolofleet.render.status import condition, deployment_status, unreadable_status
from yolofleet.render.writes import Target

BOTH = ["Ultralytics", "Frames"]
OLD, NEW = (engine(spec(endpoints=told), name=name) for name, told in (("e-old", ["Ultralytics"]), ("e-new", BOTH)))


def test_a_conditions_time_moves_only_with_its_status() -> None:
    first = condition("Ready", Judged("False", Reason.NOT_SERVING, "0 of 1"), old=[], now=NOW, generation=1)
    later = NOW.replace(hour=13)
    same = condition("Ready", Judged("False", Reason.SUSPENDED, "off"), old=[first], now=later, generation=2)
    turned = condition("Ready", Judged("True", Reason.SERVING, "1 of 1"), old=[same], now=later, generation=2)
    assert same.last_transition_time == first.last_transition_time == "2026-01-01T12:00:00Z"
    assert turned.last_transition_time == "2026-01-01T13:00:00Z"


def test_a_status_is_written_once_and_then_stands() -> None:
    first = deployment_status(planned(**serves()), NOW)
    again = deployment_status(planned(**serves(), status=first), NOW.replace(hour=13))
    assert again == first


@pytest.mark.parametrize(
    ("pods", "listed"),
    [
        ((pod("a", engine="e-old"),), ["Ultralytics"]),
        ((pod("a", engine="e-old"), pod("b", engine="e-new", ready=False)), ["Ultralytics"]),
        ((pod("a", engine="e-old"), pod("b", engine="e-new")), ["Ultralytics"]),
        ((pod("a", engine="e-old", terminating=True), pod("b", engine="e-new")), BOTH),
        ((pod("b", engine="e-new"),), BOTH),
        ((), BOTH),  # its Deployment wears the new engine, and no pod is ready yet
    ],
)
def test_status_lists_the_endpoints_that_every_ready_pod_serves(pods: tuple[PodView, ...], listed: list[str]) -> None:
    view = deployment(asked=spec(endpoints=BOTH), groups=(group("gpu", "e-new"),), pods=pods)
    (made,) = plan(snapshot(view, engines=(OLD, NEW))).deployments
    told = deployment_status(made, NOW).endpoints
    assert [one.type for one in told] == listed
    assert [one.model_name for one in told] == ["gate", "gate_frames"][: len(listed)]


@given(st.sampled_from("a×→😀"), st.integers(1, 1500))
def test_a_note_never_passes_what_kubernetes_takes_in_bytes(letter: str, length: int) -> None:
    words = letter * length
    new = [condition("Placed", Judged("False", Reason.NO_ROOM, words), old=[], now=NOW, generation=1)]
    (event,) = events(Target("YoloDeployment", "cams", "gate", "u"), [], new, NOW)
    assert len(event["note"].encode()) <= NOTE_LIMIT_BYTES
    assert f"Placed=False: {words}".startswith(event["note"])


def test_an_event_of_a_pool_lies_in_default_and_regards_no_namespace() -> None:
    new = [condition("Ready", Judged("False", Reason.INVALID_SPEC, "no"), old=[], now=NOW, generation=1)]
    (event,) = events(Target("MigPool", "", "east"), [], new, NOW)
    assert event["metadata"]["namespace"] == "default"
    assert event["regarding"].keys() == {"apiVersion", "kind", "name"}


def test_the_condition_of_an_unreadable_object_is_written_once_and_then_stands() -> None:
    view = UnreadableView("YoloDeployment", "cams", "gate", 7, "spec.engine: no")
    first = unreadable_status(view, NOW)
    known = [Condition.model_validate(told) for told in first["conditions"]]
    again = unreadable_status(replace(view, status=first, conditions=known), NOW.replace(hour=13))
    assert again == first
    assert first["observedGeneration"] == 7

"""New weights that find less of what is labelled never serve, and both numbers are said; who finds as much goes on."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planning.rolling import GOOD, Cluster, cluster
from tests.planning.worlds import PUBLISHED, deployment, engine, snapshot, spec
from yolofleet.api.build import Accuracy, Gate
from yolofleet.api.yolodeployment import AccuracyGate
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.engines import wish
from yolofleet.planning.plan import plan
from yolofleet.planning.rollout.accuracy import judged
from yolofleet.planning.sizing.curves import home_of, recipe_id

DATASET = {"http": {"url": "http://files.cams/val.zip", "sha256": "e" * 64}}
GATE = {"dataset": DATASET, "maxDrop": "0.02"}
ASKED = AccuracyGate.model_validate(GATE)


def gate(strict: str, *, loose: str = "0.9000", images: int = 500, sha256: str = "e" * 64) -> Gate:
    found = Accuracy(dataset_sha256=sha256, images=images, objects=1234, map50=loose, map50_to95=strict)
    return Gate(reference="torch", frames=3, largest_error="1e-05", allowed_error="0.001", accuracy=found)


def status(told: Gate | None) -> YoloEngineStatus:
    return PUBLISHED.model_copy(update={"gate": told})


def rolling(old: Gate | None, new: Gate | None, devices: int = 5, replicas: int = 4, **rollout: Any) -> Cluster:
    asked = {"engine": {"backend": "ONNXRuntime", "accuracyGate": GATE}}
    told = {"engine_status": status(new), "old_status": status(old)}
    return cluster(replicas, devices, GOOD, rollout=rollout, more=asked, **told)


@pytest.mark.parametrize("rollout", [{}, {"canaryPercent": 0}, {"strategy": "InPlace"}])
@pytest.mark.parametrize("replicas", [1, 4])
def test_worse_weights_are_taken_back_before_a_pod_of_theirs_starts(replicas: int, rollout: dict[str, Any]) -> None:
    made = rolling(gate("0.7812"), gate("0.4123"), replicas=replicas, **rollout)
    for _ in range(10):
        decided = made.tick()
    assert (made.phase, made.made, made.fewest, made.served) == ("RolledBack", 0, replicas, ["e-old"] * replicas)
    told = made.view.status.rollout
    assert (told.reason, told.engine) == ("Accuracy", made.new)
    assert told.message == (
        "mAP50-95 0.4123 against 0.7812 of the engine that serves (1234 objects in 500 labelled pictures): "
        "0.3689 less, spec.engine.accuracyGate.maxDrop allows 0.02; give better weights, or raise it"
    )
    progressing = next(c for c in made.view.status.conditions if c.type == "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "RolledBack")
    assert "0.4123 against 0.7812" in progressing.message
    assert "`kubectl yolofleet rollout retry` or `promote`" in progressing.message
    assert decided.gone == ()


@pytest.mark.parametrize("after", ["0.7612", "0.7812", "0.9999"])
def test_weights_within_what_is_allowed_take_over_and_their_figures_are_said(after: str) -> None:
    made = rolling(gate("0.7812"), gate(after))
    made.until("Canary")
    assert f"mAP50-95 {after} against 0.7812" in made.view.status.rollout.message
    made.until("Promoted")
    assert made.view.status.rollout.reason == "AsGood"
    assert f"mAP50-95 {after} against 0.7812" in made.view.status.rollout.message


@pytest.mark.parametrize(
    ("old", "why"),
    [
        (None, "the engine that serves was not measured"),
        (gate("0.9", images=100), "the engine that serves was measured on other pictures"),
        (gate("0.9", sha256="f" * 64), "the engine that serves was measured on other pictures"),
    ],
)
def test_figures_of_other_pictures_judge_nobody_and_that_is_said(old: Gate | None, why: str) -> None:
    made = rolling(old, gate("0.4123"))
    made.until("Promoted")
    told = made.view.status.rollout.message
    assert (
        f"accuracy is not compared: mAP50 0.9000, mAP50-95 0.4123 (1234 objects in 500 labelled pictures); {why}"
        in told
    )


def test_who_may_not_be_taken_back_waits_without_a_replica_until_somebody_speaks() -> None:
    made = rolling(gate("0.7812"), gate("0.4123"), autoRollback="Disabled")
    for _ in range(10):
        made.tick()
    told = made.view.status.rollout
    assert (made.phase, told.reason, made.made, made.served) == ("Canary", "Accuracy", 0, ["e-old"] * 4)
    assert "autoRollback is Disabled" in told.message
    assert made.tick().rollout.status == told, "nothing is written twice"
    made.request = f"promote {made.new} 1"
    made.until("Promoted")
    assert made.served == [made.new] * 4


def test_somebody_may_still_have_worse_weights_and_retry_judges_them_anew() -> None:
    made = rolling(gate("0.7812"), gate("0.4123"))
    made.until("RolledBack")
    made.request = f"retry {made.new} 1"
    made.tick()
    assert made.phase == "RolledBack"
    assert [one.reason for one in made.view.status.rollout.history] == ["Accuracy"]
    made.request = f"promote {made.new} 2"
    made.until("Promoted")
    made.tick()
    assert made.served == [made.new] * 4


def test_the_other_metric_is_judged_where_it_is_asked_for() -> None:
    asked = AccuracyGate.model_validate(GATE | {"metric": "MAP50"})
    told = judged(asked, old=gate("0.1", loose="0.9500"), new=gate("0.9", loose="0.9000"))
    assert told is not None
    assert (told.good, told.message.partition(" of ")[0]) == (False, "mAP50 0.9000 against 0.9500")


figures = st.integers(0, 10_000).map(lambda value: f"{value / 10_000:.4f}")


@given(figures, figures, st.integers(0, 100).map(lambda value: f"{value / 100:.2f}"))
def test_an_engine_is_worse_exactly_when_it_loses_more_than_allowed(before: str, after: str, allowed: str) -> None:
    asked = AccuracyGate.model_validate(GATE | {"maxDrop": allowed})
    told = judged(asked, old=gate(before), new=gate(after))
    assert told is not None
    assert told.good == (Decimal(before) - Decimal(after) <= Decimal(allowed))
    assert before in told.message
    assert after in told.message


@given(figures, figures)
def test_of_two_engines_at_most_one_is_worse_and_who_asks_for_nothing_hears_nothing(one: str, other: str) -> None:
    there, back = (judged(ASKED, old=gate(a), new=gate(b)) for a, b in ((one, other), (other, one)))
    assert there is not None
    assert back is not None
    assert there.good or back.good
    assert judged(None, old=gate(one), new=gate(other)) is None


def test_the_set_and_how_much_of_it_make_another_engine_and_what_is_allowed_does_not() -> None:
    def asked(**more: Any) -> Any:
        return spec(engine={"backend": "ONNXRuntime", **more})

    def name(**more: Any) -> str:
        return engine(asked(**more)).name

    there = name(accuracyGate=GATE)
    assert there != name()
    assert there != name(accuracyGate=GATE | {"images": 20})
    assert there == name(accuracyGate=GATE | {"maxDrop": "0.5", "metric": "MAP50"})
    made = engine(asked(accuracyGate=GATE)).spec
    assert made.labelled is not None
    assert (made.labelled.source.http.url, made.recipe.dataset) == (DATASET["http"]["url"], f"sha256:{'e' * 64} x500")
    assert home_of("cams", asked(accuracyGate=GATE)) == home_of("cams", asked()) == recipe_id("cams", made.recipe)


@pytest.mark.parametrize(
    ("parts", "words"),
    [
        ({"engine": {"backend": "ONNXRuntime", "accuracyGate": {"dataset": {"builtin": "coco"}}}}, "dataset.builtin: "),
        (
            {"model": {"builtin": "yolo26n-seg", "task": "Segment"}, "engine": {"accuracyGate": GATE}},
            "mAP is measured for task Detect only (got Segment)",
        ),
    ],
)
def test_what_is_not_measured_is_said_before_anything_is_built(parts: dict[str, Any], words: str) -> None:
    (made,) = plan(snapshot(deployment(asked=spec(**parts)))).deployments
    judgement = made.judgement.engine_ready
    assert (judgement.reason, made.wish) == ("NotSupported", None)
    assert words in judgement.message


def test_a_spec_without_a_gate_wants_the_engine_that_it_always_wanted() -> None:
    made = engine(spec()).spec
    assert "dataset" not in made.recipe.wire()
    assert "labelled" not in made.wire()
    assert wish(spec(), builder=made.builder, target=None).name == engine(spec()).name


def compiled(found: str, onnx: str) -> Gate:
    told = gate(found)
    assert told.accuracy is not None
    figures = {"onnx_map50": "0.9000", "onnx_map50_to95": onnx}
    return told.model_copy(update={"accuracy": told.accuracy.model_copy(update=figures)})


def first(found: Gate, **more: Any) -> Any:
    """Plan a deployment that serves nothing yet, whose engine is built."""
    asked = spec(engine={"backend": "ONNXRuntime", "accuracyGate": GATE | more})
    made = engine(asked, status=status(found))
    return plan(snapshot(deployment(asked=asked), engines=(made,))).deployments[0]


def test_an_engine_that_lost_too_much_when_it_was_compiled_never_serves_not_even_as_the_first() -> None:
    made = first(compiled("0.6000", "0.7000"))
    assert made.groups == ()
    judgement = made.judgement
    assert (judgement.engine_ready.status, judgement.engine_ready.reason) == ("False", "BuildRefused")
    assert judgement.engine_ready.message == (
        "spec.engine.accuracyGate: mAP50-95 0.6000 against 0.7000 of the ONNX file that it was made of (1234 objects "
        "in 500 labelled pictures): 0.1000 less, maxDrop allows 0.02; set a wider engine.precision, calibrate on more "
        "frames, or raise it"
    )
    assert (judgement.progressing.status, judgement.progressing.reason) == ("False", "BuildRefused")
    assert first(compiled("0.6000", "0.7000"), maxDrop="0.1").groups
    assert first(compiled("0.6900", "0.7000")).groups
    assert first(compiled("0.6000", "0.7000"), metric="MAP50").groups


def test_as_a_successor_it_is_held_back_until_more_may_be_lost_and_who_serves_goes_on() -> None:
    made = rolling(gate("0.6000"), compiled("0.6000", "0.7000"))
    for _ in range(10):
        made.tick()
    progressing = next(c for c in made.view.status.conditions if c.type == "Progressing")
    assert (progressing.status, progressing.reason) == ("False", "HeldBack")
    assert "0.6000 against 0.7000 of the ONNX file" in progressing.message
    assert (made.phase, made.made, made.served) == ("Building", 0, ["e-old"] * 4)
    wider = {"backend": "ONNXRuntime", "accuracyGate": GATE | {"maxDrop": "0.2"}}
    made.asked = spec(scaling={"minReplicas": 4, "maxReplicas": 8}, engine=wider)
    made.until("Promoted")


def test_an_engine_that_serves_goes_on_when_less_may_be_lost_from_now_on() -> None:
    made = rolling(gate("0.6000"), compiled("0.6900", "0.7000"))
    made.until("Promoted")
    stricter = {"backend": "ONNXRuntime", "accuracyGate": GATE | {"maxDrop": "0"}}
    made.asked = spec(scaling={"minReplicas": 4, "maxReplicas": 8}, engine=stricter)
    for _ in range(5):
        made.tick()
    assert made.served == [made.new] * 4

"""Whether an engine finds as much of what is labelled as its ONNX file, and as the one that serves: both figures."""

from __future__ import annotations

from decimal import Decimal

from yolofleet.api.build import Accuracy, Gate, Metric
from yolofleet.api.rollout import RolloutReason
from yolofleet.api.yolodeployment import AccuracyGate
from yolofleet.planning.rollout.comparing import Outcome

FIELD = "spec.engine.accuracyGate"
CALLED: dict[Metric, str] = {"MAP50": "mAP50", "MAP50To95": "mAP50-95"}


def lost(asked: AccuracyGate | None, gate: Gate | None) -> str:
    """Say that an engine lost more than is allowed when it was compiled; "" where it did not, or nobody asked."""
    found = _accuracy(gate)
    if asked is None or found is None or (onnx := found.of_onnx(asked.metric)) is None:
        return ""
    drop = Decimal(onnx) - Decimal(found.of(asked.metric))
    if drop <= Decimal(asked.max_drop):
        return ""
    told = (
        f"{FIELD}: {CALLED[asked.metric]} {found.of(asked.metric)} against {onnx} of the ONNX file that it was made of"
    )
    why = f"({found.objects} objects in {found.images} labelled pictures): {drop} less, maxDrop allows {asked.max_drop}"
    return f"{told} {why}; set a wider engine.precision, calibrate on more frames, or raise it"


def judged(asked: AccuracyGate | None, *, old: Gate | None, new: Gate | None) -> Outcome | None:
    """Judge by the figures that both builds left; None where the spec asks for none.

    Figures of other pictures are no measure of each other: then nothing is judged, and that is said.
    """
    if asked is None:
        return None
    ours, theirs = _accuracy(new), _accuracy(old)
    if ours is None:
        return _not_compared("the new engine was not measured")
    if theirs is None:
        return _not_compared(f"{ours.sentence()}; the engine that serves was not measured")
    if (ours.dataset_sha256, ours.images) != (theirs.dataset_sha256, theirs.images):
        return _not_compared(f"{ours.sentence()}; the engine that serves was measured on other pictures")
    return _compared(asked, ours, theirs)


def _compared(asked: AccuracyGate, ours: Accuracy, theirs: Accuracy) -> Outcome:
    after, before = Decimal(ours.of(asked.metric)), Decimal(theirs.of(asked.metric))
    seen = f"({ours.objects} objects in {ours.images} labelled pictures)"
    told = f"{CALLED[asked.metric]} {after} against {before} of the engine that serves {seen}"
    lost = before - after
    if lost <= Decimal(asked.max_drop):
        return Outcome(good=True, reason=RolloutReason.AS_GOOD, message=told)
    told = f"{told}: {lost} less, {FIELD}.maxDrop allows {asked.max_drop}"
    return Outcome(good=False, reason=RolloutReason.ACCURACY, message=f"{told}; give better weights, or raise it")


def _not_compared(why: str) -> Outcome:
    return Outcome(good=True, reason=RolloutReason.NOT_COMPARED, message=f"accuracy is not compared: {why}")


def _accuracy(gate: Gate | None) -> Accuracy | None:
    return gate.accuracy if gate is not None else None

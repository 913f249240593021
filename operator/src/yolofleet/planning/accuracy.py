"""Whether a new engine finds as much of what is labelled as the one that serves: both figures, and what they allow."""

from __future__ import annotations

from decimal import Decimal

from yolofleet.api.build import Accuracy, Gate, Metric
from yolofleet.api.rollout import RolloutReason
from yolofleet.api.yolodeployment import AccuracyGate
from yolofleet.planning.comparing import Outcome

FIELD = "spec.engine.accuracyGate"
CALLED: dict[Metric, str] = {"MAP50": "mAP50", "MAP50To95": "mAP50-95"}


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

"""A measured capacity is corrected by p99, queue and activity, slowly, with its reason, and given back."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.planning.scaling.test_replicas import CARRIES, decided, later, lost, seen, world
from tests.planning.worlds import NOW
from yolofleet.planning.scaling import correcting
from yolofleet.planning.scaling.capacity import Capacity
from yolofleet.planning.scaling.correcting import Correction

LATE = {"p99_us": 130_000.0}


def lived(signals, minutes: float, *, known: Correction | None = None, capacity: Capacity = CARRIES) -> Correction:
    told = known or Correction()
    for look in range(int(minutes * 30) + 1):
        at = NOW + timedelta(seconds=2 * look)
        told = correcting.after(told, capacity, signals, bound_ms=100, now=at)
    return told


@pytest.mark.parametrize(
    ("what", "signals", "words"),
    [
        ("p99", seen(80, 80, **LATE), "p99 130 ms is above 100 at 80% of it"),
        ("queue", seen(80, 80, queue_us=60_000.0), "frames queue for 60 ms of 100 at 80% of it"),
        ("activity", seen(70, 70, busy=0.97), "replicas are 97% active at 70% of it"),
    ],
)
def test_each_signal_corrects_after_two_minutes_and_says_so(what, signals, words) -> None:
    assert lived(signals, 1.9) == replace(Correction(), late_since=NOW), what
    told = correcting.applied(CARRIES, lived(signals, 2.0))
    assert (told.fps, told.words) == (pytest.approx(90), f"measured, corrected from 100 because {words}")


@pytest.mark.parametrize(
    ("why", "signals"),
    [
        ("they carry more than their capacity", seen(120, 120, **LATE)),
        ("they carry too little to tell", seen(20, 20, **LATE)),
        ("one was not seen", lost(seen(80, 80, **LATE))),
        ("nobody was asked", None),
        ("all is well", seen(80, 80)),
    ],
)
def test_nothing_is_corrected_where(why, signals) -> None:
    assert lived(signals, 10).share == 1.0, why


def test_it_never_falls_below_half_and_comes_back_when_replicas_are_at_ease() -> None:
    known = Correction()
    for _ in range(12):
        load = 80 * known.share
        known = lived(seen(load, load, **LATE), 2.0, known=replace(known, late_since=None))
    assert known.share == 0.5
    for _ in range(12):
        load = 80 * known.share
        known = lived(seen(load, load), 2.0, known=replace(known, easy_since=None))
    assert known.share == 1.0


def test_an_observed_capacity_corrects_itself() -> None:
    observed = Capacity(100.0, "Observed")
    assert lived(seen(80, 80, **LATE), 10, capacity=observed).share == 1.0
    assert correcting.applied(observed, Correction(0.5, "p99")) == observed


def test_a_decision_plans_with_it_and_carries_its_reason() -> None:
    view = world(replicas=2)
    for look in range(62):
        at = NOW + timedelta(seconds=2 * look)
        told = decided(replace(view, signals=seen(80, 80, **LATE)), at=at)
        view = later(view, told)
    assert "÷ (90 fps/replica measured, corrected from 100 because p99 130 ms is above 100" in told.message
    assert told.capacity == CARRIES, "the status says what was measured"

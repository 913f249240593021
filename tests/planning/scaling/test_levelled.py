"""Replicas on faster slices neither flatter nor hide those that they help."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.planning.worlds import NOW, deployment, group, pod, spec
from yolofleet.api.yolodeployment import Group, YoloDeploymentStatus
from yolofleet.planning.scaling.capacity import Capacity, observed
from yolofleet.planning.scaling.levelled import levelled
from yolofleet.planning.scaling.replicas import decide
from yolofleet.planning.scaling.signals import ReplicaSignals, Signals, together
from yolofleet.planning.snapshot import DeploymentView

ONE, THREE = "1g.10gb", "3g.40gb"


def seen(one: float, three: float, *, fps: float = 80, count: int = 2) -> Signals:
    """Return what two replicas show that share the frames evenly."""
    told = [("p0", "1g-10gb", one), ("p1", "3g-40gb", three)][:count]
    made = [
        ReplicaSignals(name, profile, arrival_fps=fps, served_fps=fps, failed_fps=0, busy=busy, frames=500)
        for name, profile, busy in told
    ]
    return together(made, missing=(), unbroken_s=1000.0)


def helped(signals: Signals | None, **given) -> DeploymentView:
    groups = (group(ONE, replicas=1), group(THREE, replicas=1, overflow=True))
    pods = (pod("p0", profile="1g-10gb"), pod("p1", profile="3g-40gb"))
    status = YoloDeploymentStatus(groups=[Group(profile=ONE, frames_per_second_per_replica=100, curve="Observed")])
    facts = {"groups": groups, "pods": pods, "status": status, "asked": spec(scaling={"maxReplicas": 9})}
    return deployment(signals=signals, **(facts | given))


def test_what_one_carries_is_what_one_of_the_own_kind_carries() -> None:
    raw = seen(0.8, 0.3)
    assert observed(raw) == pytest.approx(160 / 1.1), "what would be wrong"
    assert observed(levelled(helped(raw))) == pytest.approx(100)


def test_the_own_kind_is_saturated_however_idle_its_helpers_are() -> None:
    view = helped(seen(1.0, 0.25, fps=95))
    told = decide(view, profile=ONE, measured=Capacity(100, "Measured"), now=NOW, stale_s=10)
    assert told.replicas == 3
    assert "demand 190 fps observed" in told.message
    closed = helped(seen(1.0, 0.25, fps=60))
    told = decide(closed, profile=ONE, measured=Capacity(100, "Measured"), now=NOW, stale_s=10)
    assert (told.replicas, "utilisation 1.00 of 2 ready replicas" in told.message) == (3, True)


def test_without_helpers_and_without_signals_nothing_changes() -> None:
    raw = seen(0.8, 0.3)
    alone = helped(raw, groups=(group(ONE, replicas=1),))
    assert levelled(alone) is raw
    assert levelled(helped(None)) is None


def test_where_nobody_of_the_own_kind_was_seen_helpers_say_nothing_of_it() -> None:
    raw = seen(0.8, 0.3)
    blind = replace(raw, replicas=raw.replicas[1:])
    assert observed(levelled(helped(blind))) is None

"""A pod that counts what no pod can do counts as missing; a capacity that was seen in a bad hour does not hide all."""

from __future__ import annotations

import pytest

from yolofleet.planning.scaling.believed import ABSURD, believed
from yolofleet.planning.scaling.capacity import Capacity
from yolofleet.planning.scaling.signals import ReplicaSignals, Signals, together

MEASURED, OBSERVED = Capacity(100.0, "Measured"), Capacity(100.0, "Observed")


def seen(*fps: float) -> Signals:
    pods = [ReplicaSignals(f"p{n}", "gpu", rate, rate, 0.0, frames=rate * 6) for n, rate in enumerate(fps)]
    return together(pods, missing=(), unbroken_s=60.0)


@pytest.mark.parametrize("capacity", [MEASURED, OBSERVED])
def test_one_pod_among_others_is_not_believed(capacity: Capacity) -> None:
    told = believed(seen(50, 60, 9000), capacity)
    assert told is not None
    assert told.served_fps == 110
    assert told.missing == ("pod p2: it counts 9000 answers a second, more than 1000 is not believed",)
    assert told.unbroken_s == 0.0, "nothing goes down on it"


def test_where_all_count_so_an_observed_capacity_is_wrong_and_a_measured_one_is_not() -> None:
    wild = seen(1500, 1600)
    assert believed(wild, OBSERVED) is wild
    told = believed(wild, MEASURED)
    assert told is not None
    assert len(told.missing) == 2


def test_the_bound_itself_is_believed() -> None:
    told = seen(ABSURD * 100)
    assert believed(told, MEASURED) is told
    assert believed(told, None) is told
    assert believed(None, MEASURED) is None

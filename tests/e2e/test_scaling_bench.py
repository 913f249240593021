"""The simulator: its optimum is one, its replicas cost and queue as told, and the known policies follow their rules."""

from __future__ import annotations

import numpy as np
import pytest

from e2e.bench.scaling.plant import Faults, Meter, optimum, optimum_by_states, simulate
from e2e.bench.scaling.policies import Hpa, Kpa, Ours
from yolofleet.planning.scaling.forecast import Prices


def frames(*replicas: float) -> np.ndarray:
    return (np.array(replicas) * 100).astype(np.int64)


@pytest.mark.parametrize("seed", range(12))
def test_the_optimum_is_that_of_dynamic_programming(seed) -> None:
    rng = np.random.default_rng(seed)
    day = frames(*rng.integers(0, 4, size=14))
    start_s = int(rng.integers(1, 5))
    assert optimum(day, start_s) == optimum_by_states(day, start_s)


class Fixed:
    every_s = 1

    def __init__(self, *counts: int) -> None:
        self.counts = counts

    def decide(self, meter: Meter) -> int | None:
        return self.counts[min(meter.now, len(self.counts) - 1)]

    def restart(self) -> None: ...


def test_a_slice_costs_from_its_start_and_serves_after_it() -> None:
    told = simulate(frames(*[1] * 5, *[2] * 10), Fixed(*[1] * 5, 2), starts_s=[3] * 15)
    assert told.over_at == (5, 6, 7, 8, 9, 10), "three seconds of start, and three until what waited is gone"
    assert (told.replica_s, told.changes) == (5 + 20, 2), "the second that its first minute would need goes at once"


def test_what_is_older_than_a_second_is_dropped() -> None:
    told = simulate(frames(1, 1, 5), Fixed(1), starts_s=[3] * 3)
    assert told.dropped == 500 - 115 - 115


def test_a_dead_replica_starts_again_and_silence_asks_nobody() -> None:
    told = simulate(frames(*[2] * 20), Fixed(2), starts_s=[4] * 20, faults=Faults(deaths=((5, 1),)))
    assert told.over_s >= 4
    asked = simulate(
        frames(*[1] * 9), Fixed(*range(1, 9)), starts_s=[1] * 9, faults=Faults(silent=((0, 9),)), trace=True
    )
    assert set(asked.counts) == {1}


def metered(fps: int, *, ready: int, starting: int = 0, now: int = 60) -> Meter:
    return Meter([fps * second for second in range(now + 1)], now=now, ready=ready, starting=starting)


@pytest.mark.parametrize(
    ("fps", "ready", "starting", "wanted"),
    [
        (700, 10, 0, 10),
        (760, 10, 0, 10),
        (840, 10, 0, 12),
        (5000, 10, 0, 20),
        (210, 1, 2, 3),
        (350, 10, 0, 10),
    ],
)
def test_the_hpa_follows_its_tolerance_its_speed_and_its_window(fps, ready, starting, wanted) -> None:
    policy = Hpa()
    policy.decide(metered(700, ready=10, now=45))
    assert policy.decide(metered(fps, ready=ready, starting=starting)) == wanted


def test_the_kpa_panics_at_twice_its_target_and_does_not_go_down_meanwhile() -> None:
    policy = Kpa()
    sums = [0]
    for second in range(200):
        sums.append(sums[-1] + (1400 if 100 <= second < 110 else 280))
    assert policy.decide(Meter(sums, now=100, ready=4)) == 4
    assert policy.decide(Meter(sums, now=106, ready=4)) == 20
    assert policy.decide(Meter(sums, now=130, ready=20)) == 20
    assert policy.decide(Meter(sums, now=190, ready=20)) == 10


def test_ours_is_the_same_for_the_same_day_and_lives_through_a_restart() -> None:
    day = np.random.default_rng(1).poisson(900, 600).astype(np.int64)
    one, other = (simulate(day, Ours(Prices(40.0)), starts_s=[20] * 600, trace=True) for _ in range(2))
    assert one == other
    faults = Faults(restarts=frozenset({300}), silent=((400, 430),))
    told = simulate(day, Ours(Prices(40.0)), starts_s=[20] * 600, faults=faults, trace=True)
    assert min(told.counts[300:320]) >= told.counts[299]
    assert len(set(told.counts[401:430])) == 1

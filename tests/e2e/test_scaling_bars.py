"""The bars of scaling tell what holds from rows alone, and a trace on the bench is held against its simulation."""

from __future__ import annotations

import itertools
import math

import pytest

from e2e import pacing
from e2e.bench.scaling.bars import bars
from e2e.bench.scaling.flashes import Flash, bound
from e2e.bench.scaling.rows import Row, mean_of
from e2e.bench.scaling.settings import KPA_DEFAULT, PRICE_S, Setting, hpa, kpa, ours
from e2e.bench.scaling.traces import TUNED_ON
from e2e.pacing import Sight


def rows(setting: Setting, over_pct: float, slice_hours: float, start_s: int = 20) -> list[Row]:
    return [Row(name, 1, *setting.key, start_s, over_pct, slice_hours, 100.0, 10.0) for name in TUNED_ON]


def judged(told, tuned=(), flashes=()) -> dict[str, bool]:
    return {bar.name.partition(" (")[0]: bar.holds for bar in bars(told, tuned, flashes)}


def test_bars_are_told_of_what_was_run_and_of_nothing_else() -> None:
    mine = rows(ours(PRICE_S), 0.3, 114.0)
    assert judged(mine) == {
        "all eight: % of seconds over": True,
        "all eight: slice-hours ÷ optimum": True,
        "the forecastable five: % of seconds over": False,
        "the forecastable five: slice-hours ÷ optimum": False,
    }
    assert judged([]) == {}


def test_others_are_compared_at_no_more_slice_hours_than_theirs() -> None:
    mine = [*rows(ours(PRICE_S), 0.3, 114.0), *rows(ours(200), 0.1, 130.0)]
    cheap, dear = hpa(0.9, 30, 5), kpa(0.8, 15, 3, 1.1, 60)
    others = [*rows(KPA_DEFAULT, 0.5, 131.0), *rows(cheap, 0.6, 120.0), *rows(dear, 0.1, 113.0)]
    told = judged([*mine, *others], [cheap, dear])
    assert (told["default KPA"], told["tuned HPA"], told["tuned KPA"]) == (True, False, False)


@pytest.mark.parametrize(
    ("rise_s", "over_s", "holds"), [(1, 24, True), (1, 25, False), (60, 42, True), (180, 43, False)]
)
def test_a_flash_is_judged_by_its_bound(rise_s, over_s, holds) -> None:
    (bar,) = bars([], [], [Flash(rise_s, over_s, over_s, 21.0)])
    assert bar.holds == holds
    assert list(bars([], [], [Flash(300, 500, 500, 21.0)])) == []


def test_the_bound_is_a_start_less_what_stood_ready() -> None:
    assert bound(1, 30, 20) == 21
    assert bound(180, 9, 20) == pytest.approx(21 - 180 * 4.5 / 40.5)


def test_a_mean_wants_all_of_its_traces() -> None:
    told = rows(ours(PRICE_S), 0.3, 114.0)
    assert mean_of(told, TUNED_ON).ratio == pytest.approx(1.14)
    assert mean_of(told[1:], TUNED_ON) is None


def sights(*counts: int) -> list[Sight]:
    return [Sight(float(second), count, count, "") for second, count in enumerate(counts)]


def test_a_count_may_be_one_off_and_some_seconds_late_and_no_more() -> None:
    simulated = [2] * 20 + [8] * 40
    assert pacing.apart(sights(*[2] * 24, *[9] * 36), 0.0, simulated, 0) == []
    assert {second for second, _, _ in pacing.apart(sights(*[2] * 30, *[8] * 30), 0.0, simulated, 0)} == {
        26,
        27,
        28,
        29,
    }
    assert pacing.apart(sights(*[9] * 10), 0.0, simulated, 5)[0] == (5, 9, 2)


def test_turns_are_counted_and_steps_in_one_direction_are_none() -> None:
    assert pacing.turns(sights(2, 4, 9, 9, 5, 2)) == 1
    assert pacing.turns(sights(2, 4, 2, 4, 2)) == 3


def test_the_simulation_of_a_trace_knows_the_bounds() -> None:
    frames = pacing.steps((10, 60), (60, 40), (10, 60))
    free = pacing.simulated(frames, 5.0, pacing.Bounds(least=1, most=99, warm=1))
    assert free[0] == math.ceil(10 / (pacing.REPLICA_FPS * pacing.TARGET_PERCENT / 100)) + 1
    assert max(free) > 9
    counts = pacing.simulated(frames, 5.0, pacing.Bounds(least=4, most=9, warm=1))
    assert (min(counts), max(counts)) == (4, 9)
    assert len(list(itertools.groupby(counts))) < 20

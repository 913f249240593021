"""Traces: the committed ones are what their seed makes, days share what repeats, shapes are what their names say."""

from __future__ import annotations

import numpy as np
import pytest

from e2e.bench.scaling import traces


@pytest.mark.parametrize("name", traces.SHAPES)
def test_a_committed_trace_is_what_its_seed_makes(name) -> None:
    told = traces.make(name, traces.SEED, history_days=0)
    assert np.array_equal(traces.read(name), told.frames)
    assert traces.file_of(name).read_bytes() == traces.written(told)


def test_all_committed_traces_together_are_small() -> None:
    assert sum(traces.file_of(name).stat().st_size for name in traces.SHAPES) < 2_000_000


def test_days_differ_but_for_what_a_fleet_does_each_day() -> None:
    first, second = (traces.day("on-off", 1, number).astype(float) for number in (0, 1))
    assert not np.array_equal(first, second)
    assert np.corrcoef(first, second)[0, 1] > 0.99, "cameras come and go at the same hours"
    burst, other = (traces.day("bursts", 1, number).astype(float) for number in (0, 1))
    assert abs(np.corrcoef(burst, other)[0, 1]) < 0.2, "bursts keep no hours"


def test_a_flash_is_tenfold_and_a_sawtooth_falls_each_300_seconds() -> None:
    frames = traces.day("flash", 1, 0)
    assert frames.max() / np.median(frames) == pytest.approx(10, rel=0.25)
    falls = np.flatnonzero(np.diff(traces.day("sawtooth", 1, 0)) < -1500)
    assert set(np.diff(falls).tolist()) == {300}


def test_held_out_shapes_are_not_among_those_that_are_tuned_on() -> None:
    assert not set(traces.HELD_OUT) & set(traces.TUNED_ON)
    assert (len(traces.TUNED_ON), len(traces.FORECASTABLE), len(traces.HELD_OUT)) == (8, 5, 2)

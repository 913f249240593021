"""The forecast: what rises, what repeats, what a headroom is worth; bounded, pure, and never down for lack of data."""

from __future__ import annotations

import pickle
from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.scaling.test_replicas import CARRIES, decided, later, seen, world, written
from tests.planning.worlds import NOW, group, pod
from yolofleet.planning.scaling import arrivals, daily, forecast, headroom
from yolofleet.planning.scaling.forecast import Prices, Slice
from yolofleet.planning.scaling.priced import NAMES
from yolofleet.planning.scaling.signals import ReplicaSignals, Signals, together
from yolofleet.planning.scaling.starting import UNLEARNT_START_S, Start, start_of
from yolofleet.planning.slices.profiles import slug

PRICES = Prices(40.0)
PRICED = {"scaling": {"overloadCostSeconds": 40, "targetUtilizationPercent": 100, "maxReplicas": 100}}


def heard(rates, *, period_s: float = 2.0):
    known = arrivals.first(0.0, rates[0])
    for step, fps in enumerate(rates[1:], 1):
        known = arrivals.after(known, step * period_s, fps)
    return known


def test_a_steady_rise_is_seen_and_goes_on_in_a_straight_line() -> None:
    rising = heard([1000.0] * 30 + [1000.0 + 100 * step for step in range(1, 9)])
    assert rising.fps + arrivals.rise(rising, 20.0) == pytest.approx(1800 + 50 * 20, rel=0.1)


def test_a_step_is_no_rise_once_it_stands_and_the_level_is_there_at_once() -> None:
    stepped = heard([1000.0] * 30 + [3000.0] * 6)
    assert stepped.fps == pytest.approx(3000)
    assert arrivals.rise(stepped, 20.0) == 0.0


def test_a_steady_rise_keeps_what_was_foretold_though_single_looks_bend() -> None:
    rise, most = None, 0.0
    for step in range(30):
        bends = step in (12, 15)
        rise = arrivals.going_on(rise, 2.0 * step, 1000.0 + (0 if bends else 100.0 * step), rises=not bends)
        assert rise.foretold_fps >= most
        most = rise.foretold_fps
    assert most == 1000.0 + 2900.0
    assert arrivals.going_on(rise, 60.0, 500.0, rises=False).foretold_fps == most
    assert arrivals.going_on(rise, 64.0, 500.0, rises=False) is None


def test_the_first_looks_of_a_rise_leave_nothing_behind_as_it_may_be_a_step() -> None:
    rise = None
    for step, foretold in enumerate((9000.0, 9000.0, 3000.0, 3000.0)):
        rise = arrivals.going_on(rise, 2.0 * step, foretold, rises=True)
    assert rise.foretold_fps == 0.0


def test_chance_is_no_rise() -> None:
    rng = np.random.default_rng(1)
    known, rises = arrivals.first(0.0, 1500.0), 0
    for step, frames in enumerate(rng.poisson(3000, 3000), 1):
        known = arrivals.after(known, 2.0 * step, frames / 2)
        rises += arrivals.rise(known, 20.0) > 0
    assert rises <= 3


def test_what_usually_arrives_is_the_median_of_three_days_around_midnight_too() -> None:
    profile = daily.Profile()
    for day, fps in enumerate((100.0, 900.0, 300.0)):
        for minute in range(0, 1440, 5):
            late = minute >= 1430 or minute < 10
            profile = daily.noted(profile, day * 86_400 + minute * 60, fps if late else 10.0)
    profile = daily.noted(profile, 3 * 86_400.0, 1.0)
    assert daily.expected(profile, 3 * 86_400.0 + 60, ahead_s=30) == 300
    assert daily.expected(profile, 3 * 86_400.0 + 7200, ahead_s=30) == 10
    assert daily.expected(profile, 4 * 86_400.0 - 1000, ahead_s=300, within_s=200) == 300


CARRIES_100 = Slice(100.0, 1.0, 20.0)


def shaped(rates, *, worth=CARRIES_100, prices=PRICES, known=None, start=0.0):
    known, counts = known or forecast.begun(start, rates[0]), []
    for step, fps in enumerate(rates[1:], 1):
        at = start + 2.0 * step
        known = forecast.after(known, at, fps, clock_s=at, worth=worth, prices=prices)
        counts.append(forecast.wanted(known, worth=worth, standing=counts[-1] if counts else 0).replicas)
    return known, counts


def test_a_dear_overload_buys_more_headroom_and_chance_decides_how_much() -> None:
    rng = np.random.default_rng(3)
    wild = 1500 + 300 * rng.normal(size=3000)
    means = {price: np.mean(shaped(wild.tolist(), prices=Prices(price))[1][1500:]) for price in (2.0, 200.0)}
    assert means[200.0] > means[2.0] + 1
    steady = shaped((1500 + rng.normal(size=3000)).tolist())[1][1500:]
    assert np.mean(steady) < means[200.0]


def test_a_window_keeps_what_stands_and_noise_about_its_edge_moves_nothing() -> None:
    rng = np.random.default_rng(11)
    worth = Slice(10.0, 0.7, 9.0)
    rates = np.concatenate([rng.normal(fps, 0.15, looks) for fps, looks in ((10.0, 50), (18.0, 30), (10.0, 60))])
    _, counts = shaped(rates.tolist(), worth=worth)
    ways = np.sign([move for move in np.diff(counts[10:]) if move])
    assert ways.tolist() == sorted(ways, reverse=True), f"up, and then down: {counts}"
    assert len(ways) >= 2, counts


def test_same_looks_same_forecast_and_an_old_look_changes_nothing() -> None:
    rates = np.random.default_rng(5).poisson(900, 200).astype(float).tolist()
    (one, counts), (_, others) = shaped(rates), shaped(rates)
    assert counts == others
    assert forecast.after(one, one.at, 5.0, clock_s=one.at, worth=Slice(100.0), prices=PRICES) is one


@settings(max_examples=20)
@given(st.lists(st.floats(0, 1e6), min_size=2, max_size=400))
def test_memory_is_bounded_and_counts_are_whole_numbers_for_any_arrivals(rates) -> None:
    known, counts = shaped(rates)
    assert all(isinstance(count, int) and count >= 0 for count in counts)
    assert len(pickle.dumps(known)) < 40_000
    assert all(len(told) <= 152 for told in known.peaks)


def test_every_choice_has_a_name_of_its_own_that_fits_the_status() -> None:
    assert len(NAMES) == len(headroom.CHOICES)
    assert max(map(len, NAMES)) <= 64


# In the operator's decision


def looked(at_s: float, *fps: float, unbroken_s: float = 1000.0) -> Signals:
    told = seen(*fps, unbroken_s=unbroken_s)
    replicas = [replace(r, recent_fps=r.arrival_fps) for r in told.replicas]
    return together(replicas, missing=(), unbroken_s=unbroken_s, looked_at=at_s)


def follow(view, rates, *, start=0):
    """Let looks come every two seconds, spread over the ready replicas; return the view and the decisions."""
    made = []
    for step, total in enumerate(rates, start):
        ready = max(1, sum(p.ready for p in view.pods))
        view = replace(view, signals=looked(2.0 * step, *[total / ready] * ready))
        made.append(decided(view, at=NOW + timedelta(seconds=2 * step)))
        view = later(view, made[-1])
    return view, made


def test_the_operator_decides_what_the_simulator_runs() -> None:
    rates = np.random.default_rng(2).poisson(1200, 300).astype(float).tolist()
    rates = [fps * (2 if 100 < step < 180 else 1) for step, fps in enumerate(rates)]
    _, made = follow(world(PRICED, replicas=20), rates)
    worth = Slice(CARRIES.fps, 1.0, 30.0)
    known, counts = forecast.begun(0.0, rates[0]), []
    for step, fps in enumerate(rates):
        if step:
            clock_s = NOW.timestamp() + 2 * step
            known = forecast.after(known, 2.0 * step, fps, clock_s=clock_s, worth=worth, prices=PRICES)
        counts.append(forecast.wanted(known, worth=worth, standing=counts[-1].replicas if counts else 20))
    assert all(told.replicas == max(1, count.replicas) for told, count in list(zip(made, counts, strict=True))[60:])


def test_a_decision_with_a_price_carries_its_arithmetic() -> None:
    view, made = follow(world(PRICED), [702.0] * 60)
    assert "demand 702 fps observed + headroom 140 ÷ (100 fps/replica measured × 1.00) → 9" in made[0].message
    assert made[-1].replicas >= 8
    assert written(view, made[-1]).scaling.headroom == made[-1].memory.forecast.choice.words


def test_the_target_is_honoured_below_the_headroom() -> None:
    half = {"scaling": PRICED["scaling"] | {"targetUtilizationPercent": 50}}
    assert follow(world(half), [700.0] * 30)[1][-1].replicas >= 14


FAULTS = {
    "no pod answers": lambda at, n: together(
        [ReplicaSignals(f"p{i}", "gpu", age_s=12, missing=f"pod p{i}: no answer") for i in range(n)],
        missing=("pod p0: no answer",),
        unbroken_s=0.0,
        looked_at=at,
    ),
    "nobody was asked": lambda _at, _n: None,
    "one pod's counters began anew": lambda at, n: together(
        [
            ReplicaSignals("p0", "gpu", missing="pod p0: its counters began anew"),
            *looked(at, *[80.0] * n).replicas[1:],
        ],
        missing=("pod p0: its counters began anew",),
        unbroken_s=0.0,
        looked_at=at,
    ),
    "all pages stand still": lambda at, n: looked(at, *[0.0] * n),
    "one pod counts a hundredfold": lambda at, n: looked(at, *[8000.0], *[80.0] * (n - 1)),
    "a rate is no number": lambda at, n: together(
        [replace(r, recent_fps=float("nan")) for r in looked(at, *[80.0] * n).replicas],
        missing=(),
        unbroken_s=1000.0,
        looked_at=at,
    ),
    "the same look again and again": lambda _at, n: looked(300.0, *[80.0] * n),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_lost_or_wrong_signal_lowers_nothing_and_two_decisions_later_all_is_right(fault) -> None:
    steady = [800.0] * 200
    view, made = follow(world(PRICED, replicas=9), steady)
    stood = made[-1].replicas
    for step in range(200, 230):
        broken = FAULTS[fault](2.0 * step, stood)
        told = decided(replace(view, signals=broken), at=NOW + timedelta(seconds=2 * step))
        assert told.replicas == stood, told.message
        view = later(view, told, signals=broken)
    _, after = follow(view, [1600.0] * 2, start=230)
    assert 16 <= after[1].replicas <= 26, "as many as the double needs"
    _, same = follow(view, [800.0] * 2, start=230)
    assert same[1].replicas == stood


def test_learning_goes_on_while_a_replica_starts_and_stands_still_when_one_was_lost() -> None:
    view, _ = follow(world(PRICED, replicas=9), [800.0] * 200)
    signals = looked(400.0, *[80.0] * view.groups[0].replicas)
    for unborn, until in ((True, 400.0), (False, 398.0)):
        more = (*view.pods, pod("late", ready=False, unborn=unborn))
        told = decided(replace(view, pods=more, signals=signals), at=NOW + timedelta(seconds=400))
        assert told.memory.forecast.at == until
    assert told.replicas == view.groups[0].replicas


def test_where_one_pod_is_missing_the_others_may_still_raise() -> None:
    view, made = follow(world(PRICED, replicas=9), [800.0] * 200)
    lost = FAULTS["one pod's counters began anew"](400.0, made[-1].replicas)
    more = tuple(r if r.missing else replace(r, arrival_fps=300.0) for r in lost.replicas)
    told = decided(replace(view, signals=together(more, missing=lost.missing, unbroken_s=0.0, looked_at=400.0)))
    assert told.replicas > 20
    assert "seen so far" in told.message


@settings(max_examples=25, deadline=None)
@given(levels=st.lists(st.integers(1, 30), min_size=2, max_size=6), at=st.integers(0, 10_000))
def test_a_restart_in_mid_flash_lowers_nothing_until_its_window_was_seen(levels, at) -> None:
    rates = [100.0 * level for level in levels for _ in range(15)]
    at %= len(rates)
    view, _ = follow(world(PRICED), rates[: at + 1])
    stood = view.groups[0].replicas
    view = replace(view, memory=None)
    _, made = follow(view, [*rates[at + 1 :], *[100.0] * 20], start=at + 1)
    window = min(choice.window_s for choice in headroom.CHOICES)
    assert all(told.replicas >= stood for told in made[: int(window // 2)])


def test_a_restart_goes_on_with_the_headroom_that_was_learnt() -> None:
    rng = np.random.default_rng(7)
    view, made = follow(world(PRICED), (1500 + 300 * rng.normal(size=900)).tolist())
    learnt = made[-1].memory.forecast.shadows.chosen
    assert learnt != headroom.UNLEARNT
    _, again = follow(replace(view, memory=None), [1500.0] * 2, start=900)
    assert again[-1].memory.forecast.shadows.chosen == learnt


def test_a_start_time_is_that_of_the_pods_that_serve() -> None:
    view = replace(world(PRICED), pods=tuple(replace(pod(f"p{n}"), start_s=s) for n, s in enumerate((9.0, 60.0, 70.0))))
    view = replace(view, groups=(group(replicas=3, ready=3),))
    ramp = [1000.0 + 100 * max(0, step - 40) for step in range(50)]
    slow = follow(view, ramp)[1]
    assert slow[-1].replicas >= 19
    assert "start time learnt 60.0 s from 3 starts of gpu" in slow[0].message
    assert "start time" not in follow(world(PRICED), ramp)[1][-1].message, "nothing was learnt yet"


def test_a_start_time_is_learnt_by_profile() -> None:
    """Of two profiles, during a move, that one counts which most serve on: another slice starts in another time."""
    served = [pod(f"p{n}", profile=slug("1g.18gb"), start_s=7.0 + n / 10) for n in range(5)]
    served += [pod("q", profile="gpu", start_s=90.0), pod("odd", start_s=-3.0), pod("new", start_s=None)]
    view = replace(world(PRICED), pods=tuple(served), groups=(group("1g.18gb"), group("gpu")))
    assert start_of(view) == Start(7.2, 5, "1g.18gb")
    assert start_of(view).words == "start time learnt 7.2 s from 5 starts of 1g.18gb"
    assert Start(4.0, 1, "gpu").words == "start time learnt 4.0 s from 1 start of gpu"
    assert start_of(world(PRICED)) == Start(UNLEARNT_START_S)

"""When a key has its turn again: the earliest reason wins, failures back off, refusals are tried at leisure."""

from __future__ import annotations

import asyncio

import pytest

from tests.raw_objects import SETTINGS
from yolofleet.errors import ApiServerError
from yolofleet.handlers.fleet import LONGEST_RETRY_S, REFUSED_RETRY_S, RETRY_S, Fleet
from yolofleet.handlers.health import Health
from yolofleet.handlers.metrics import Metrics
from yolofleet.observe.cache import Key

GATE, ENGINE = Key("YoloDeployment", "cams", "gate"), Key("YoloEngine", "cams", "e-1")
NO = ApiServerError(status=403, reason="Forbidden", message="exceeded quota")


@pytest.fixture
def fleet(kube) -> Fleet:
    return Fleet(SETTINGS, kube, metrics=Metrics(), health=Health())


def delay(fleet: Fleet, key: Key) -> float:
    return fleet._timers[key].when() - asyncio.get_running_loop().time()


async def test_a_timer_brings_the_turn_once(fleet) -> None:
    fleet._wake(GATE, 0.01)
    await asyncio.wait_for(fleet.cache.dirty.wait(), 1)
    assert fleet.cache.dirty.take(9) == {GATE}
    assert fleet._timers == {}


@pytest.mark.parametrize("delays", [(5, 60), (60, 5)])
async def test_the_earlier_of_two_timers_wins(fleet, delays) -> None:
    for delay_s in delays:
        fleet._wake(GATE, delay_s)
    assert delay(fleet, GATE) == pytest.approx(5, abs=0.5)


async def test_failures_back_off_to_a_minute_and_begin_anew_when_all_is_well(fleet) -> None:
    delays = []
    for _ in range(9):
        fleet._failed(GATE)
        delays.append(round(delay(fleet, GATE)))
        fleet._timers.pop(GATE).cancel()
    assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    fleet._well(GATE)
    fleet._failed(GATE)
    assert delay(fleet, GATE) == pytest.approx(RETRY_S, abs=0.5)


async def test_what_could_not_be_written_is_tried_at_once_when_the_api_server_is_back(fleet) -> None:
    for _ in range(6):
        fleet._failed(GATE)
    fleet.back()
    assert fleet.cache.dirty.take(9) == {GATE}
    fleet._timers.pop(GATE).cancel()
    fleet._failed(GATE)
    assert delay(fleet, GATE) == pytest.approx(RETRY_S, abs=0.5)
    fleet._well(GATE)
    fleet.back()
    assert len(fleet.cache.dirty) == 0, "who is well has no turn"


async def test_many_failures_do_not_overflow(fleet) -> None:
    fleet._failures[GATE] = 5000
    fleet._failed(GATE)
    assert delay(fleet, GATE) <= LONGEST_RETRY_S


async def test_a_refusal_is_told_at_once_and_tried_at_leisure(fleet) -> None:
    fleet._refused(GATE, [NO])
    assert fleet.cache.dirty.take(9) == {GATE}
    assert delay(fleet, GATE) == pytest.approx(REFUSED_RETRY_S, abs=0.5)
    fleet._refused(GATE, [NO])
    assert len(fleet.cache.dirty) == 0, "the same refusal is no news"


async def test_a_refusal_that_is_over_brings_the_turn(fleet) -> None:
    fleet._refused(GATE, [NO])
    fleet.cache.dirty.take(9)
    fleet._well(GATE)
    assert fleet.cache.dirty.take(9) == {GATE}
    fleet._well(GATE)
    assert len(fleet.cache.dirty) == 0


async def test_a_refused_build_stands_until_its_timer(fleet) -> None:
    fleet._refused(ENGINE, [NO])
    fleet._well(ENGINE)
    assert fleet._observer._refusals.keys() == {ENGINE}
    fleet._awake(ENGINE)
    assert fleet._observer._refusals == {}
    assert ENGINE in fleet.cache.dirty.take(9)

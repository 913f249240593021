"""Schedules: cron in its own time zone, early by a start, and what cannot be read counts as none, in words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from tests.planning.scaling.test_replicas import decided, later, seen, world
from yolofleet.api.scaling import Schedule
from yolofleet.planning.scaling.schedules import floor, parsed


def at(told: str) -> datetime:
    return datetime.fromisoformat(told).replace(tzinfo=UTC)


def schedule(cron: str, *, minutes: int = 60, replicas: int = 5, zone: str = "Etc/UTC", name: str = "day") -> Schedule:
    told = {"name": name, "cron": cron, "durationMinutes": minutes, "minReplicas": replicas, "timeZone": zone}
    return Schedule.model_validate(told)


@pytest.mark.parametrize(
    ("cron", "moment", "active"),
    [
        ("0 8 * * *", "2026-03-02T08:00", True),
        ("0 8 * * *", "2026-03-02T08:59:59", True),
        ("0 8 * * *", "2026-03-02T09:00", False),
        ("0 8 * * *", "2026-03-02T07:59", False),
        ("*/30 8-17 * * MON-FRI", "2026-03-02T18:20", True),
        ("*/30 8-17 * * MON-FRI", "2026-03-01T12:00", False),
        ("0 0 1 JAN,jul *", "2026-07-01T00:30", True),
        ("0 0 1 * 1", "2026-03-02T00:30", True),
        ("0 0 1 * 1", "2026-03-03T00:30", False),
        ("0 0 * * 7", "2026-03-01T00:10", True),
        ("15 10/4 * * *", "2026-03-02T18:20", True),
        ("30 23 * * 0", "2026-03-02T00:20", True),
    ],
)
def test_a_schedule_lasts_from_its_cron_for_its_duration(cron, moment, active) -> None:
    assert (floor([schedule(cron)], at(moment), lead_s=0).replicas == 5) is active


def test_a_time_zone_is_kept_through_summer_time() -> None:
    told = [schedule("0 8 * * *", zone="Europe/Berlin")]
    assert floor(told, at("2026-03-28T07:00"), lead_s=0).replicas == 5, "winter: UTC+1"
    assert floor(told, at("2026-03-29T06:00"), lead_s=0).replicas == 5, "the day it changes: UTC+2"
    assert floor(told, at("2026-03-29T05:59"), lead_s=0).replicas == 0


def test_it_begins_early_by_what_a_replica_takes_to_start_and_the_largest_counts() -> None:
    both = [schedule("0 8 * * *"), schedule("0 8 * * *", replicas=7, name="rush")]
    told = floor(both, at("2026-03-02T07:59:30"), lead_s=40)
    assert (told.replicas, told.name) == (7, "rush")
    assert floor(both, at("2026-03-02T07:59:30"), lead_s=20).replicas == 0


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("60 8 * * *", "cron field minute is '60'; give 0-59"),
        ("0 8 * FOO *", "cron field month is 'FOO'"),
        ("0 9-8 * * *", "cron field hour is '9-8'"),
        ("*/0 8 * * *", "cron field minute is '*/0'"),
    ],
)
def test_what_cannot_be_read_counts_as_none_and_is_named(cron, words) -> None:
    told = floor([schedule(cron), schedule("0 8 * * *", name="good")], at("2026-03-02T08:00"), lead_s=0)
    assert words in told.wrong
    assert told.wrong.startswith("scaling.schedules day:")
    assert told.name == "good"
    with pytest.raises(ValueError, match="cron field"):
        parsed(cron)


def test_an_unknown_time_zone_is_named() -> None:
    told = floor([schedule("0 8 * * *", zone="Mars/Olympus")], at("2026-03-02T08:00"), lead_s=0)
    assert "timeZone 'Mars/Olympus' is not known" in told.wrong


def test_a_decision_follows_the_schedule_and_says_so() -> None:
    told = {"name": "day", "cron": "0 13 * * *", "durationMinutes": 60, "minReplicas": 4}
    view = world({"scaling": {"schedules": [told], "scaleDown": {"stabilizationWindowSeconds": 60}}}, signals=seen(10))
    noon = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)
    counts = {}
    for minute in range(125):
        view = later(view, made := decided(view, at=noon + timedelta(minutes=minute)))
        view = later(view, made, signals=seen(*[10.0 / made.replicas] * made.replicas))
        counts[minute] = made
    assert [counts[minute].replicas for minute in (0, 59, 60, 119, 123)] == [1, 1, 4, 4, 1]
    assert "scaling.schedules day 4 → 4" in counts[61].message

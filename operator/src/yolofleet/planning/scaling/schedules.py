"""Floors of replicas that come and go by the clock: cron says when one begins, in its own time zone.

A schedule begins early by what a replica takes to start, so that those replicas serve when it says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from yolofleet.api.scaling import Schedule

MONTHS = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
WEEKDAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 7, WEEKDAYS),
)


@dataclass(frozen=True)
class Cron:
    """The values that each field lets in; a day counts by month day or week day where both are restricted."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    either: bool

    def falls_on(self, day: date) -> bool:
        """Tell whether it begins on a day."""
        if day.month not in self.months:
            return False
        by_date, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_date or by_weekday if self.either else by_date and by_weekday


@dataclass(frozen=True)
class Floor:
    """The most that the schedules of a moment ask for, whose word that is, and what is wrong with others."""

    replicas: int = 0
    name: str = ""
    wrong: str = ""


def parsed(told: str) -> Cron:
    """Read five fields; ValueError says which one is wrong, and what it may be."""
    fields = told.split()
    if len(fields) != len(FIELDS):
        raise ValueError(f"cron '{told}' has {len(fields)} fields; give five: minute hour day month weekday")
    minutes, hours, days, months, weekdays = (
        frozenset(_values(text, *bounds)) for text, bounds in zip(fields, FIELDS, strict=True)
    )
    restricted = not (fields[2].startswith("*") or fields[4].startswith("*"))
    whole_week = frozenset(value % 7 for value in weekdays)
    return Cron(tuple(sorted(minutes)), tuple(sorted(hours)), days, months, whole_week, restricted)


def _values(text: str, name: str, low: int, high: int, names: tuple[str, ...]) -> Iterable[int]:
    for part in text.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        try:
            start = low if first == "*" else _number(first, low, names)
            end = _number(last, low, names) if last else high if first == "*" or step else start
            by = int(step) if step else 1
        except ValueError:
            start, end, by = 0, -1, 0
        if not (low <= start <= end <= high and by >= 1):
            raise ValueError(f"cron field {name} is '{text}'; give {low}-{high}, lists, ranges or steps of them")
        yield from range(start, end + 1, by)


def _number(text: str, low: int, names: tuple[str, ...]) -> int:
    return names.index(text.upper()) + low if text.upper() in names else int(text)


def floor(schedules: Iterable[Schedule], now: datetime, *, lead_s: float) -> Floor:
    """Return the largest floor of those that last, or are about to begin; one that cannot be read counts as none."""
    best, wrong = Floor(), ""
    for schedule in schedules:
        try:
            active = _lasts(schedule.cron, schedule.time_zone, schedule.duration_minutes, now, lead_s)
        except (ValueError, OSError) as error:  # zoneinfo's KeyError is one of ours, below
            wrong = f"scaling.schedules {schedule.name}: {error}"
            continue
        if active and schedule.min_replicas > best.replicas:
            best = Floor(schedule.min_replicas, schedule.name)
    return Floor(best.replicas, best.name, wrong)


def _lasts(cron: str, time_zone: str, minutes: int, now: datetime, lead_s: float) -> bool:
    """Tell whether a beginning lies in the last minutes, or in the lead time to come."""
    told, zone = _read(cron, time_zone)
    until = now + timedelta(seconds=lead_s)
    since = now - timedelta(minutes=minutes)
    day, last = since.astimezone(zone).date(), until.astimezone(zone).date()
    while day <= last:
        if told.falls_on(day):
            starts = (
                datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)
                for hour in told.hours
                for minute in told.minutes
            )
            if any(since < start <= until for start in starts):
                return True
        day += timedelta(days=1)
    return False


@lru_cache(maxsize=1024)
def _read(cron: str, time_zone: str) -> tuple[Cron, ZoneInfo]:
    try:
        return parsed(cron), ZoneInfo(time_zone)
    except KeyError:
        raise ValueError(f"timeZone '{time_zone}' is not known; give a name such as Europe/Berlin") from None

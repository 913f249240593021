"""What days have in common: the most that arrived in each five minutes, as the median of the last three days."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import median

DAY_S = 86_400
BIN_S = 300
BINS = DAY_S // BIN_S
DAYS = 3
Day = tuple[float, ...]
NOTHING: Day = (0.0,) * BINS


@dataclass(frozen=True, slots=True)
class Profile:
    """The days before, today so far, and what they have in common; `date` counts days, `usual` is empty before one."""

    date: int = 0
    days: tuple[Day, ...] = ()
    today: Day = NOTHING
    usual: Day = ()


def noted(profile: Profile, clock_s: float, fps: float) -> Profile:
    """Take what arrived at a time, in seconds of UTC; at midnight the day is laid by."""
    date, place = int(clock_s // DAY_S), int(clock_s % DAY_S) // BIN_S
    if date != profile.date:
        days = (*profile.days, profile.today)[-DAYS:] if any(profile.today) else profile.days
        usual = tuple(float(median(seen)) for seen in zip(*days, strict=True)) if days else ()
        profile = Profile(date, days, NOTHING, usual)
    if fps <= profile.today[place]:
        return profile
    today = (*profile.today[:place], fps, *profile.today[place + 1 :])
    return Profile(profile.date, profile.days, today, profile.usual)


def expected(profile: Profile, clock_s: float, *, ahead_s: float, within_s: float = 60.0) -> float:
    """Return the most that usually arrives at a time soon, in frames per second; 0 where no day was seen yet."""
    if not profile.usual:
        return 0.0
    start, end = int(clock_s + ahead_s) // BIN_S, int(clock_s + ahead_s + within_s) // BIN_S
    return max(profile.usual[place % BINS] for place in range(start, end + 1))

"""One policy on one day of one trace as a row, many of them, and their means."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean

from e2e.bench.scaling.plant import Outcome, Policy, optimum, simulate, start_times
from e2e.bench.scaling.policies import Ours
from e2e.bench.scaling.settings import OURS, Setting
from e2e.bench.scaling.traces import Trace, make

START_S = 20


@dataclass(frozen=True)
class Row:
    """One policy on one day of one trace; hours of slices, changes of replicas per hour."""

    trace: str
    seed: int
    policy: str
    setting: str
    start_s: int
    over_objective_pct: float
    slice_hours: float
    optimal_slice_hours: float
    changes: float

    @property
    def ratio(self) -> float:
        return self.slice_hours / self.optimal_slice_hours

    @property
    def key(self) -> tuple[str, str, int]:
        return self.policy, self.setting, self.start_s


@dataclass(frozen=True)
class Mean:
    """Over traces, each counting alike: the share over, the ratio to the optimum, and changes an hour."""

    over_pct: float
    ratio: float
    changes: float

    def __str__(self) -> str:
        return f"{self.over_pct:.3f} % @ {self.ratio:.3f}, {self.changes:.0f} changes/h"


def days_of(trace: Trace, policy: Policy, start_s: int) -> Outcome:
    """Let a policy live through the days before, if it learns, and return the last one."""
    last = len(trace.history)
    if isinstance(policy, Ours):
        for number, frames in enumerate(trace.history):
            policy.day = number
            starts = start_times(1000 * trace.seed + number, len(frames), start_s)
            simulate(frames, policy, starts_s=starts, learnt=(float(start_s),))
        policy.day = last
    starts = start_times(1000 * trace.seed + last, trace.seconds, start_s)
    return simulate(trace.frames, policy, starts_s=starts, learnt=(float(start_s),))


def row(trace: Trace, setting: Setting, start_s: int) -> Row:
    told = days_of(trace, setting.made(), start_s)
    best = optimum(trace.frames, start_s)
    figures = round(told.over_pct, 4), round(told.replica_s / 3600, 3), round(best / 3600, 3)
    return Row(trace.name, trace.seed, *setting.key, start_s, *figures, round(told.changes_per_hour, 1))


def run(settings: Iterable[Setting], names: Iterable[str], seeds: Iterable[int], start_s: int = START_S) -> list[Row]:
    told = []
    chosen = list(settings)
    learns = any(setting.policy == OURS for setting in chosen)
    for name, seed in itertools.product(names, seeds):
        trace = make(name, seed) if learns else make(name, seed, history_days=0)
        told += [row(trace, setting, start_s) for setting in chosen]
    return told


def mean_of(rows: Iterable[Row], names: Iterable[str]) -> Mean | None:
    """Return the mean over traces; None where one of them is missing."""
    kept = list(rows)
    each = [[r for r in kept if r.trace == name] for name in names]
    if not all(each):
        return None
    return Mean(
        mean(mean(r.over_objective_pct for r in told) for told in each),
        mean(mean(r.ratio for r in told) for told in each),
        mean(mean(r.changes for r in told) for told in each),
    )


def by_setting(rows: Iterable[Row]) -> dict[tuple[str, str, int], list[Row]]:
    found: dict[tuple[str, str, int], list[Row]] = {}
    for told in rows:
        found.setdefault(told.key, []).append(told)
    return found

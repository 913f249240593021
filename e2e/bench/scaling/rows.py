"""One policy on one day of one trace as a row, many of them, and their means."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from statistics import mean

from e2e.bench.scaling.plant import Outcome, Policy, optimum, simulate, start_times
from e2e.bench.scaling.policies import Ours
from e2e.bench.scaling.settings import OURS, Setting
from e2e.bench.scaling.traces import HISTORY_DAYS, Trace, make
from e2e.cache import digest_of
from yolofleet.planning.scaling import forecast

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


@dataclass
class Book:
    """Rows by what they are of, written down one by one, so that a run that was stopped goes on where it was.

    Rows of other code count for nothing.
    """

    path: Path
    known: dict[tuple[str, int, str, str, int], Row] = field(default_factory=dict)
    code: str = field(default_factory=lambda: digest_of(files=_sources()))

    def read(self) -> Book:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in map(json.loads, lines):
            if line.pop("code") == self.code:
                self._keep(Row(**line))
        return self

    def run(
        self, settings: Iterable[Setting], names: Iterable[str], seeds: Iterable[int], start_s: int = START_S
    ) -> list[Row]:
        """Return a row of each setting on each trace; those that are not known yet are made."""
        told, chosen = [], list(settings)
        for name, seed in itertools.product(names, seeds):
            new = [setting for setting in chosen if (name, seed, *setting.key, start_s) not in self.known]
            if new:
                learns = any(setting.policy == OURS for setting in new)
                trace = make(name, seed, history_days=HISTORY_DAYS if learns else 0)
                for setting in new:
                    self._write(row(trace, setting, start_s))
            told += [self.known[name, seed, *setting.key, start_s] for setting in chosen]
        return told

    def _write(self, told: Row) -> None:
        self._keep(told)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a") as out:
            out.write(json.dumps(asdict(told) | {"code": self.code}) + "\n")

    def _keep(self, told: Row) -> None:
        self.known[told.trace, told.seed, told.policy, told.setting, told.start_s] = told


def _sources() -> list[Path]:
    """Return the code that rows are made by: the simulator's, and what the operator decides with."""
    names = ("plant.py", "policies.py", "rows.py", "settings.py", "traces.py")
    mine = [Path(__file__).parent / name for name in names]
    decides = ("arrivals.py", "daily.py", "forecast.py", "headroom.py")
    return [*mine, *(Path(forecast.__file__).parent / name for name in decides)]


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

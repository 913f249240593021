"""Replicas as the simulator has them: they start for a while, carry so much, queue, drop, and cost from their start.

A second is over the objective when more arrives than the ready replicas carry at the objective, or when what waits
needs longer than `QUEUE_S`. Replicas answer up to `SATURATION` times as much; what is older than a second is dropped.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Protocol

import numpy as np

from e2e.bench.scaling.traces import REPLICA_FPS, Frames

SATURATION = 1.15
QUEUE_S = 0.05
DROPPED_S = 1.0
START_CV = 0.2
UNLEARNT_START_S = 30.0
STARTS_KEPT = 5


@dataclass(frozen=True)
class Faults:
    """What goes wrong, in seconds of the day: no metrics, an operator that begins anew, replicas that die."""

    silent: tuple[tuple[int, int], ...] = ()
    restarts: frozenset[int] = frozenset()
    deaths: tuple[tuple[int, int], ...] = ()

    def hides(self, second: int) -> bool:
        return any(begin <= second < end for begin, end in self.silent)


@dataclass
class Meter:
    """What a policy may know at a moment: frames of all seconds before `now`, replicas, and how long starts took."""

    sums: list[int]
    now: int = 0
    ready: int = 0
    starting: int = 0
    starts_s: list[float] = field(default_factory=list)

    @property
    def replicas(self) -> int:
        return self.ready + self.starting

    @property
    def start_s(self) -> float:
        known = sorted(self.starts_s)
        return known[len(known) // 2] if known else UNLEARNT_START_S

    def fps(self, window_s: int) -> float:
        """Return the mean of the last seconds; as many as there were."""
        since = max(0, self.now - window_s)
        return (self.sums[self.now] - self.sums[since]) / max(1, self.now - since)


class Policy(Protocol):
    """Asked each `every_s` seconds for a count; None: as it is."""

    every_s: int

    def decide(self, meter: Meter) -> int | None: ...

    def restart(self) -> None: ...


@dataclass(frozen=True)
class Outcome:
    """Of one day under one policy; `counts` are replicas wanted, by second, where they were asked for."""

    seconds: int
    over_s: int
    replica_s: int
    changes: int
    dropped: int
    over_at: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()

    @property
    def over_pct(self) -> float:
        return 100 * self.over_s / self.seconds

    @property
    def changes_per_hour(self) -> float:
        return self.changes * 3600 / self.seconds


@dataclass
class _Replicas:
    ready: int
    starting: list[int] = field(default_factory=list)
    begun: dict[int, int] = field(default_factory=dict)

    def wait(self, now: int, meter: Meter) -> None:
        """Let those serve that have started."""
        while self.starting and self.starting[0] <= now:
            ready_at = heapq.heappop(self.starting)
            self.ready += 1
            meter.starts_s = [*meter.starts_s, float(ready_at - self.begun[ready_at])][-STARTS_KEPT:]

    def scale(self, wanted: int, now: int, start_s: int) -> None:
        """Start, or stop: those that do not serve yet go first, the last ones before others."""
        for _ in range(wanted - self.ready - len(self.starting)):
            heapq.heappush(self.starting, now + start_s)
            self.begun[now + start_s] = now
        spare = self.ready + len(self.starting) - wanted
        if spare > 0:
            self.starting.sort()
            gone = min(spare, len(self.starting))
            del self.starting[len(self.starting) - gone :]
            self.ready -= spare - gone


def start_times(seed: int, seconds: int, mean_s: float, *, cv: float = START_CV) -> list[int]:
    """Return how long those take that are started in each second; those of one second take alike."""
    rng = np.random.default_rng([seed, 77])
    drawn = np.rint(mean_s * (1 + cv * rng.normal(size=seconds)))
    return [int(told) for told in np.maximum(1, drawn)]


def simulate(
    frames: Frames,
    policy: Policy,
    *,
    starts_s: list[int],
    faults: Faults | None = None,
    learnt: tuple[float, ...] = (),
    trace: bool = False,
    replica_fps: int = REPLICA_FPS,
) -> Outcome:
    """Run one day; it begins with as many replicas as its first minute needs."""
    arrives, faults = frames.tolist(), faults or Faults()
    meter = Meter([0, *accumulate(arrives)], starts_s=list(learnt))
    replicas = _Replicas(ready=-(-max(arrives[:60]) // replica_fps))
    wanted = replicas.ready
    waiting, dropped, paid, changes = 0.0, 0.0, 0, 0
    over: list[int] = []
    counts: list[int] = []
    deaths = dict(faults.deaths)
    for second, new in enumerate(arrives):
        replicas.wait(second, meter)
        if second in deaths:
            replicas.ready = max(0, replicas.ready - deaths[second])
            replicas.scale(wanted, second, starts_s[second])
        if second in faults.restarts:
            policy.restart()
        if second % policy.every_s == 0 and not faults.hides(second):
            meter.now, meter.ready, meter.starting = second, replicas.ready, len(replicas.starting)
            told = policy.decide(meter)
            if told is not None and told != wanted:
                changes += 1
                wanted = told
                replicas.scale(wanted, second, starts_s[second])
        paid += replicas.ready + len(replicas.starting)
        carried = SATURATION * replica_fps * replicas.ready
        waiting = max(0.0, waiting + new - carried)
        if new > replica_fps * replicas.ready or waiting > QUEUE_S * carried:
            over.append(second)
        dropped += max(0.0, waiting - DROPPED_S * carried)
        waiting = min(waiting, DROPPED_S * carried)
        if trace:
            counts.append(wanted)
    return Outcome(len(arrives), len(over), paid, changes, round(dropped), tuple(over), tuple(counts))


def optimum(frames: Frames, start_s: int) -> int:
    """Return the fewest replica-seconds with no second over, for whoever knows the day.

    Replica k is needed in the seconds that need k or more: between two such runs it stays, or goes and starts again,
    whichever is cheaper. What is needed first is there at the beginning, or starts before; layers do not interact, so
    the sum is exact.
    """
    needs = -(-frames // REPLICA_FPS)
    total = 0
    for layer in range(1, int(needs.max(initial=0)) + 1):
        at = np.flatnonzero(needs >= layer)
        gaps = np.diff(at) - 1
        total += len(at) + int(np.minimum(gaps, start_s).sum()) + min(start_s, int(at[0]))
    return total


def optimum_by_states(frames: Frames, start_s: int) -> int:
    """Return the same by dynamic programming over (ready, starting by age): only for short days, to check the sum."""
    needs = [int(need) for need in -(-frames // REPLICA_FPS)]
    most = max(needs)
    # A state tells of each replica whether it serves (start_s), is so far from it, or is off (-1).
    states: dict[tuple[int, ...], int] = {}
    for ready in range(most + 1):
        states[tuple([start_s] * ready + [-1] * (most - ready))] = 0
    best = {state: 0 for state in states if sum(age == start_s for age in state) >= needs[0]}
    for now, need in enumerate(needs):
        after: dict[tuple[int, ...], int] = {}
        for state, cost in best.items():
            for moved in _moves(state, start_s) if now else {state}:
                if sum(age == start_s for age in moved) < need:
                    continue
                price = cost + sum(age >= 0 for age in moved)
                if price < after.get(moved, price + 1):
                    after[moved] = price
        best = after
    return min(best.values())


def _moves(state: tuple[int, ...], start_s: int) -> set[tuple[int, ...]]:
    """Return what a second may make of it: each replica grows older, goes, or one that is off begins."""
    found: set[tuple[int, ...]] = {()}
    for age in state:
        options = (-1, 0) if age < 0 else (min(age + 1, start_s), -1)
        found = {(*others, option) for others in found for option in options}
    return {tuple(sorted(told, reverse=True)) for told in found}

"""Slices are asked for one by one until one finds no place: how much each policy accepts on a hundred GPUs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import mean

import numpy as np

from tools.bench.charts import bars
from tools.bench.fleets import lattice
from tools.bench.movement import moved
from yolofleet.planning.layouts.geometry import Layout, Slice, conflict, free_starts
from yolofleet.planning.layouts.overlay import GpuState, overlay
from yolofleet.planning.packing import FilledGpu

PRODUCT = "A100-80GB"
CUT = lattice(PRODUCT)
COMPUTE = {"1g.10gb": 1, "1g.20gb": 1, "2g.20gb": 2, "3g.40gb": 3, "4g.40gb": 4, "7g.80gb": 7}
# Chances in the order of COMPUTE.
MIXES = {
    "even": (1, 1, 1, 1, 1, 1),
    "mostly small": (7, 4, 4, 2, 2, 1),
    "mostly large": (1, 2, 2, 4, 4, 7),
    "small and whole": (7, 2, 1, 1, 2, 7),
}
GPUS = 100
SEEDS = 5
# The geometries that nos knows of an A100, by counts; 3g + 4g and 3g + 4 × 1g are not among them.
NOS = [
    {"7g.80gb": 1},
    {"4g.40gb": 1, "2g.20gb": 1, "1g.10gb": 1},
    {"4g.40gb": 1, "1g.10gb": 3},
    {"3g.40gb": 2},
    {"3g.40gb": 1, "2g.20gb": 1, "1g.10gb": 1},
    {"3g.40gb": 1, "1g.10gb": 3},
    {"3g.40gb": 1, "2g.20gb": 2},
    {"3g.40gb": 1, "2g.20gb": 1, "1g.10gb": 2},
    {"2g.20gb": 3, "1g.10gb": 1},
    {"2g.20gb": 2, "1g.10gb": 3},
    {"2g.20gb": 1, "1g.10gb": 5},
    {"1g.10gb": 7},
]
Spot = tuple[int, Slice]
Policy = Callable[[list[Layout], str], Spot | None]


@dataclass(frozen=True)
class SaturationRow:
    """One stream of requests under one policy, up to the first that finds no place; `accepted` in compute slices."""

    policy: str
    mix: str
    seed: int
    accepted: int
    requests: int
    gpus: int
    moved: int


@cache
def _starts(layout: Layout, profile: str) -> tuple[int, ...]:
    return free_starts(CUT, layout, profile)


def _driver_start(layout: Layout, profile: str) -> int | None:
    """Return where NVIDIA's driver was seen to put a slice: small ones left, larger ones right."""
    starts = _starts(layout, profile)
    if not starts:
        return None
    return starts[0] if profile == "1g.10gb" else starts[-1]


def first_fit(gpus: list[Layout], profile: str) -> Spot | None:
    """Take the first GPU that has room, and there the driver's place."""
    for at, layout in enumerate(gpus):
        start = _driver_start(layout, profile)
        if start is not None:
            return at, Slice(start, profile)
    return None


def dra_first_match(gpus: list[Layout], profile: str) -> Spot | None:
    """Take the first device in the order of the ResourceSlices: GPU by GPU, a profile's starts ascending."""
    for at, layout in enumerate(gpus):
        if starts := _starts(layout, profile):
            return at, Slice(starts[0], profile)
    return None


def best_fit(gpus: list[Layout], profile: str) -> Spot | None:
    """Take the GPU with the fewest memory slices free that has room, and there the driver's place."""
    room = [(_free(layout), at) for at, layout in enumerate(gpus) if _starts(layout, profile)]
    if not room:
        return None
    _, at = min(room)
    start = _driver_start(gpus[at], profile)
    return None if start is None else (at, Slice(start, profile))


@cache
def _free(layout: Layout) -> int:
    return 8 - sum(CUT.kinds[CUT.index(one.profile)].size for one in layout)


def nos_rule(gpus: list[Layout], profile: str) -> Spot | None:
    """Take the first GPU with a known geometry, by counts, that holds what is used and one more.

    Counts are not placements: where no legal place is left, the geometry cannot be made, and the next GPU is tried.
    """
    if profile not in {name for geometry in NOS for name in geometry}:
        return first_fit(gpus, profile)  # nos's table lacks 1g.20gb; it shall not lose for that
    for at, layout in enumerate(gpus):
        used = Counter(one.profile for one in layout if one.profile != "1g.20gb")
        used[profile] += 1
        known = any(all(geometry.get(name, 0) >= n for name, n in used.items()) for geometry in NOS)
        start = _driver_start(layout, profile) if known else None
        if start is not None:
            return at, Slice(start, profile)
    return None


def least_fragmentation(gpus: list[Layout], profile: str) -> Spot | None:
    """Take the place where the fragmentation score of arXiv 2511.18906 grows least; the first of equals."""
    found = [
        (_score(tuple(sorted((*layout, Slice(start, profile))))) - _score(layout), at, start)
        for at, layout in enumerate(gpus)
        for start in _starts(layout, profile)
    ]
    if not found:
        return None
    _, at, start = min(found)
    return at, Slice(start, profile)


@cache
def _score(layout: Layout) -> int:
    """Sum the sizes of all places that are blocked although the GPU has memory slices enough for them."""
    taken = {place for one in layout for place in range(one.start, one.start + CUT.kinds[CUT.index(one.profile)].size)}
    return sum(
        kind.size
        for kind in CUT.kinds
        if kind.size <= 8 - len(taken)
        for start in kind.starts
        if not taken.isdisjoint(range(start, start + kind.size))
    )


BASELINES: dict[str, Policy] = {
    "first fit": first_fit,
    "best fit": best_fit,
    "nos' rule": nos_rule,
    "DRA's first match": dra_first_match,
    "fragmentation score": least_fragmentation,
}
OURS = "ours: best fit, then moves"
POLICIES = (*BASELINES, OURS)


def stream(mix: str, seed: int, length: int) -> list[str]:
    """Draw requests for slices."""
    chances = np.array(MIXES[mix], float)
    dice = np.random.default_rng(seed)
    return [str(one) for one in dice.choice(list(COMPUTE), length, p=chances / chances.sum())]


def fill(policy: str, mix: str, seed: int, gpus: int) -> SaturationRow:
    """Serve a stream until a request finds no place.

    Ours places by best fit too; a request without a place may then move slices, as few as suffice.
    """
    layouts: list[Layout] = [()] * gpus
    seen: Counter[str] = Counter()
    displaced = 0
    for profile in stream(mix, seed, 8 * gpus):
        spot = BASELINES.get(policy, best_fit)(layouts, profile)
        if spot is not None:
            at, one = spot
            layouts[at] = tuple(sorted((*layouts[at], one)))
        elif policy == OURS and (anew := _rearranged(layouts, profile)) is not None:
            layouts, moves = anew
            displaced += moves
        else:
            break
        seen[profile] += 1
    if any(conflict(CUT, layout) is not None for layout in layouts):
        raise AssertionError(f"{policy} put a slice where it cannot lie")
    accepted = sum(COMPUTE[profile] * count for profile, count in seen.items())
    return SaturationRow(policy, mix, seed, accepted, seen.total(), sum(bool(one) for one in layouts), displaced)


def _rearranged(layouts: Sequence[Layout], profile: str) -> tuple[list[Layout], int] | None:
    """Let the planner lay all slices and one more over the GPUs, most staying where they are; None: none hold all."""
    today = tuple(
        GpuState(f"g{at:04d}", PRODUCT, tuple((one, one.profile) for one in row)) for at, row in enumerate(layouts)
    )
    plan = [FilledGpu(PRODUCT, gpu.slices) for gpu in today]
    plan.append(FilledGpu(PRODUCT, ((Slice(0, profile), profile),)))
    goal, missed = overlay(today, plan, {PRODUCT: CUT}, most={PRODUCT: len(layouts)})
    if missed:
        return None
    slim = {gpu.name: {one: owner for one, owner in goal[gpu.name].items() if owner} for gpu in today}
    return [tuple(sorted(slim[gpu.name])) for gpu in today], moved(today, slim)["stopped"]


def measure(gpus: int, seeds: int, first_seed: int) -> Iterator[SaturationRow]:
    """Run all policies on the same streams."""
    for mix in MIXES:
        for seed in range(first_seed, first_seed + seeds):
            for policy in POLICIES:
                yield fill(policy, mix, seed, gpus)


def judge(rows: Sequence[SaturationRow]) -> list[str]:
    """Say where ours does not accept most: each stream on its own must not be lower, the mean must be higher."""
    by = {(row.mix, row.seed, row.policy): row.accepted for row in rows}
    missed = []
    for mix, means in table(rows).items():
        missed += [
            f"saturation, {mix}: {policy} accepts {means[policy]:.1f}, ours {means[OURS]:.1f}"
            for policy in BASELINES
            if means[policy] >= means[OURS]
        ]
        for seed in sorted({row.seed for row in rows}):
            best = max(by[mix, seed, policy] for policy in BASELINES)
            if by[mix, seed, OURS] < best:
                missed.append(f"saturation, {mix}, seed {seed}: ours {by[mix, seed, OURS]}, another {best}")
    return missed


def table(rows: Sequence[SaturationRow]) -> dict[str, dict[str, float]]:
    """Return the mean accepted compute slices by mix and policy."""
    return {
        mix: {policy: mean(r.accepted for r in rows if (r.mix, r.policy) == (mix, policy)) for policy in POLICIES}
        for mix in dict.fromkeys(row.mix for row in rows)
    }


def chart(rows: Sequence[SaturationRow], gpus: int) -> str:
    """Draw what is accepted, in percent of all compute slices."""
    percent = {mix: {p: 100 * v / (7 * gpus) for p, v in means.items()} for mix, means in table(rows).items()}
    return bars(percent, f"Compute slices accepted on {gpus} GPUs until one request finds no place, %")

"""A day of demand on concrete GPUs: what moves when each plan is made from nothing, and when little shall move."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tools.bench.fleets import fleet, found_plan
from yolofleet.planning.layouts.geometry import Lattice, conflict
from yolofleet.planning.layouts.movement import settle
from yolofleet.planning.layouts.overlay import GpuState, Holding, overlay, slices_by_start
from yolofleet.planning.packing import FilledGpu, Need, Packing, Product, filled_gpus, pack, problem_of

HOURS = 24.0
FULL = (1000, 1000, 960, 96)
"""Deployments, GPUs there, GPUs at the fullest step, steps."""
SLACK = 0.009
COMERS = 0.1
"""The share of deployments that arrive during the day, and of those that leave."""
POLICIES = ("from nothing, as dealt", "from nothing, laid over", "little movement")


@dataclass(frozen=True)
class MovementRow:
    """One policy's day: slices and replicas summed over all steps; GPUs in use on average and at most."""

    policy: str
    deployments: int
    gpus_there: int
    seed: int
    steps: int
    gpus: float
    most_gpus: int
    slices_created: int
    slices_destroyed: int
    replicas_started: int
    replicas_stopped: int
    cpu_seconds_per_step: float


def day(deployments: int, steps: int, seed: int) -> Iterator[list[Need]]:
    """Draw a day: a daily wave per deployment, bursts of an hour or two, noise, one in ten arriving, one leaving."""
    dice = np.random.default_rng(seed)
    _, base = fleet(deployments, 1, seed)
    wave, phase = dice.uniform(0.2, 0.5, deployments), dice.normal(15, 2, deployments)
    arrives = np.where(dice.random(deployments) < COMERS, dice.uniform(0, HOURS, deployments), -1.0)
    leaves = np.where(dice.random(deployments) < COMERS, dice.uniform(0, HOURS, deployments), HOURS + 1)
    burst = np.ones(deployments)
    for step in range(steps):
        hour = step * HOURS / steps
        burst = 1 + (burst - 1) * math.exp(-HOURS / steps)
        starts = dice.random(deployments) < 0.5 / steps
        burst = np.where(starts, dice.uniform(1.5, 3.0, deployments), burst)
        level = 1 + wave * np.cos((hour - phase) * 2 * math.pi / HOURS)
        level *= burst * dice.lognormal(0, 0.02, deployments)
        here = (arrives <= hour) & (hour < leaves) | (leaves < arrives) & ((hour < leaves) | (arrives <= hour))
        yield [replace(need, demand=need.demand * float(level[at])) for at, need in enumerate(base) if here[at]]


def scaled(steps: Sequence[list[Need]], stock: Sequence[Product], peak: int) -> list[list[Need]]:
    """Scale all demand so that the fullest step needs about `peak` GPUs."""
    fullest = max(steps, key=lambda needs: sum(need.demand for need in needs))
    factor = peak / found_plan(pack(problem_of(stock, fullest))).cost
    return [[replace(need, demand=need.demand * factor) for need in needs] for needs in steps]


def measure(deployments: int, gpus: int, peak: int, steps: int, seed: int) -> Iterator[MovementRow]:
    """Walk every policy through the same day, each from its own last state."""
    stock, _ = fleet(1, 1, seed)
    lattices = {product.name: product.lattice for product in stock}
    empty = tuple(GpuState(f"g{at:05d}", stock[0].name) for at in range(gpus))
    states = dict.fromkeys(POLICIES, empty)
    sums: dict[str, Counter[str]] = {policy: Counter() for policy in POLICIES}
    cpu = dict.fromkeys(POLICIES, 0.0)
    used: dict[str, list[int]] = {policy: [] for policy in POLICIES}
    for at, needs in enumerate(scaled(list(day(deployments, steps, seed)), stock, peak)):
        began = time.process_time()
        packing = found_plan(pack(problem_of(stock, needs)))
        packed = time.process_time() - began
        for policy in POLICIES:
            began = time.process_time()
            goal = _next(policy, packing, states[policy], lattices)
            cpu[policy] += time.process_time() - began + packed
            if at:  # the first filling is everybody's
                sums[policy].update(moved(states[policy], goal))
            states[policy] = tuple(replace(g, slices=slices_by_start(goal[g.name])) for g in states[policy])
            used[policy].append(sum(any(holding.values()) for holding in goal.values()))
    for policy in POLICIES:
        total = sums[policy]
        mean = sum(used[policy]) / len(used[policy])
        counted = (total["created"], total["destroyed"], total["started"], total["stopped"])
        yield MovementRow(
            policy, deployments, gpus, seed, steps, mean, max(used[policy]), *counted, cpu[policy] / steps
        )


def _next(
    policy: str, packing: Packing, today: Sequence[GpuState], lattices: Mapping[str, Lattice]
) -> dict[str, Holding]:
    if policy == "little movement":
        return dict(settle(packing, today, slack=SLACK).goal)
    plan = filled_gpus(packing)
    if policy == "from nothing, laid over":
        return overlay(today, plan, lattices)[0]
    return dealt(today, plan, lattices)


def dealt(today: Sequence[GpuState], plan: Sequence[FilledGpu], lattices: Mapping[str, Lattice]) -> dict[str, Holding]:
    """Take the plan's GPUs in their order, with no regard to what is there; free slices not in the way stay."""
    goal: dict[str, Holding] = {}
    for at, gpu in enumerate(today):
        held: Holding = {one: owner for one, owner in plan[at].slices if owner} if at < len(plan) else {}
        for one, _ in gpu.slices:
            if one not in held and conflict(lattices[gpu.product], [*held, one]) is None:
                held[one] = None
        goal[gpu.name] = held
    return goal


def moved(today: Sequence[GpuState], goal: Mapping[str, Holding]) -> Counter[str]:
    """Count slices created and destroyed, replicas started and stopped."""
    told: Counter[str] = Counter()
    for gpu in today:
        before, then = dict(gpu.slices), goal[gpu.name]
        told["created"] += sum(one not in before for one in then)
        told["destroyed"] += sum(one not in then for one in before)
        told["started"] += sum(owner is not None and before.get(one) != owner for one, owner in then.items())
        told["stopped"] += sum(owner is not None and then.get(one) != owner for one, owner in before.items())
    return told


def judge(rows: Sequence[MovementRow]) -> list[str]:
    """Say where little movement is not little, or costs more than a hundredth in GPUs: each day, and all together."""
    seeds = sorted({row.seed for row in rows})
    days = {f"seed {seed}": [row for row in rows if row.seed == seed] for seed in seeds}
    return [
        f"movement, {day}: {words}" for day, mine in (days | {"all days": list(rows)}).items() for words in _lost(mine)
    ]


def _lost(rows: Sequence[MovementRow]) -> Iterator[str]:
    plain, ours = ([row for row in rows if row.policy == policy] for policy in POLICIES[1:])
    for what in ("slices", "replicas"):
        theirs, mine = (sum(_total(row, what) for row in side) for side in (plain, ours))
        if mine > theirs / 4:
            yield f"{mine} {what}, from nothing {theirs}: more than a quarter"
    theirs, mine = (sum(row.gpus for row in side) / len(side) for side in (plain, ours))
    if mine > theirs * 1.01:
        yield f"{mine:.1f} GPUs on average, from nothing {theirs:.1f}"


def _total(row: MovementRow, what: str) -> int:
    if what == "slices":
        return row.slices_created + row.slices_destroyed
    return row.replicas_started + row.replicas_stopped

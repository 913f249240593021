"""Time, gap and memory by number of deployments, each fleet in a process of its own."""

from __future__ import annotations

import json
import resource
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, replace

import numpy as np

from tools.bench.fleets import PRICES, fleet, found_plan, say
from yolofleet.planning.packing import changed, pack, problem_of


@dataclass(frozen=True)
class SizeRow:
    """One synthetic fleet; costs are in prices, with one product a GPU costs 1."""

    deployments: int
    products: int
    seed: int
    gpus: int
    cost: float
    lower_bound: float
    gap: float
    seconds: float
    cpu_seconds: float
    rss_mib: int
    change_seconds: float


@dataclass(frozen=True)
class Bar:
    """What a row must keep to, by the median of its seeds."""

    deployments: int
    products: int
    seconds: float
    gap: float
    seeds: int = 5
    rss_mib: int | None = None
    change_seconds: float | None = None


BARS = (
    Bar(100, 1, 1.0, 0.0),
    Bar(100, 3, 1.0, 1.0),
    Bar(1_000, 1, 3.0, 5e-4),
    Bar(1_000, 3, 3.0, 5e-4),
    Bar(10_000, 3, 5.0, 5e-4, rss_mib=300, change_seconds=0.1),
    Bar(100_000, 3, 60.0, 1e-3),
)


def measure_size(deployments: int, products: int, seed: int) -> SizeRow:
    """Pack one fleet in this process, then change one deployment."""
    stock, needs = fleet(deployments, products, seed)
    problem = problem_of(stock, needs)
    wall, cpu = time.perf_counter(), time.process_time()
    found = found_plan(pack(problem))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    grown = replace(needs[deployments // 2], demand=needs[deployments // 2].demand * 1.3)
    before = time.process_time()
    changed(found, grown)
    change = time.process_time() - before
    rss = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    gpus = int(found.gpus.sum())
    return SizeRow(deployments, products, seed, gpus, found.cost, found.bound, found.gap, wall, cpu, rss, change)


def sizes(bars: tuple[Bar, ...], first_seed: int) -> list[SizeRow]:
    """Measure each size in a process of its own, so that memory is its own."""
    rows = []
    for bar in bars:
        for seed in range(first_seed, first_seed + bar.seeds):
            told = [sys.executable, "-m", "tools.bench", "--one", str(bar.deployments), str(bar.products), str(seed)]
            done = subprocess.run(told, check=True, capture_output=True, text=True)  # noqa: S603 - our own file
            rows.append(SizeRow(**json.loads(done.stdout)))
            say(rows[-1])
    return rows


def judge_sizes(rows: list[SizeRow], bars: tuple[Bar, ...]) -> list[str]:
    """Say which bars are missed; time is CPU time: one thread, no waiting, so an idle machine's wall time."""
    missed = []
    for bar in bars:
        mine = [row for row in rows if (row.deployments, row.products) == (bar.deployments, bar.products)]
        if not mine:
            continue
        within_one = all(row.cost - row.lower_bound <= max(PRICES.values()) for row in mine)
        checks = {
            "gap": within_one if bar.gap >= 1 else max(row.gap for row in mine) <= bar.gap,
            "time": statistics.median(row.cpu_seconds for row in mine) <= bar.seconds,
            "memory": bar.rss_mib is None or max(row.rss_mib for row in mine) <= bar.rss_mib,
            "change": bar.change_seconds is None
            or statistics.median(row.change_seconds for row in mine) <= bar.change_seconds,
        }
        missed += [f"{bar.deployments} × {bar.products}: {name}" for name, held in checks.items() if not held]
    return missed


def growth(rows: list[SizeRow]) -> str:
    """Draw CPU seconds by number of deployments, both logarithmic, a line per number of products."""
    points: dict[int, dict[int, float]] = {}
    for row in rows:
        mine = [r.cpu_seconds for r in rows if (r.deployments, r.products) == (row.deployments, row.products)]
        points.setdefault(row.products, {})[row.deployments] = statistics.median(mine)

    def place(x: float, y: float) -> tuple[float, float]:
        return 60 + (np.log10(x) - 2) * 140, 250 - (np.log10(y) + 2) * 55

    parts = [
        f'<text x="{place(10**e, 0.01)[0]}" y="275" text-anchor="middle">{10**e:,}</text>'
        f'<line x1="{place(10**e, 1)[0]}" x2="{place(10**e, 1)[0]}" y1="30" y2="250" stroke="#ddd"/>'
        for e in range(2, 6)
    ] + [
        f'<text x="52" y="{place(1, 10**e)[1] + 4}" text-anchor="end">{10.0**e:g} s</text>'
        f'<line x1="60" x2="480" y1="{place(1, 10**e)[1]}" y2="{place(1, 10**e)[1]}" stroke="#ddd"/>'
        for e in range(-2, 3)
    ]
    for colour, (products, line) in zip(("#4477aa", "#ee6677"), sorted(points.items()), strict=False):
        spots = [place(x, y) for x, y in sorted(line.items())]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in spots)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        parts += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>' for x, y in spots]
        parts.append(
            f'<text x="{spots[-1][0] + 8:.1f}" y="{spots[-1][1] + 4:.1f}" fill="{colour}">{products} product(s)</text>'
        )
    title = '<text x="270" y="18" text-anchor="middle">CPU time to pack, by number of deployments</text>'
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="600" height="290" font-family="sans-serif" font-size="12">'
        f'<rect width="600" height="290" fill="white"/>{title}{"".join(parts)}</svg>\n'
    )

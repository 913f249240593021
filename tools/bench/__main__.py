"""`make bench-planner`: a published benchmark, size, movement and saturation; exit 1 when a bar is missed."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from tools.bench import movement, parvagpu, saturation, sizes
from tools.bench.fleets import say

OUT = Path("out/bench")
PARTS = ("parvagpu", "size", "movement", "saturation")


def main() -> int:
    """Run what is asked for; exit 1 when a bar is missed."""
    told = _asked()
    if told.one:
        print(json.dumps(asdict(sizes.measure_size(*told.one))))
        return 0
    OUT.mkdir(parents=True, exist_ok=True)
    target = OUT / "planner.json"
    missed: list[str] = []
    for part in PARTS:
        if part in told.parts and (part != "parvagpu" or told.parvagpu):
            rows, lost = RUN[part](told)
            missed += lost
            report: dict[str, Any] = json.loads(target.read_text()) if target.exists() else {}
            report[part] = [asdict(row) for row in rows]
            target.write_text(json.dumps(report, indent=1) + "\n")
    print("\n".join(["missed:", *missed]) if missed else "every bar is held")
    return 1 if missed else 0


def _asked() -> argparse.Namespace:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--parvagpu", type=Path, help="folder of the artefact: prof_data/ and SLO/")
    asked.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these; default all")
    asked.add_argument("--largest", type=int, default=100_000, help="leave larger fleets out")
    asked.add_argument("--seed", type=int, default=1, help="the first seed")
    asked.add_argument(
        "--movement",
        type=int,
        nargs=4,
        metavar=("DEPLOYMENTS", "GPUS", "PEAK", "STEPS"),
        default=movement.FULL,
        help="the day's size; default %(default)s",
    )
    asked.add_argument("--days", type=int, default=3, help="days of the movement benchmark, each of its own seed")
    asked.add_argument("--one", type=int, nargs=3, metavar=("DEPLOYMENTS", "PRODUCTS", "SEED"), help=argparse.SUPPRESS)
    return asked.parse_args()


def _collected(rows: Iterator[Any]) -> list[Any]:
    made = []
    for row in rows:
        say(row)
        made.append(row)
    return made


def _parvagpu(told: argparse.Namespace) -> tuple[list[Any], list[str]]:
    rows = _collected(parvagpu.parvagpu(told.parvagpu))
    return rows, parvagpu.judge_parvagpu(rows)


def _size(told: argparse.Namespace) -> tuple[list[Any], list[str]]:
    bars = tuple(bar for bar in sizes.BARS if bar.deployments <= told.largest)
    rows = sizes.sizes(bars, told.seed)
    (OUT / "planner-growth.svg").write_text(sizes.growth(rows))
    return rows, sizes.judge_sizes(rows, bars)


def _movement(told: argparse.Namespace) -> tuple[list[Any], list[str]]:
    seeds = range(told.seed, told.seed + told.days)
    rows = _collected(row for seed in seeds for row in movement.measure(*told.movement, seed))
    return rows, movement.judge(rows)


def _saturation(told: argparse.Namespace) -> tuple[list[Any], list[str]]:
    rows = _collected(saturation.measure(saturation.GPUS, saturation.SEEDS, told.seed))
    (OUT / "planner-saturation.svg").write_text(saturation.chart(rows, saturation.GPUS))
    return rows, saturation.judge(rows)


RUN: dict[str, Callable[[argparse.Namespace], tuple[list[Any], list[str]]]] = {
    "parvagpu": _parvagpu,
    "size": _size,
    "movement": _movement,
    "saturation": _saturation,
}

if __name__ == "__main__":
    sys.exit(main())

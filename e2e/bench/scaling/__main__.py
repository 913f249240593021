"""`make bench-scaling`: seconds over the objective and slice-hours of each policy on each trace, and their plot."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from e2e.bench.scaling import plot
from e2e.bench.scaling.bars import bars
from e2e.bench.scaling.flashes import Flash, flashes
from e2e.bench.scaling.rows import START_S, Book, Row, by_setting, mean_of
from e2e.bench.scaling.settings import DEFAULTS, FEW_CHANGES, PRICE_S, Setting, grid, ours
from e2e.bench.scaling.traces import FORECASTABLE, HELD_OUT, SURPRISE, TUNED_ON

OUT = Path("out/bench")
TUNED_SEEDS = (1,)
FRESH_SEEDS = (201, 202)
MIDDLE_PRICE_S, HIGH_PRICE_S = 150, 250
OTHER_STARTS_S = (5, 60)
GROUPS = {"all eight": TUNED_ON, "forecastable": FORECASTABLE, "surprise": SURPRISE, "held out": HELD_OUT}


def tuned(book: Book, seeds: Sequence[int]) -> tuple[list[Setting], list[Setting]]:
    """Return of each known policy the setting that is cheapest on some seeds at our price, and all that none beats."""
    settings = {setting.key: setting for setting in grid()}
    told = by_setting(book.run(settings.values(), TUNED_ON, seeds))
    seen = {key[:2]: found for key, rows in told.items() if (found := mean_of(rows, TUNED_ON))}
    best, frontier = [], []
    for policy in sorted({key[0] for key in seen}):
        of = {key: mean for key, mean in seen.items() if key[0] == policy}
        best.append(settings[min(of, key=lambda key: of[key].ratio + PRICE_S * of[key].over_pct / 100)])
        frontier += [
            settings[key]
            for key, one in of.items()
            if not any(other.over_pct < one.over_pct and other.ratio < one.ratio for other in of.values())
        ]
    return best, frontier


def ours_on(book: Book, seed: int, *, more: bool) -> Iterator[Row]:
    """Yield our rows: the price that is judged on all traces, the others on those of the bars."""
    yield from book.run([ours(PRICE_S)], [*TUNED_ON, *HELD_OUT], [seed])
    yield from book.run([ours(*FEW_CHANGES), ours(HIGH_PRICE_S)], TUNED_ON, [seed])
    for start_s in OTHER_STARTS_S:
        yield from book.run([ours(PRICE_S)], TUNED_ON, [seed], start_s)
    if more:
        yield from book.run([ours(MIDDLE_PRICE_S), ours(PRICE_S, warm=1)], TUNED_ON, [seed])


def table(rows: Sequence[Row]) -> Iterator[str]:
    """Yield, as Markdown, what each setting did on each trace and each group of traces."""
    names = [*TUNED_ON, *HELD_OUT]
    groups = [*((name, [name]) for name in names), *GROUPS.items()]
    yield (
        "| policy: setting, start | "
        + " | ".join(f"**{name}**" if name in GROUPS else name for name, _ in groups)
        + " |"
    )
    yield "|" + "---|" * (len(groups) + 1)
    for (policy, words, start_s), told in by_setting(rows).items():
        seen = [mean_of(told, members) for _, members in groups]
        cells = [f"{m.over_pct:.3f} @ {m.ratio:.3f}" if m else "" for m in seen]
        yield f"| {policy}: {words}, {start_s} s | " + " | ".join(cells) + " |"


def written(rows: Sequence[Row], burst: Sequence[Flash]) -> None:
    OUT.mkdir(parents=True, exist_ok=True)
    told = {"rows": [asdict(r) for r in rows], "flashes": [asdict(f) for f in burst]}
    (OUT / "scaling.json").write_text(json.dumps(told, indent=1))
    points = [
        (policy, words, seen.over_pct, seen.ratio)
        for (policy, words, start_s), of in by_setting(rows).items()
        if start_s == START_S and (seen := mean_of(of, TUNED_ON))
    ]
    (OUT / "scaling-pareto.svg").write_text(plot.pareto(points))


def main() -> int:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--quick", action="store_true", help="one fresh seed, one price, defaults of the others")
    quick: bool = asked.parse_args().quick
    seeds = FRESH_SEEDS[:1] if quick else FRESH_SEEDS
    book = Book(OUT / "scaling-rows.jsonl").read()
    best, frontier = ([], []) if quick else tuned(book, TUNED_SEEDS)
    others = {setting.key: setting for setting in (*DEFAULTS, *best, *frontier)}
    rows: list[Row] = []
    for seed in seeds:
        rows += book.run(others.values(), [*TUNED_ON, *HELD_OUT], [seed])
        rows += ours_on(book, seed, more=not quick and seed == seeds[0])
        print(f"seed {seed}: {len(rows)} rows, {time.process_time():.0f} s of CPU so far", file=sys.stderr, flush=True)
    burst = flashes()
    written(rows, burst)
    print("\n".join(table(rows)))
    for told in burst:
        print(json.dumps(asdict(told)))
    judged = list(bars(rows, best, burst))
    for bar in judged:
        print(f"{'holds' if bar.holds else 'MISSED'}: {bar.name}: {bar.seen:.3f}, at most {bar.most:.3f}")
    print(f"{time.process_time():.0f} s of CPU")
    return 0 if all(bar.holds for bar in judged) else 1


if __name__ == "__main__":
    raise SystemExit(main())

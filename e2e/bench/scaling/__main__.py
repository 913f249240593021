"""`make bench-scaling`: seconds over the objective and slice-hours of each policy on each trace, and their plot."""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import mean

import numpy as np

from e2e.bench.scaling import plot
from e2e.bench.scaling.plant import Outcome, Policy, optimum, simulate, start_times
from e2e.bench.scaling.policies import Hpa, Kpa, Ours
from e2e.bench.scaling.traces import FORECASTABLE, HELD_OUT, SURPRISE, TUNED_ON, Frames, Trace, make
from yolofleet.planning.forecast import Prices

OUT = Path("out/bench")
TUNED_SEEDS = (1, 2)
FRESH_SEEDS = (201, 202)
START_S = 20
PRICE_S = 50
FEW_CHANGES_S = 8
FLASH_FPS = 450
FLASH_AT = 1800


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


def row(trace: Trace, name: str, setting: str, policy: Policy, start_s: int) -> Row:
    told = days_of(trace, policy, start_s)
    best = optimum(trace.frames, start_s)
    figures = round(told.over_pct, 4), round(told.replica_s / 3600, 3), round(best / 3600, 3)
    return Row(trace.name, trace.seed, name, setting, start_s, *figures, round(told.changes_per_hour, 1))


def ours(overload_s: float, change_s: float = 0.0, warm: int = 0) -> tuple[str, str, Callable[[], Policy]]:
    setting = f"overloadCostSeconds {overload_s:g}, changeCostSeconds {change_s:g}, warmReplicas {warm}"
    return "yolofleet", setting, lambda: Ours(Prices(overload_s, change_s), warm=warm)


def hpa(target: float, window_s: int, metric_s: int, *, keda: bool = False) -> tuple[str, str, Callable[[], Policy]]:
    setting = f"target {target}, window {window_s} s, metric {metric_s} s"
    return "KEDA" if keda else "HPA", setting, lambda: Hpa(target, window_s, metric_s, external=keda)


def kpa(
    target: float, stable_s: int, panic_s: int, threshold: float, delay_s: int
) -> tuple[str, str, Callable[[], Policy]]:
    setting = f"target {target}, windows {stable_s}/{panic_s} s, panic at {threshold}, delay {delay_s} s"
    return "KPA", setting, lambda: Kpa(target, stable_s, panic_s, threshold, delay_s)


Setting = tuple[str, str, Callable[[], Policy]]
DEFAULTS: tuple[Setting, ...] = (hpa(0.7, 300, 30), hpa(0.7, 300, 30, keda=True), kpa(0.7, 60, 6, 2.0, 0))


def grid() -> Iterator[Setting]:
    """Yield the settings that the known policies are tuned over."""
    for target, window, metric, keda in itertools.product((0.6, 0.7, 0.8, 0.9), (30, 120, 300), (5, 30), (False, True)):
        yield hpa(target, window, metric, keda=keda)
    for told in itertools.product((0.6, 0.7, 0.8, 0.9), (15, 60), (3, 6), (1.1, 2.0), (0, 60)):
        yield kpa(*told)


def run(settings: Iterable[Setting], names: Iterable[str], seeds: Iterable[int], start_s: int = START_S) -> list[Row]:
    told = []
    chosen = list(settings)
    for name, seed in itertools.product(names, seeds):
        learns = any(policy == "yolofleet" for policy, _, _ in chosen)
        trace = make(name, seed) if learns else make(name, seed, history_days=0)
        told += [row(trace, policy, setting, made(), start_s) for policy, setting, made in chosen]
    return told


def means(rows: Iterable[Row], names: Iterable[str]) -> tuple[float, float, float]:
    """Return the means over traces of the share over, the ratio to the optimum, and changes an hour."""
    kept, wanted = list(rows), list(names)
    each = [[r for r in kept if r.trace == name] for name in wanted]
    figures = [
        (mean(r.over_objective_pct for r in told), mean(r.ratio for r in told), mean(r.changes for r in told))
        for told in each
        if told
    ]
    over, ratio, changes = (mean(column) for column in zip(*figures, strict=True))
    return over, ratio, changes


def by_setting(rows: Iterable[Row]) -> dict[tuple[str, str, int], list[Row]]:
    found: dict[tuple[str, str, int], list[Row]] = {}
    for told in rows:
        found.setdefault((told.policy, told.setting, told.start_s), []).append(told)
    return found


def tuned() -> list[Setting]:
    """Return each known policy's settings on the frontier of the tuning seeds: fewer over costs more slices."""
    settings = list(grid())
    rows = by_setting(run(settings, TUNED_ON, TUNED_SEEDS[:1]))
    scored = {(policy, setting): means(told, TUNED_ON) for (policy, setting, _), told in rows.items()}
    best = [
        key
        for key, (over, ratio, _) in scored.items()
        if not any(o < over and r < ratio for other, (o, r, _) in scored.items() if other[0] == key[0])
    ]
    return [told for told in settings if told[:2] in best]


def flash(rise_s: int, phase: int) -> Frames:
    """Return a tenfold rise after half an hour, that begins so many seconds after a look."""
    rng = np.random.default_rng([rise_s, phase])
    at = np.arange(FLASH_AT + rise_s + 120)
    rate = FLASH_FPS * (1 + 9 * np.clip((at - FLASH_AT + 1 - phase) / rise_s, 0, 1))
    return rng.poisson(rate).astype(np.int64)


def flashes(start_s: int = START_S, seeds: int = 6) -> list[dict[str, float]]:
    """Return seconds over of one flash, by rise, with the bound for whoever does not know when it begins."""
    found = []
    for rise in (1, 60, 180):
        told = []
        for seed in range(seeds):
            frames = flash(rise, seed % 2)
            policy = Ours(Prices(float(PRICE_S)))
            quiet = np.random.default_rng([7, seed]).poisson(FLASH_FPS, 7200).astype(np.int64)
            simulate(quiet, policy, starts_s=[start_s] * 7200, learnt=(float(start_s),))
            policy.day = 1
            made = simulate(frames, policy, starts_s=[start_s] * len(frames), learnt=(float(start_s),), trace=True)
            ready = made.counts[FLASH_AT - 1]
            told.append((sum(second >= FLASH_AT for second in made.over_at), _bound(rise, ready, start_s)))
        found.append(
            {
                "rise_s": rise,
                "over_s": mean(t for t, _ in told),
                "worst_s": max(t for t, _ in told),
                "bound_s": mean(b for _, b in told),
            }
        )
    return found


def _bound(rise_s: int, ready: int, start_s: int) -> float:
    base = FLASH_FPS / 100
    return start_s + 1 - (rise_s * (ready - base) / (9 * base) if rise_s > 1 else 0)


def summary(rows: list[Row]) -> Iterator[str]:
    for (policy, setting, start_s), told in by_setting(rows).items():
        known = {r.trace for r in told}
        for group, names in (
            ("all eight", TUNED_ON),
            ("forecastable", FORECASTABLE),
            ("surprise", SURPRISE),
            ("held out", HELD_OUT),
        ):
            if set(names) <= known:
                over, ratio, changes = means(told, names)
                told_by = f"{over:.3f} % @ {ratio:.3f}, {changes:.0f} changes/h"
                yield f"{policy:10} {start_s:3} s  {group:12} {told_by}  ({setting})"


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--quick", action="store_true", help="one seed, one price, defaults of the others")
    quick: bool = asked.parse_args().quick
    OUT.mkdir(parents=True, exist_ok=True)
    seeds = FRESH_SEEDS[:1] if quick else FRESH_SEEDS
    mine = [ours(PRICE_S)] if quick else [ours(price) for price in (20, PRICE_S, 100)]
    rows = run(mine, [*TUNED_ON, *HELD_OUT], seeds)
    rows += run([ours(PRICE_S, FEW_CHANGES_S)], TUNED_ON, seeds)
    for start_s in (5, 60):
        rows += run([ours(PRICE_S)], TUNED_ON, seeds, start_s)
    if not quick:
        rows += run([ours(PRICE_S, warm=1)], TUNED_ON, seeds[:1])
    rows += run(DEFAULTS if quick else [*DEFAULTS, *tuned()], [*TUNED_ON, *HELD_OUT], seeds)
    burst = flashes()
    (OUT / "scaling.json").write_text(json.dumps({"rows": [asdict(r) for r in rows], "flashes": burst}, indent=1))
    points = {key: means(told, TUNED_ON) for key, told in by_setting(rows).items() if key[2] == START_S}
    (OUT / "scaling-pareto.svg").write_text(plot.pareto([(k[0], k[1], v[0], v[1]) for k, v in points.items()]))
    print("\n".join(summary(rows)))
    print("\n".join(json.dumps(told) for told in burst))


if __name__ == "__main__":
    main()

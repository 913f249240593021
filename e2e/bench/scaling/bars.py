"""The bars of scaling: what was asked, what was seen, and whether that holds."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from e2e.bench.bars import Bar
from e2e.bench.scaling.flashes import Flash
from e2e.bench.scaling.rows import START_S, Mean, Row, by_setting, mean_of
from e2e.bench.scaling.settings import FEW_CHANGES, KPA_DEFAULT, OURS, PRICE_S, Setting, ours
from e2e.bench.scaling.traces import FORECASTABLE, TUNED_ON

STEP_MORE_S = 3.0
RISE_TIMES = 2.0
JUDGED_RISES_S = (60, 180)
LESS_THAN_DEFAULT = 1 / 3
LESS_THAN_TUNED = 1 / 2.5
MOST_CHANGES = 60.0


def bars(rows: Sequence[Row], tuned: Iterable[Setting], flashes: Iterable[Flash]) -> Iterator[Bar]:
    """Yield all that can be told from these rows."""
    told = by_setting(rows)

    def seen(setting: Setting, start_s: int = START_S, names: Iterable[str] = TUNED_ON) -> Mean | None:
        return mean_of(told.get((*setting.key, start_s), []), names)

    yield from _pair("all eight", seen(ours(PRICE_S)), 0.35, 1.15)
    yield from _pair("the forecastable five", seen(ours(PRICE_S), names=FORECASTABLE), 0.10, 1.13)
    yield from _pair("start 5 s", seen(ours(PRICE_S), 5), 0.20, 1.13)
    yield from _pair("start 60 s", seen(ours(PRICE_S), 60), 0.60, 1.20)
    few = seen(ours(*FEW_CHANGES))
    yield from _pair("few changes", few, 0.40, 1.20)
    if few is not None:
        yield Bar("few changes: changes an hour", few.changes, MOST_CHANGES)
    mine = [
        found for key, of in told.items() if key[0] == OURS and key[2] == START_S if (found := mean_of(of, TUNED_ON))
    ]
    yield from _against("default", [KPA_DEFAULT], mine, seen, LESS_THAN_DEFAULT)
    yield from _against("tuned", tuned, mine, seen, LESS_THAN_TUNED)
    yield from (bar for told_of in flashes if (bar := _flash(told_of)))


def _pair(name: str, seen: Mean | None, over_pct: float, ratio: float) -> Iterator[Bar]:
    if seen is not None:
        yield Bar(f"{name}: % of seconds over", seen.over_pct, over_pct)
        yield Bar(f"{name}: slice-hours ÷ optimum", seen.ratio, ratio)


def _against(
    kind: str,
    others: Iterable[Setting],
    mine: Sequence[Mean],
    seen: Callable[[Setting], Mean | None],
    share: float,
) -> Iterator[Bar]:
    """Yield for each other one the seconds over of ours at no more slice-hours, as a share of its own."""
    for other in others:
        theirs = seen(other)
        if theirs is None:
            continue
        fits = [m.over_pct for m in mine if m.ratio <= theirs.ratio]
        name = f"{kind} {other.policy} ({other.words}) {theirs.over_pct:.3f} % @ {theirs.ratio:.3f}: share of it"
        yield Bar(name, min(fits) / theirs.over_pct if fits else float("inf"), share)


def _flash(told: Flash) -> Bar | None:
    if told.rise_s == 1:
        return Bar("flash at once: seconds over", told.over_s, told.bound_s + STEP_MORE_S)
    if told.rise_s not in JUDGED_RISES_S:
        return None
    return Bar(f"flash over {told.rise_s} s: seconds over", told.over_s, RISE_TIMES * told.bound_s)

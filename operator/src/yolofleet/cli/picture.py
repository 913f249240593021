"""The picture that `top` shows: a table of deployments and bars of slices, as wide as the terminal allows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from yolofleet.api.top import Top, TopDeployment, TopSlice
from yolofleet.cli.printing import cell, table

MIDDLE, WIDE = 90, 130
BAR = 10
FULL_SHARE = 0.95
"""What is served counts as all that is asked for from this share on: rates are never quite equal."""
SORTS: dict[str, Callable[[TopDeployment], float | None]] = {
    "demand": lambda row: row.demand_fps,
    "served": lambda row: row.served_fps,
    "busy": lambda row: row.busy,
    "p99": lambda row: row.p99_ms,
    "queue": lambda row: row.queue_ms,
    "name": lambda _row: None,
}
Figures = tuple[str, Callable[[TopDeployment], Text]]


@dataclass(frozen=True)
class Look:
    """How to show it: columns and lines of the terminal, what sorts, whether namespaces are told, and a note."""

    width: int
    height: int = 10_000
    sort: str = "demand"
    namespaces: bool = False
    note: str = ""


def ordered(rows: Sequence[TopDeployment], sort: str) -> list[TopDeployment]:
    """Return the rows, largest first, unknown figures last, ties by name."""
    figure = SORTS[sort]

    def key(row: TopDeployment) -> tuple[bool, float, str, str]:
        value = figure(row)
        return (value is None, -(value or 0.0), row.namespace, row.name)

    return sorted(rows, key=key)


def picture(top: Top, look: Look) -> RenderableType:
    """Return the whole picture."""
    slices = _slices(top.slices, look)
    room = max(1, look.height - len(slices) - 5)
    rows = ordered(top.deployments, look.sort)
    figures = _columns(look)
    made = table(*(name for name, _ in figures))
    for row in rows[:room]:
        made.add_row(*(figure(row) for _, figure in figures))
    left = len(rows) - room + top.omitted if len(rows) > room else top.omitted
    more = [cell(f"… and {left} more", "dim")] if left else []
    return Group(*_head(top, look), made, *more, Text(), *slices)


def _head(top: Top, look: Look) -> list[Text]:
    served = [row.served_fps for row in top.deployments if row.served_fps is not None]
    wanted = [row.demand_fps for row in top.deployments if row.demand_fps is not None]
    both = f"{rate(sum(served) if served else None)}/{rate(sum(wanted) if wanted else None)} frames/s served/demanded"
    counted = f"{len(top.deployments) + top.omitted} deployments"
    first = Text(f"{top.taken_at}  {counted}  {both}", "bold", no_wrap=True, overflow="ellipsis")
    return [first, *([cell(look.note, "yellow")] if look.note else []), Text()]


def _columns(look: Look) -> list[Figures]:
    """Return the columns that fit: the most telling first."""
    named: list[Figures] = [("namespace", lambda row: cell(row.namespace))] if look.namespaces else []
    named += [("name", lambda row: cell(row.name)), ("ready", _ready), ("fps", _fps), ("p99/objective", _p99)]
    if look.width < MIDDLE:
        return [*named, ("busy", lambda row: share(row.busy))]
    named += [
        ("queue", lambda row: cell(milliseconds(row.queue_ms))),
        ("batch", lambda row: cell("-" if row.mean_batch is None else f"{row.mean_batch:.1f}")),
        ("busy", lambda row: bar(row.busy)),
    ]
    if look.width < WIDE:
        return named
    return [
        *named,
        ("engine", lambda row: share(row.engine_active)),
        ("slices", lambda row: cell(row.slices or "-")),
        ("why", lambda row: cell(row.reason or "-")),
    ]


def _ready(row: TopDeployment) -> Text:
    style = "green" if row.ready >= max(1, row.desired) else "yellow" if row.ready else "red"
    return cell(f"{row.ready}/{row.desired} of {row.min_replicas}–{row.max_replicas}", style)


def _fps(row: TopDeployment) -> Text:
    short = row.served_fps is not None and row.demand_fps and row.served_fps < FULL_SHARE * row.demand_fps
    failed = f" ({rate(row.failed_fps)} fail)" if row.failed_fps else ""
    style = "red" if failed else "yellow" if short else ""
    return cell(f"{rate(row.served_fps)}/{rate(row.demand_fps)}{failed}", style)


def _p99(row: TopDeployment) -> Text:
    late = row.p99_ms is not None and row.objective_ms is not None and row.p99_ms > row.objective_ms
    return cell(f"{milliseconds(row.p99_ms)}/{milliseconds(row.objective_ms)}", "red" if late else "")


def _slices(slices: Sequence[TopSlice] | None, look: Look) -> list[Text]:
    if slices is None:
        return [cell("slices: shown to those who may list migpools (ask for ClusterRole …-view)", "dim")]
    if not slices:
        return [cell("slices: no Ready node offers a GPU or a slice of one", "yellow")]
    width = max(len(found.profile) for found in slices)
    length = max(BAR, min(40, look.width - 60))
    return [
        Text.assemble(
            f"{found.profile:<{width}}  ",
            bar(found.used / found.total if found.total else 0.0, length, percent=False),
            f"  {found.used} of {found.total} used by this fleet",
            f"  {found.product}" if look.width >= MIDDLE else "",
        )
        for found in slices
    ]


def bar(part: float | None, length: int = BAR, *, percent: bool = True) -> Text:
    """Return a bar of a share from 0 to 1; `-` when nobody could see it."""
    if part is None:
        return cell("-")
    full = round(min(1.0, max(0.0, part)) * length)
    told = Text("█" * full + "░" * (length - full), _heat(part))
    return told.append(f" {part:4.0%}") if percent else told


def share(part: float | None) -> Text:
    """Return a share in percent; `-` when nobody could see it."""
    return cell("-") if part is None else cell(f"{part:.0%}", _heat(part))


def _heat(part: float) -> str:
    return "red" if part > 0.95 else "yellow" if part > 0.8 else "green"  # noqa: PLR2004 - 0.8 is the default target


def rate(fps: float | None) -> str:
    """Write frames per second: a decimal below a hundred; `-` when nobody could see them."""
    if fps is None:
        return "-"
    return f"{fps:,.0f}" if fps >= 100 else f"{fps:.3g}"  # noqa: PLR2004 - three digits are enough


def milliseconds(ms: float | None) -> str:
    """Write milliseconds with three digits; `-` when nobody could see them."""
    if ms is None:
        return "-"
    return f"{ms:,.0f} ms" if ms >= 100 else f"{ms:.3g} ms"  # noqa: PLR2004 - three digits are enough

"""The picture of `top`: what it shows at each width, in which order, and that nothing unknown looks like zero."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from yolofleet.api.top import Top, TopDeployment, TopSlice
from yolofleet.cli.picture import Look, bar, milliseconds, ordered, picture, rate


def row(name: str = "gate", **figures) -> TopDeployment:
    told = {"ready": 3, "desired": 4, "min_replicas": 1, "max_replicas": 8, "objective_ms": 50.0, "reason": "AtMax"}
    return TopDeployment(namespace="cams", name=name, **(told | figures))


BUSY = row(demand_fps=702.0, served_fps=690.0, p99_ms=61.2, queue_ms=3.25, mean_batch=5.4, busy=0.83, engine_active=0.6)
SLICES = [TopSlice(product="NVIDIA-H100-80GB-HBM3", profile="1g.10gb", total=7, used=3)]


def shown(top: Top, **look) -> list[str]:
    """Return the lines as a terminal of that width shows them."""
    wanted = Look(**({"width": 160} | look))
    out = io.StringIO()
    Console(file=out, width=wanted.width, no_color=True).print(picture(top, wanted))
    return [line.rstrip() for line in out.getvalue().splitlines()]


def top(*rows: TopDeployment, slices: list[TopSlice] | None = None, omitted: int = 0) -> Top:
    return Top(taken_at="2026-01-01T00:00:00Z", deployments=list(rows), slices=slices, omitted=omitted)


def test_a_wide_picture_has_all_columns_totals_and_bars_of_slices() -> None:
    lines = shown(top(BUSY, slices=SLICES), namespaces=True)
    assert lines[0] == "2026-01-01T00:00:00Z  1 deployments  690/702 frames/s served/demanded"
    heads = lines[2].split()
    assert heads == [
        "NAMESPACE",
        "NAME",
        "READY",
        "FPS",
        "P99/OBJECTIVE",
        "QUEUE",
        "BATCH",
        "BUSY",
        "ENGINE",
        "SLICES",
        "WHY",
    ]
    assert "3/4 of 1–8" in lines[3]
    assert "61.2 ms/50 ms" in lines[3]
    assert "████████░░  83%" in lines[3]
    assert lines[-1].endswith("3 of 7 used by this fleet  NVIDIA-H100-80GB-HBM3")


@pytest.mark.parametrize(("width", "columns"), [(60, 5), (100, 7), (160, 10)])
def test_narrow_terminals_get_fewer_columns_and_no_broken_lines(width, columns) -> None:
    lines = shown(top(BUSY, slices=SLICES), width=width)
    assert len(lines[2].split()) == columns
    assert all(len(line) <= width for line in lines)
    assert len([line for line in lines if "gate" in line]) == 1


def test_what_nobody_could_see_is_a_dash_and_never_zero() -> None:
    (line,) = [line for line in shown(top(row(), slices=SLICES)) if line.startswith("gate")]
    assert line.split()[4:] == ["-/-", "-/50", "ms", "-", "-", "-", "-", "-", "AtMax"]


def test_the_largest_comes_first_the_unknown_last_and_ties_go_by_name() -> None:
    rows = [row("z", demand_fps=5.0), row("b"), row("a", demand_fps=5.0), row("y", demand_fps=9.0)]
    assert [r.name for r in ordered(rows, "demand")] == ["y", "a", "z", "b"]
    assert [r.name for r in ordered(rows, "name")] == ["a", "b", "y", "z"]


def test_what_does_not_fit_is_counted() -> None:
    lines = shown(top(*(row(f"d{n:02}") for n in range(30)), slices=SLICES, omitted=7), height=16)
    assert len([line for line in lines if line.startswith("d")]) == 10
    assert any("… and 27 more" in line for line in lines)
    assert len(lines) <= 16


def test_slices_that_may_not_be_seen_are_told_so_and_none_at_all_too() -> None:
    assert "shown to those who may list migpools" in shown(top())[-1]
    assert "no Ready node offers" in shown(top(slices=[]))[-1]


def test_a_note_stands_above_the_table() -> None:
    assert shown(top(), note="not live: the operator is away")[1] == "not live: the operator is away"


def test_a_name_cannot_steer_the_terminal() -> None:
    assert "\x1b" not in "".join(shown(top(row("gate", reason="\x1b[2J"))))


@pytest.mark.parametrize(
    ("fps", "text"), [(None, "-"), (0.0, "0"), (3.14159, "3.14"), (99.94, "99.9"), (690.4, "690"), (12345.0, "12,345")]
)
def test_rates_have_three_digits(fps, text) -> None:
    assert rate(fps) == text


def test_milliseconds_and_bars_know_their_bounds() -> None:
    assert (milliseconds(None), milliseconds(0.1234), milliseconds(1234.5)) == ("-", "0.123 ms", "1,234 ms")
    assert bar(None).plain == "-"
    assert bar(1.7).plain.startswith("█" * 10)
    assert bar(-0.1).plain.startswith("░" * 10)

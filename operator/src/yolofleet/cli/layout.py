"""`kubectl yolofleet layout`: who sits where on which GPU, in the terminal or as a picture."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Sequence
from typing import Any

from yolofleet.api.fleet import Fleet
from yolofleet.cli.drawing import numbered, shortened, size_of, svg, terminal
from yolofleet.cli.given import filename_argument, given
from yolofleet.cli.printing import as_json, cell
from yolofleet.cli.session import Session
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState
from yolofleet.planning.whatif.fleet import plan_fleet
from yolofleet.planning.whatif.optimum import optima
from yolofleet.planning.whatif.seating import seats_of


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `layout`."""
    filename_argument(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="show all namespaces (the default)")
    parser.add_argument(
        "--planned", action="store_true", help="as the GPUs should be cut (`plan --layouts free`), not as they are"
    )
    parser.add_argument("-o", "--output", choices=("text", "json", "svg"), default="text", help="how to print (text)")
    parser.epilog = "Exit code: 0 drawn, 2 the input cannot be drawn."


async def run(told: argparse.Namespace, session: Session) -> int:
    """Draw the GPUs."""
    rows, words = await _rows(told, session)
    title = summary(rows)
    if told.output == "json":
        session.out.print(as_json({"version": 1, "gpus": [_wire(row) for row in rows], "notes": words}), soft_wrap=True)
    elif told.output == "svg":
        session.out.print(svg(shortened(rows), title), soft_wrap=True, end="")
    else:
        session.out.print(cell(title, "bold"), soft_wrap=True)
        session.out.print(terminal(shortened(rows)), soft_wrap=True)
        for note in words:
            session.out.print(cell(f"note: {note}", "dim"), soft_wrap=True)
    return 0


async def _rows(told: argparse.Namespace, session: Session) -> tuple[list[GpuState], list[str]]:
    seen = await given(told.filename, session, applying=told.planned)
    if isinstance(seen, Fleet):
        return numbered(plan_fleet(seen).gpus), []
    if told.planned:
        found, lost = optima(seen)
        words = [*lost, *(note for one in found for note in one.notes), *seen.unseen.values()]
        return [row for one in found for row in one.rows], words
    seats = seats_of(seen.nodes)
    return list(seats.gpus), [*seats.notes, *seen.unseen.values()]


def summary(rows: Sequence[GpuState]) -> str:
    """Say how many GPUs there are, and how much of them is held."""
    counts = Counter(row.product for row in rows)
    gpus = " + ".join(f"{count} × {product}" for product, count in sorted(counts.items())) or "no GPU"
    total = used = others = 0
    for row in rows:
        for one, owner in row.slices:
            size = size_of(row.product, one)
            total += size
            used += size if owner and owner != FOREIGN else 0
            others += size if owner == FOREIGN else 0
    more = f", {others / total:.0%} by others" if others else ""
    return f"{gpus}: {used / total:.0%} of what is cut is held by this fleet{more}" if total else gpus


def _wire(row: GpuState) -> dict[str, Any]:
    return {
        "name": row.name,
        "product": row.product,
        "slices": [
            {
                "profile": one.profile,
                "start": one.start,
                "owner": "free" if owner is None else "foreign" if owner == FOREIGN else "fleet",
                "deployment": owner if owner and owner != FOREIGN else None,
            }
            for one, owner in row.slices
        ],
    }

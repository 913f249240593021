"""How far estimates lie from what was measured: the law on the rows of a GPU, and its view of slices on MIG profiles.

`python -m tools.bench.estimates [--profiles FOLDER]`: FOLDER holds ParvaGPU's prof_data (an A100-80GB cut by MIG,
eleven models; one process a slice is taken). Of them no graph is known, so each model's two figures are fitted to its
whole GPU, and what is held against the rows is the law's other half: that a slice is slower in proportion to its share.
"""

from __future__ import annotations

import argparse
import csv
import json
import statistics
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from model_repo_builder.estimate import YOLO11N
from yolofleet.api.estimate import H200, LAW, UNSEEN, Rates, Work, batch_ms

ROWS = Path("docs/benchmarks/h200.json")
WORKS: dict[str, Work] = {"yolo11n": YOLO11N}
"""Of the models in the rows, those whose graph was counted."""
WHOLE = 7
"""Compute slices of a GPU that MIG cuts."""


@dataclass(frozen=True)
class Miss:
    """One row; `error` is the estimated time over the measured one, less 1: above 0 the engine is faster than told."""

    model: str
    slices: int
    batch: int
    error: float


def of_engines(rows: Iterable[dict[str, object]], rates: Rates = H200) -> Iterator[Miss]:
    """Yield each engine's row of a model that was counted; slices are SMs here."""
    for row in rows:
        model, sms, batch, took = (row[key] for key in ("model", "sms", "batch", "p50_ms"))
        if row["path"] == "engine" and row["instances"] == 1 and model in WORKS:
            told = batch_ms(LAW, WORKS[str(model)], int(str(batch)), rates, int(str(sms)))
            yield Miss(str(model), int(str(sms)), int(str(batch)), told / float(str(took)) - 1)


def of_slices(folder: Path) -> Iterator[Miss]:
    """Yield each row of one process on a slice, told from the whole GPU's rows of its model."""
    for path in sorted(folder.glob("*.csv")):
        took = _milliseconds(path)
        fixed, each = _fitted([(batch, ms) for (slices, batch), ms in took.items() if slices == WHOLE])
        for (slices, batch), ms in sorted(took.items()):
            if slices != WHOLE:
                yield Miss(path.stem, slices, batch, (fixed + each * batch * WHOLE / slices) / ms - 1)


def _milliseconds(path: Path) -> dict[tuple[int, int], float]:
    """Return what a batch took by slices and batch; no throughput means that memory did not suffice."""
    with path.open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["Workload Number"] == "1" and float(row["Throughput"]) > 0]
    return {
        (int(row["Mig instance"]), batch): batch * 1e3 / float(row["Throughput"])
        for row in rows
        for batch in (int(row["Batch size"]),)
    }


def _fitted(seen: list[tuple[int, float]]) -> tuple[float, float]:
    """Return the fixed milliseconds of a batch and those of a frame, by least squares of relative errors."""
    import numpy as np

    rows = np.array([[1.0 / ms, batch / ms] for batch, ms in seen])
    fixed, each = np.linalg.lstsq(rows, np.ones(len(seen)), rcond=None)[0]
    return float(fixed), float(each)


def table(missed: list[Miss], unit: str, *, each: bool = True) -> list[str]:
    """Return a table by size of slice, and by model if `each`: rows, median, extremes, rows slower than the band."""
    groups: dict[tuple[str, int], list[float]] = {}
    for one in missed:
        groups.setdefault((one.model if each else "all", one.slices), []).append(one.error)
    lines = [f"| model | {unit} | rows | median | from | to | slower than the band |", "|---|---|---|---|---|---|---|"]
    lines += [_line(model, str(slices), groups[model, slices]) for model, slices in sorted(groups)]
    return [*lines, _line("all", "", [one.error for one in missed])]


def _line(model: str, slices: str, errors: list[float]) -> str:
    figures = " | ".join(f"{value:+.0%}" for value in (statistics.median(errors), min(errors), max(errors)))
    return f"| {model} | {slices} | {len(errors)} | {figures} | {_slower(errors)} |"


def _slower(errors: list[float]) -> int:
    """Count the rows in which frames come more slowly than at the lower edge, by which the planner counts."""
    return sum(1 + error < 1 - float(UNSEEN) for error in errors)


def main(arguments: list[str] | None = None) -> int:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m tools.bench.estimates", description=__doc__)
    parser.add_argument("--rows", type=Path, default=ROWS, help="measured engines (default %(default)s)")
    parser.add_argument("--profiles", type=Path, help="folder of ParvaGPU's prof_data")
    parser.add_argument("--each", action="store_true", help="its models one by one")
    asked = parser.parse_args(arguments)
    lines = table(list(of_engines(json.loads(asked.rows.read_text())["rows"])), "SMs")
    if asked.profiles is not None:
        lines += ["", *table(list(of_slices(asked.profiles)), "slices of 7", each=asked.each)]
    sys.stdout.write("\n".join(lines) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

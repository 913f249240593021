"""A published benchmark, ParvaGPU (SC'24): exact optima of its scenarios and their multiples, every proof checked."""

from __future__ import annotations

import csv
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.bench.fleets import found_plan, lattice
from yolofleet.planning.packing import Need, Product, certificate, pack, problem_of, recomputed_bound

MODELS = [
    "bert",
    "densenet121",
    "densenet169",
    "densenet201",
    "inceptionv3",
    "mobilenetv2",
    "resnet101",
    "resnet152",
    "resnet50",
    "vgg16",
    "vgg19",
]
OPTIMA = {5: (2, 3, 5, 7, 12, 15), 3: (2, 3, 5, 7, 12, 16), 1: (2, 3, 5, 7, 13, 17)}
MULTIPLES = (1, 10, 50, 100)
PROFILES = {1: "1g.10gb", 2: "2g.20gb", 3: "3g.40gb", 4: "4g.40gb", 7: "7g.80gb"}
# The artefact takes latencies below 0.45 of the objective, and cuts objectives to whole milliseconds.
LATENCY_SHARE = 0.45


@dataclass(frozen=True)
class ParvaRow:
    """One scenario of the artefact, at so many processes per slice and so many times its rates."""

    scenario: int
    processes: int
    multiple: int
    gpus: int
    lower_bound: int
    checked_bound: float
    seconds: float
    cpu_seconds: float


def parvagpu(folder: Path) -> Iterator[ParvaRow]:
    """Solve the artefact's scenarios, and check every proof without the solver."""
    for multiple in MULTIPLES:
        for processes in OPTIMA:
            for scenario in range(1, 7):
                yield _parva_row(folder, scenario, processes, multiple)


def _parva_row(folder: Path, scenario: int, processes: int, multiple: int) -> ParvaRow:
    stock = [Product("A100-80GB", lattice("A100-80GB", iter(PROFILES.values())))]
    needs = parva_needs(folder, scenario, processes, multiple)
    wall, cpu = time.perf_counter(), time.process_time()
    found = found_plan(pack(problem_of(stock, needs)))
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    checked = recomputed_bound(stock, needs, certificate(found))
    return ParvaRow(scenario, processes, multiple, int(found.gpus.sum()), round(found.bound), checked, wall, cpu)


def parva_needs(folder: Path, scenario: int, processes: int, multiple: int) -> list[Need]:
    """Read one scenario: per model the best throughput of each slice size among rows that meet the objective."""
    objectives, rates = (
        list(csv.reader((folder / "SLO" / name).open()))[scenario - 1]
        for name in ("SLO_latency.csv", "SLO_req_rate.csv")
    )
    needs = []
    for at, model in enumerate(MODELS):
        if rates[at] in ("N/A", ""):
            continue
        rows = list(csv.reader((folder / "prof_data" / f"{model}.csv").open()))[1:]
        longest = int(float(objectives[at])) / 1000 * LATENCY_SHARE
        best: dict[tuple[str, str], float] = {}
        for size, _, procs, each, latency, *_ in (map(float, row) for row in rows):
            if procs <= processes and each > 0 and latency < longest:
                kind = ("A100-80GB", PROFILES[int(size)])
                best[kind] = max(best.get(kind, 0.0), procs * each)
        needs.append(Need(model, float(rates[at]) * multiple, best))
    return needs


def judge_parvagpu(rows: list[ParvaRow]) -> list[str]:
    """Say where the known optimum, or the bound, is missed."""
    missed = []
    for row in rows:
        name = f"S{row.scenario} ×{row.multiple}, ≤ {row.processes} processes"
        if row.checked_bound < row.lower_bound - 1 + 1e-6:
            missed.append(f"{name}: the checker proves {row.checked_bound:.3f} only")
        if row.multiple == 1 and row.gpus != OPTIMA[row.processes][row.scenario - 1]:
            missed.append(f"{name}: {row.gpus} GPUs, {OPTIMA[row.processes][row.scenario - 1]} are the optimum")
        if row.gpus - row.lower_bound > (0 if row.multiple <= MULTIPLES[1] else 1):
            missed.append(f"{name}: {row.gpus} GPUs, the bound is {row.lower_bound}")
    return missed

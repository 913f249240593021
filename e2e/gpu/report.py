"""One file of all rows, and what they say: `python -m e2e.gpu.report --out OUT --json docs/benchmarks/h200.json`.

Ratios are taken within one run only. An engine counts as best where its own gate passed and it lost 0.01 of mAP50-95
at most; where no row judges it, the report says so and does not count it.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

Row = dict[str, Any]
LARGEST_DROP = 0.01
RIVALS = ("torch_eager", "torch_compile", "ultralytics_engine")
HEAD = ("gpu", "sms", "tensorrt", "torch", "date")


def merged(folder: Path) -> Row:
    """Return the rows of a folder as h200.json has them, each with its run and each run with its command."""
    told: Row = {"rows": [], "runs": {}, "builds": [], "accuracy": []}
    for path in sorted((folder / "rows").glob("*.json")):
        read = json.loads(path.read_text())
        if not isinstance(read, dict):  # a step that writes a plain list
            told[path.stem] = read[0] if path.stem == "rates" else read
            continue
        told = {**{name: read[name] for name in HEAD if name in read}, **told}
        told["runs"][path.stem] = read.get("command")
        rows = [{**row, "run": path.stem} for row in read["rows"]]
        told["accuracy" if path.stem.startswith("accuracy") else "rows"] += rows
    for path in sorted((folder / "engines").glob("*.json")):
        told["builds"].append({**json.loads(path.read_text()), "cache": path.name.split(".")[-2]})
    return told


def passing(accuracy: Sequence[Row]) -> set[str]:
    """Return the engines that see what their model sees."""
    before = {row["model"]: row["map50_95"] for row in accuracy if row["path"] == "torch" and "map50_95" in row}
    engines = [row for row in accuracy if row["path"] == "engine" and "map50_95" in row and row["model"] in before]
    return {row["engine"] for row in engines if _passes(row, before[row["model"]])}


def _passes(row: Row, before: float) -> bool:
    """FP16 must pass the gate box by box; INT8 and FP8 have mAP for it, as the builder's own bars do."""
    coarse = any(f"-{precision}-" in row["engine"] for precision in ("INT8", "FP8"))
    return bool(before - row["map50_95"] <= LARGEST_DROP and (coarse or not row["failings"]))


def ratios(told: Row) -> Iterator[Row]:
    """Yield, for each run, model and batch, the fastest engine that passed, and how many times each rival it serves."""
    passed = passing(told["accuracy"])
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in told["rows"]:
        if "images_per_s" in row and row.get("instances", 1) == 1 and row.get("sms") in (None, told.get("sms")):
            groups.setdefault((row["run"], row["model"], row["batch"]), []).append(row)
    for (run, model, batch), rows in groups.items():
        engines = [row for row in rows if row["path"] == "engine"]
        good = [row for row in engines if row.get("engine") in passed]
        if best := max(good or engines, key=_rate, default=None):
            base = {"run": run, "model": model, "batch": batch, "engine": best.get("engine"), "judged": bool(good)}
            yield {**base, "images_per_s": best["images_per_s"], **_against(best, rows)}


def _against(best: Row, rows: Sequence[Row]) -> Mapping[str, float]:
    told = {path: [row for row in rows if row["path"] == path] for path in RIVALS}
    fastest = {path: max(map(_rate, some)) for path, some in told.items() if some}
    return {path: round(_rate(best) / rate, 2) for path, rate in fastest.items()}


def _rate(row: Row) -> float:
    return float(row["images_per_s"])


def table(found: Sequence[Row]) -> str:
    """Return the ratios as a table in Markdown."""
    names = ("run", "model", "batch", "engine", "images/s", "eager", "compile", "Ultralytics")
    lines = [f"| {' | '.join(names)} |", "|---" * len(names) + "|"]
    for row in found:
        name = row["engine"] if row["judged"] else f"{row['engine']} (not judged)"
        against = " | ".join(str(row.get(path, "")) for path in RIVALS)
        lines.append(f"| {row['run']} | {row['model']} | {row['batch']} | {name} | {row['images_per_s']} | {against} |")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--out", type=Path, required=True, help="the benchmark's folder")
    made.add_argument("--json", type=Path, help="where the rows go, all in one")
    return made


def main() -> int:
    """Merge, write, and print the table."""
    asked = parser().parse_args()
    told = merged(asked.out)
    found = list(ratios(told))
    if asked.json:
        asked.json.write_text(json.dumps({**told, "ratios": found}, indent=1) + "\n")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())

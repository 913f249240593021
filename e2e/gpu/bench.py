"""Measures engines beside torch and Ultralytics' own on this GPU: `python -m e2e.gpu.bench --models M --out O …`.

Every ratio is taken within one run of this program; its rows go to --rows as they come.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from e2e.gpu import rivals
from e2e.gpu.engines import Runner, Step, plans_of, timed
from model_repo_builder import cuda_device, engine_from_onnx

Row = dict[str, Any]


class Sheet:
    """Rows of one run, written as they come: the next one may take minutes."""

    def __init__(self, target: Path) -> None:
        device = cuda_device.look()
        self._target = target
        self._told: dict[str, Any] = {
            "gpu": device.name if device else None,
            "sms": device.sm_count if device else None,
            "tensorrt": engine_from_onnx.installed_version(),
            "torch": torch.__version__,
            "date": time.strftime("%Y-%m-%d"),
            "command": " ".join([f"python -m e2e.gpu.{Path(sys.argv[0]).stem}", *sys.argv[1:]]),
            "rows": [],
        }

    def add(self, row: Row) -> None:
        """Keep a row, and show it."""
        self._told["rows"].append(row)
        self._target.write_text(json.dumps(self._told, indent=1) + "\n")
        print(json.dumps(row), flush=True)


def of_batch(asked: argparse.Namespace, batch: int, sheet: Sheet) -> None:
    """Measure every way at one batch."""
    base = {"model": asked.model, "batch": batch, "sms": 132, "instances": 1}
    for plan in plans_of(asked.out, asked.model, batch):
        precision = plan.stem.removeprefix(f"{asked.model}-").split("-")[0]
        with told(sheet, {**base, "precision": precision, "path": "engine", "engine": plan.name}) as row:
            runner = Runner(plan, batch)
            row.update(asdict(timed(runner.graphed(), runner.stream, batch)))
            row["p50_no_graph_ms"] = timed(runner.step, runner.stream, batch).p50_ms
    checkpoint, fp16 = asked.models / f"{asked.model}.pt", {**base, "precision": "FP16"}
    engine = asked.out / f"ultralytics-{asked.model}-b{batch}" / f"{asked.model}.engine"
    if engine.is_file():
        with told(sheet, {**fp16, "path": "ultralytics_engine"}) as row:
            row.update(measured(rivals.ultralytics_engine(engine, batch), batch))
    with told(sheet, {**fp16, "path": "torch_eager"}) as row:
        row.update(measured(rivals.eager(checkpoint, batch), batch))
    for mode in asked.torch_compile:
        with told(sheet, {**fp16, "path": "torch_compile", "mode": mode}) as row:
            stream, began = torch.cuda.Stream(), time.monotonic()
            step = rivals.compiled(checkpoint, batch, mode, stream)
            row["compile_s"] = round(time.monotonic() - began, 1)
            row.update(asdict(timed(step, stream, batch)))


def measured(step: Step, batch: int) -> Row:
    """Time a step on a stream of its own."""
    return asdict(timed(step, torch.cuda.Stream(), batch))


class told:  # noqa: N801 - reads as a word
    """Add the row when the block is done; an error becomes a row too, and the run goes on."""

    def __init__(self, sheet: Sheet, row: Row) -> None:
        self._sheet, self._row = sheet, row

    def __enter__(self) -> Row:
        return self._row

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if error is not None:
            self._row["error"] = f"{type(error).__name__}: {error}"[:300]
        self._sheet.add(self._row)
        return error is None or isinstance(error, Exception)


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--models", type=Path, required=True, help="NAME.pt and NAME.onnx")
    made.add_argument("--out", type=Path, required=True, help="where the engines are")
    made.add_argument("--rows", type=Path, required=True)
    made.add_argument("--model", required=True)
    made.add_argument("--batch", type=int, action="append", required=True)
    made.add_argument("--torch-compile", action="append", default=[], choices=["default", "max-autotune"])
    return made


def main() -> int:
    """Measure and write."""
    asked = parser().parse_args()
    sheet = Sheet(asked.rows)
    with torch.inference_mode():
        for batch in asked.batch:
            of_batch(asked, batch, sheet)
    return 0


if __name__ == "__main__":
    sys.exit(main())

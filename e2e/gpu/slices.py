"""Throughput by slice, batch and instances: NVIDIA's MPS stands in for MIG slices (SMs limited, memory shared).

`python -m e2e.gpu.slices --models M --out O --rows R --model yolo11n --batch 1 --batch 8`. One process a slice, alone
all at once; each replays its own CUDA graph and waits for it, as an instance of Triton does.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

WHOLE = 132
LAYOUTS = {16: 8, 32: 4, 64: 2, WHOLE: 4}
"""SMs of a slice, and how many processes: as many as fit on an H200; on the whole GPU several instances."""
SECONDS, REPEATS = 0.3, 5
START_S = 0.05
"""From the order to the start, so that all begin at once."""
Figures = tuple[float, float, float]


def work(pipe: Connection, models: Path, out: Path, model: str) -> None:
    """Run one process of a slice: load and run as told."""
    import torch

    from e2e.gpu import rivals
    from e2e.gpu.engines import Runner, plans_of

    pipe.send(torch.cuda.get_device_properties(0).multi_processor_count)
    stream, step = torch.cuda.Stream(), None
    with torch.inference_mode():
        while (order := pipe.recv()) is not None:
            kind, value, when = order
            if kind == "engine":
                step = None
                step = Runner(plans_of(out, model, value)[0], value, stream).graphed()
                pipe.send("ready")
            elif kind == "torch_compile":
                step = rivals.compiled(models / f"{model}.pt", value, "default", stream)
                pipe.send("ready")
            else:
                pipe.send(_waits(step, stream, when))


def _waits(step: Any, stream: Any, when: float) -> list[float]:
    import torch

    waits = []
    with torch.cuda.stream(stream):
        while time.time() < when:
            pass
        end = time.perf_counter() + SECONDS
        while (began := time.perf_counter()) < end:
            step()
            stream.synchronize()
            waits.append((time.perf_counter() - began) * 1e3)
    return waits


class Slices:
    """The processes of one layout."""

    def __init__(self, asked: argparse.Namespace, sms: int, count: int) -> None:
        os.environ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = f"{100 * sms / WHOLE + 0.01:.2f}" if sms < WHOLE else "100"
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, asked.models, asked.out, asked.model), daemon=True)
            process.start()
            theirs.close()
            self._pipes.append(ours)
            self._processes.append(process)
        self.sms = [pipe.recv() for pipe in self._pipes]

    def load(self, kind: str, batch: int, count: int) -> None:
        """Make the first `count` processes ready to run one way at one batch."""
        for pipe in self._pipes[:count]:
            pipe.send((kind, batch, 0.0))
        for pipe in self._pipes[:count]:
            pipe.recv()

    def run(self, batch: int, count: int) -> dict[str, float]:
        """Run `count` processes at once; medians of repeats."""
        figures = [self._once(batch, count) for _ in range(REPEATS + 1)][1:]
        p50, p99, rate = (float(np.median(column)) for column in zip(*figures, strict=True))
        return {"p50_ms": round(p50, 4), "p99_ms": round(p99, 4), "images_per_s": round(rate, 1)}

    def _once(self, batch: int, count: int) -> Figures:
        when = time.time() + START_S
        for pipe in self._pipes[:count]:
            pipe.send(("run", batch, when))
        waits: list[list[float]] = [pipe.recv() for pipe in self._pipes[:count]]
        everything = [wait for kept in waits for wait in kept]
        rate = sum(batch * len(kept) / (sum(kept) / 1e3) for kept in waits)
        return float(np.percentile(everything, 50)), float(np.percentile(everything, 99)), rate

    def end(self) -> None:
        """Let the processes go."""
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(10)


@contextmanager
def multi_process_service() -> Iterator[None]:
    """Start MPS for this program's own processes, and end it again."""
    with tempfile.TemporaryDirectory(prefix="mps-") as folder:
        own = {"CUDA_MPS_PIPE_DIRECTORY": folder, "CUDA_MPS_LOG_DIRECTORY": folder}
        os.environ |= own
        subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True, timeout=30)
        try:
            yield
        finally:
            subprocess.run(["nvidia-cuda-mps-control"], input=b"quit\n", check=False, timeout=30)
            for name in own:
                os.environ.pop(name)


def rows_of(asked: argparse.Namespace, sms: int, most: int) -> Iterator[dict[str, Any]]:
    """Yield the rows of one layout: a process alone, all at once; on the whole GPU 1, 2, 4 instances."""
    slices = Slices(asked, sms, most)
    base = {"model": asked.model, "precision": "FP16", "sms": sms, "sms_seen": slices.sms[0]}
    counts = [1, 2, 4] if sms == WHOLE else [1, most]
    for batch in asked.batch:
        slices.load("engine", batch, most)
        for count in counts:
            yield {**base, "path": "engine", "batch": batch, "instances": count, **slices.run(batch, count)}
    for batch in asked.torch_batch:
        slices.load("torch_compile", batch, 1)
        yield {**base, "path": "torch_compile", "batch": batch, "instances": 1, **slices.run(batch, 1)}
    slices.end()


def main() -> int:
    """Measure and write."""
    from e2e.gpu.bench import Sheet

    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("models", "out", "rows"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--batch", type=int, action="append", required=True)
    parser.add_argument("--torch-batch", type=int, action="append", default=[], help="measure torch.compile too, alone")
    asked = parser.parse_args()
    sheet = Sheet(asked.rows)
    with multi_process_service():
        for sms, most in LAYOUTS.items():
            try:
                for row in rows_of(asked, sms, most):
                    sheet.add(row)
            except (EOFError, OSError, RuntimeError) as error:
                sheet.add({"sms": sms, "error": f"{type(error).__name__}: {error}"})
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Throughput by slice, batch and instances, where MIG is not to be had: SMs are limited, memory is shared.

`python -m e2e.gpu.slices --by green --models M --out O --rows R --model yolo11n --batch 1 --batch 8`. By NVIDIA's MPS
one process a slice, by green contexts one thread; alone, then all at once. Each replays its own CUDA graph and waits
for it, as an instance of Triton does.
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
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
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


def plan_of(asked: argparse.Namespace, batch: int) -> Path:
    """Return the engine of one batch, of the kind that is asked for."""
    folder: Path = asked.out
    return folder / f"{asked.model}-FP16-b{batch}{asked.kind}.plan"


def work(pipe: Connection, asked: argparse.Namespace) -> None:
    """Run one process of a slice: load and run as told."""
    import torch

    from e2e.gpu import rivals
    from e2e.gpu.engines import Runner

    pipe.send(torch.cuda.get_device_properties(0).multi_processor_count)
    stream, step = torch.cuda.Stream(), None
    with torch.inference_mode():
        while (order := pipe.recv()) is not None:
            kind, value, when = order
            if kind == "engine":
                step = None
                step = Runner(plan_of(asked, value), value, stream).graphed()
                pipe.send("ready")
            elif kind == "torch_compile":
                step = rivals.compiled(asked.models / f"{asked.model}.pt", value, "default", stream)
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


def percentage(sms: int) -> str:
    """Return what MPS is told so that a process sees that many SMs: it rounds down."""
    return f"{100 * sms / WHOLE + 0.01:.2f}" if sms < WHOLE else "100"


class Processes:
    """One process a slice, under MPS."""

    def __init__(self, asked: argparse.Namespace, sms: int, count: int) -> None:
        os.environ["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = percentage(sms)
        context = multiprocessing.get_context("spawn")
        self._pipes: list[Connection] = []
        self._processes = []
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(theirs, asked), daemon=True)
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

    def waits(self, count: int) -> list[list[float]]:
        """Run `count` processes at once; return the latencies of each."""
        when = time.time() + START_S
        for pipe in self._pipes[:count]:
            pipe.send(("run", 0, when))
        return [pipe.recv() for pipe in self._pipes[:count]]

    def end(self) -> None:
        """Let the processes go."""
        for pipe in self._pipes:
            pipe.send(None)
        for process in self._processes:
            process.join(10)


class Threads:
    """One thread a slice, its stream on SMs of its own."""

    def __init__(self, asked: argparse.Namespace, sms: int, count: int) -> None:
        import torch

        from e2e.gpu import green

        whole = sms >= WHOLE
        self._streams = [torch.cuda.Stream() for _ in range(count)] if whole else green.streams(sms, count)
        self._asked, self._steps = asked, list[Any]()
        self.sms = [sms] * count

    def load(self, kind: str, batch: int, count: int) -> None:
        """Make the first `count` threads ready to run one way at one batch."""
        from e2e.gpu import rivals
        from e2e.gpu.engines import Runner

        asked, self._steps = self._asked, []
        for stream in self._streams[:count]:
            if kind == "engine":
                self._steps.append(Runner(plan_of(asked, batch), batch, stream).graphed())
            else:
                checkpoint = asked.models / f"{asked.model}.pt"
                self._steps.append(rivals.compiled(checkpoint, batch, "default", stream))

    def waits(self, count: int) -> list[list[float]]:
        """Run `count` threads at once; return the latencies of each."""
        when = time.time() + START_S
        with ThreadPoolExecutor(count) as pool:
            told = [pool.submit(_waits, self._steps[at], self._streams[at], when) for at in range(count)]
            return [each.result() for each in told]

    def end(self) -> None:
        """Let the engines go."""
        self._steps.clear()


def figures(slices: Processes | Threads, batch: int, count: int) -> dict[str, float]:
    """Run `count` slices at once; medians of repeats, the first being left out."""
    kept = [summed(batch, slices.waits(count)) for _ in range(REPEATS + 1)][1:]
    p50, p99, rate = (float(np.median(column)) for column in zip(*kept, strict=True))
    return {"p50_ms": round(p50, 4), "p99_ms": round(p99, 4), "images_per_s": round(rate, 1)}


def summed(batch: int, waits: list[list[float]]) -> Figures:
    """Return median and 99th percentile of all latencies, and images per second of all together."""
    everything = [wait for kept in waits for wait in kept]
    rate = sum(batch * len(kept) / (sum(kept) / 1e3) for kept in waits)
    return float(np.percentile(everything, 50)), float(np.percentile(everything, 99)), rate


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
    """Yield the rows of one layout: a slice alone, all at once; on the whole GPU 1, 2, 4 instances."""
    slices = Processes(asked, sms, most) if asked.by == "mps" else Threads(asked, sms, most)
    base = {"model": asked.model, "precision": "FP16", "sms": sms, "sms_seen": slices.sms[0], "by": asked.by}
    counts = [1, 2, 4] if sms == WHOLE else [1, most]
    for batch in asked.batch:
        slices.load("engine", batch, most)
        for count in counts:
            yield {**base, "path": "engine", "batch": batch, "instances": count, **figures(slices, batch, count)}
    for batch in asked.torch_batch:
        slices.load("torch_compile", batch, 1)
        yield {**base, "path": "torch_compile", "batch": batch, "instances": 1, **figures(slices, batch, 1)}
    slices.end()


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    for name in ("models", "out", "rows"):
        made.add_argument(f"--{name}", type=Path, required=True)
    made.add_argument("--by", choices=["mps", "green"], required=True)
    made.add_argument("--sms", type=int, action="append", choices=sorted(LAYOUTS), help="default: all")
    made.add_argument("--model", required=True)
    made.add_argument("--kind", default="", help="end of the engines' names: --kind=-on16")
    made.add_argument("--batch", type=int, action="append", required=True)
    made.add_argument("--torch-batch", type=int, action="append", default=[], help="measure torch.compile too, alone")
    return made


def main() -> int:
    """Measure and write."""
    asked = parser().parse_args()
    from e2e.gpu.bench import Sheet

    sheet = Sheet(asked.rows)
    with multi_process_service() if asked.by == "mps" else nullcontext():
        for sms in asked.sms or LAYOUTS:
            try:
                for row in rows_of(asked, sms, LAYOUTS[sms]):
                    sheet.add(row)
            except (EOFError, OSError, RuntimeError) as error:
                sheet.add({"sms": sms, "by": asked.by, "error": f"{type(error).__name__}: {error}"[:300]})
    return 0


if __name__ == "__main__":
    sys.exit(main())

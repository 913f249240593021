"""Runs in a pod: existing Ultralytics connections and an open-loop stream, counting every failure.

Keeps `--clients` cameras busy, each a process of its own with one `YOLO("grpc://…")` (in one process gRPC would share
one connection among all of them), each at a fixed rate whatever the answers take, and prints one line of JSON a
second: requests answered, failed, and the failures' words. No retry: a failure is a failure.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import queue
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

OK = "ok"
STOP = Path("/tmp/stop")
"""Whoever has seen enough makes this file."""


def camera(url: str, size: int, period_s: float, until: float, phase_s: float, told: Any, over: Any) -> None:
    """Send one frame each period until the end or the stop; being late is never caught up with a burst."""
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(1)
    frame = np.zeros((size, size, 3), np.uint8)
    model = YOLO(url, task="detect")
    due = time.monotonic() + phase_s
    while due < until and not over.is_set():
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            model.predict(frame, verbose=False)
            told.put(OK)
        except Exception as error:  # noqa: BLE001 - every failure is counted with its words
            told.put(f"{type(error).__name__}: {str(error)[:200]}")
        due = max(due + period_s, time.monotonic())


def drain(told: Any, totals: Counter[str]) -> None:
    """Count what the cameras told since the last look."""
    while True:
        try:
            totals[told.get_nowait()] += 1
        except queue.Empty:
            return


def main() -> int:
    """Connect all clients, stream, report each second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2.0, help="frames per second of each client")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--size", type=int, default=64)
    asked = parser.parse_args()
    import ultralytics  # noqa: F401 - imported once, before the cameras fork off

    context = multiprocessing.get_context("fork")
    told: Any = context.Queue()
    over = context.Event()
    started = time.monotonic()
    until, period = started + asked.seconds, 1 / asked.rate
    cameras = [
        context.Process(
            target=camera,
            args=(asked.url, asked.size, period, until, index * period / asked.clients, told, over),
            daemon=True,
        )
        for index in range(asked.clients)
    ]
    for process in cameras:
        process.start()
    totals: Counter[str] = Counter()
    while any(process.is_alive() for process in cameras):
        time.sleep(1)
        if STOP.exists():
            over.set()
        drain(told, totals)
        errors = {words: count for words, count in totals.items() if words != OK}
        line = {"at": round(time.monotonic() - started, 1), "ok": totals[OK], "failed": sum(errors.values())}
        sys.stdout.write(json.dumps(line | {"errors": errors}) + "\n")
        sys.stdout.flush()
    return 0 if all(process.exitcode == 0 for process in cameras) else 1


if __name__ == "__main__":
    sys.exit(main())

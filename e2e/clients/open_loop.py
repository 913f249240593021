"""Runs in a pod: existing Ultralytics connections and an open-loop stream, counting every failure.

Keeps `--clients` `YOLO("grpc://…")` objects busy, each at a fixed rate whatever the answers take, and prints one line
of JSON a second: requests, failures (with their words), late ones. No retry: a failure is a failure.
"""

from __future__ import annotations

import argparse
import json
import sys
import threading
import time
from collections import Counter
from typing import Any

import numpy as np

totals: Counter[str] = Counter()
errors: Counter[str] = Counter()
lock = threading.Lock()


def stream(model: Any, frame: np.ndarray, period_s: float, until: float, phase_s: float) -> None:
    """Send one frame each period until the end; being late is counted, never caught up with a burst."""
    due = time.monotonic() + phase_s
    while due < until:
        time.sleep(max(0.0, due - time.monotonic()))
        try:
            model.predict(frame, verbose=False)
            outcome = "ok"
        except Exception as error:  # noqa: BLE001 - every failure is counted with its words
            outcome = "failed"
            with lock:
                errors[f"{type(error).__name__}: {str(error)[:200]}"] += 1
        with lock:
            totals[outcome] += 1
        due = max(due + period_s, time.monotonic())


def main() -> int:
    """Connect all clients, stream, report each second."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rate", type=float, default=2.0, help="frames per second of each client")
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--size", type=int, default=64)
    asked = parser.parse_args()
    import torch
    from ultralytics import YOLO

    torch.set_num_threads(1)
    frame = np.zeros((asked.size, asked.size, 3), np.uint8)
    models = [YOLO(asked.url, task="detect") for _ in range(asked.clients)]
    for model in models:
        model.predict(frame, verbose=False)
    started = time.monotonic()
    until, period = started + asked.seconds, 1 / asked.rate
    threads = [
        threading.Thread(target=stream, args=(model, frame, period, until, index * period / asked.clients), daemon=True)
        for index, model in enumerate(models)
    ]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        time.sleep(1)
        with lock:
            told = {"at": round(time.monotonic() - started, 1), **totals, "errors": dict(errors)}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

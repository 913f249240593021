"""Runs the whole benchmark: `python -m e2e.gpu.everything --out FOLDER`; a second run goes on where one ended.

Builds run side by side; a measurement has the GPU alone, everything else is stopped for as long as it takes.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

BESIDE = 5
"""Builds at once: a build is bound by one core for much of its time."""
BATCHES = (1, 8, 32)
SHAPES = "model_repo_builder/src/model_repo_builder/weights/yolo26n-shapes.pt"
SETTLE_S = 1.0
"""What stopped processes have in flight ends within this."""


@dataclass(frozen=True)
class Step:
    """One command; `alone`: nothing else runs beside it. It waits for what it `needs` to have ended."""

    name: str
    command: str
    needs: tuple[str, ...] = ()
    alone: bool = False
    limit_s: int = 1500


def steps(out: Path) -> list[Step]:
    """Return all steps, the most wanted first."""
    return [*_models(out), *_builds(out), *_measurements(out)]


def _common(out: Path) -> str:
    return f"--models {out}/models --out {out}/engines"


def build(out: Path, model: str, batch: int, options: str = "", needs: tuple[str, ...] = ("models",)) -> Step:
    """Return the step that compiles one engine, with the timing cache of its model and batch."""
    name = "-".join(["build", model, f"b{batch}", *options.replace("--", "").split()])
    cache = f"{out}/engines/timing-{model}-b{batch}.cache"
    return Step(name, f"e2e.gpu.build {_common(out)} {model} --batch {batch} --cache {cache} {options}", needs)


def rival(out: Path, model: str, batch: int, mode: str = "") -> Step:
    """Return the step that makes Ultralytics' own engine, or fills torch.compile's cache."""
    name, option = (f"compile-{mode}", f"--compile {mode}") if mode else ("ultralytics", "")
    command = f"e2e.gpu.rivals {_common(out)} {model} --batch {batch} {option}"
    return Step(f"{name}-{model}-b{batch}", command, ("models",))


def _models(out: Path) -> list[Step]:
    trained = f"yolo11n={out}/train-yolo11n/yolo11n-shapes.pt"
    train = f"e2e.shapes.train --data {out}/shapes/data.yaml --workers 15 --no-evaluation"
    return [
        Step("shapes", f"e2e.shapes.generate --out {out}/shapes --train 3000 --val 300 --classes 80"),
        Step(
            "train-yolo11n", f"{train} --out {out}/train-yolo11n --model yolo11n --time 0.019", ("shapes",), limit_s=150
        ),
        Step("models", f"e2e.gpu.models --out {out}/models {trained} yolo26n={SHAPES} yolo11m", ("train-yolo11n",)),
    ]


def _builds(out: Path) -> list[Step]:
    product = (
        f"model_repo_builder build --model {SHAPES} --backend TensorRT --optimization-level 1 "
        f"--pictures {out}/shapes/images/val --out {out}/store"
    )
    cached = [build(out, "yolo11n", batch, "--free") for batch in (8, 32)]
    frames = [
        build(out, "yolo11n", batch, "--free --frames endpoint", (f"build-yolo11n-b{batch}-free",)) for batch in (8, 32)
    ]
    calibrate = f"e2e.gpu.calibrate --models {out}/models --data {out}/shapes --frames 32"
    return [
        *cached,
        *frames,
        rival(out, "yolo11n", 8),
        rival(out, "yolo11n", 1),
        *[rival(out, "yolo11n", batch, "default") for batch in (8, 1, 32)],
        Step("product", f"{product} --termination-log {out}/logs/product.json", ("models",)),
        Step("product-int8", f"{product} --precision INT8 --termination-log {out}/logs/int8.json", ("product",)),
        rival(out, "yolo11n", 8, "max-autotune"),
        Step("calibrate-yolo11m", f"{calibrate} yolo11m", ("models",)),
        build(out, "yolo11m", 8, "--level 1"),
        build(out, "yolo11m", 8, "--precision INT8 --level 1", ("calibrate-yolo11m",)),
        rival(out, "yolo11n", 32),
    ]


def _measurements(out: Path) -> list[Step]:
    rows, common, data = f"{out}/rows", _common(out), f"--data {out}/shapes"
    first = tuple(f"build-yolo11n-b{batch}-free" for batch in (8, 32))
    compiled = tuple(f"compile-default-yolo11n-b{batch}" for batch in BATCHES)
    own = tuple(f"ultralytics-yolo11n-b{batch}" for batch in (1, 8))
    frames = tuple(f"{name}-frames-endpoint" for name in first)
    plans = " ".join(f"{out}/engines/yolo11n-FP16-p1.{batch}.{batch}.plan" for batch in (8, 32))
    yolo11m = ("build-yolo11m-b8-level-1", "build-yolo11m-b8-precision-INT8-level-1")
    batches = " ".join(f"--batch {batch}" for batch in (8, 1, 32))

    def alone(name: str, command: str, *needs: str) -> Step:
        return Step(name, command, needs, alone=True, limit_s=240)

    def bench(name: str, options: str, *needs: str) -> Step:
        return alone(name, f"e2e.gpu.bench {common} --rows {rows}/{name}.json {options}", *needs)

    slices = f"e2e.gpu.slices {common} --model yolo11n"
    default = "--torch-compile default"
    return [
        alone("rates", f"e2e.gpu.roofline rates --rows {rows}/rates.json", *first),
        bench("bench-early", f"--model yolo11n {batches}", *first),
        alone("accuracy", f"e2e.gpu.accuracy {common} {data} --rows {rows}/accuracy.json --model yolo11n", *first),
        alone("slices", f"{slices} --rows {rows}/slices.json {batches} --torch-batch 8", *first, *compiled),
        alone("layers", f"e2e.gpu.roofline layers {plans} --rows {rows}/layers.json", *first),
        alone("first", f"e2e.gpu.roofline first {plans} --rows {rows}/first.json", *first),
        bench("bench-yolo11n", f"--model yolo11n {batches} {default}", *first, *compiled, *own),
        alone(
            "frames",
            f"e2e.gpu.frames {common} {data} --rows {rows}/frames.json --model yolo11n --batch 8 --batch 1",
            *frames,
            *own,
        ),
        bench(
            "bench-autotune",
            f"--model yolo11n --batch 8 --torch-compile max-autotune {default}",
            "compile-max-autotune-yolo11n-b8",
        ),
        bench("bench-yolo11m", "--model yolo11m --batch 8", *yolo11m),
        bench("bench-b32", "--model yolo11n --batch 32", "ultralytics-yolo11n-b32"),
    ]


class Run:
    """Runs steps, and remembers in a file which ones ended."""

    def __init__(self, out: Path) -> None:
        self._out, self._running = out, dict[str, tuple[subprocess.Popen[bytes], float]]()
        self._state = out / "state.json"
        kept = json.loads(self._state.read_text()) if self._state.is_file() else {}
        self._ended: dict[str, str] = {name: end for name, end in kept.items() if end == "ok"}

    def all(self, wanted: list[Step]) -> None:
        """Run what has not ended well yet; a measurement goes first as soon as it can."""
        left = [step for step in wanted if step.name not in self._ended]
        limits = {step.name: step.limit_s for step in wanted}
        while left or self._running:
            self._reap(limits)
            ready = [step for step in left if all(need in self._ended for need in step.needs)]
            chosen = next((step for step in ready if step.alone), None)
            if chosen is None and len(self._running) < BESIDE:
                chosen = next(iter(ready), None)
            if chosen is None:
                time.sleep(0.2)
                continue
            left.remove(chosen)
            if chosen.alone:
                self._measure(chosen)
            else:
                self._running[chosen.name] = (self._started(chosen), time.monotonic())

    def _measure(self, step: Step) -> None:
        self._signal(signal.SIGSTOP)
        time.sleep(SETTLE_S)
        began, process = time.monotonic(), self._started(step)
        try:
            process.wait(step.limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._note(step.name, process.returncode, time.monotonic() - began)
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        for process, _ in self._running.values():
            if process.poll() is None:
                os.killpg(process.pid, number)

    def _started(self, step: Step) -> subprocess.Popen[bytes]:
        print(f"{time.strftime('%H:%M:%S')} {step.name} …", flush=True)
        log = (self._out / "logs" / f"{step.name}.log").open("wb")
        command = [sys.executable, "-m", *step.command.split()]
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True)

    def _reap(self, limits: dict[str, int]) -> None:
        for name, (process, began) in list(self._running.items()):
            seconds = time.monotonic() - began
            if process.poll() is None and seconds > limits[name]:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.poll() is not None:
                del self._running[name]
                self._note(name, process.returncode, seconds)

    def _note(self, name: str, code: int, seconds: float) -> None:
        self._ended[name] = "ok" if code == 0 else str(code)
        self._state.write_text(json.dumps(self._ended, indent=1) + "\n")
        print(f"{time.strftime('%H:%M:%S')} {name}: {self._ended[name]} {seconds:.1f} s", flush=True)


def main() -> int:
    """Run all that is left."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--until", help="the last step to run")
    asked = parser.parse_args()
    for name in ("logs", "rows", "engines", "models", "store"):
        (asked.out / name).mkdir(parents=True, exist_ok=True)
    wanted = steps(asked.out)
    names = [step.name for step in wanted]
    Run(asked.out).all(wanted[: names.index(asked.until) + 1] if asked.until else wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the whole benchmark: `python -m e2e.gpu.everything --out FOLDER`; a second run goes on where one ended.

A machine that is lent by the minute takes `--block NAME --seconds 460`: what would not end in time does not begin. With
`--gpus 4` four blocks run at once, each on a GPU of its own, so that what one run compares was measured on one. What is
measured, and what is built (kernels are chosen by their time), begins when nothing else runs on its GPU.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from e2e.gpu.plan import Plan, Step

BESIDE = 5
"""Steps at once on a GPU that need no quiet."""


@dataclass
class Lane:
    """One GPU, the block that is its own until it ends, and what runs there."""

    gpu: str
    left: list[Step] = field(default_factory=list)
    running: dict[str, tuple[subprocess.Popen[bytes], Step, float]] = field(default_factory=dict)

    def next(self, may_begin: set[str]) -> Step | None:
        """Return the step that begins now, if any may: one that needs quiet waits for it, and others wait behind it."""
        chosen = next((step for step in self.left if step.name in may_begin), None)
        quiet = not any(step.alone for _, step, _ in self.running.values())
        room = not self.running if chosen is not None and chosen.alone else len(self.running) < BESIDE
        return chosen if quiet and room else None


class Run:
    """Runs blocks of steps, each block on one GPU, and remembers in a file which steps ended."""

    def __init__(self, out: Path, seconds: float = float("inf"), gpus: tuple[str, ...] = ("",)) -> None:
        self._end = time.monotonic() + seconds
        self._out, self._state = out, out / "state.json"
        self._lanes = [Lane(gpu) for gpu in gpus]
        kept = json.loads(self._state.read_text()) if self._state.is_file() else {}
        self._ended: dict[str, str] = {name: end for name, end in kept.items() if end == "ok"}

    def all(self, blocks: list[list[Step]]) -> None:
        """Run what has not ended well yet, in order; what waits for a step that failed, or has no time left, stays."""
        waiting = [left for block in blocks if (left := [step for step in block if step.name not in self._ended])]
        while True:
            for lane in self._lanes:
                self._reap(lane)
                self._turn(lane, waiting)
                while (step := lane.next({step.name for step in lane.left if self._may_begin(step)})) is not None:
                    lane.left.remove(step)
                    lane.running[step.name] = (self._started(step, lane.gpu), step, time.monotonic())
            if not any(lane.running for lane in self._lanes):
                break
            time.sleep(0.2)
        for step in (step for steps in (*(lane.left for lane in self._lanes), *waiting) for step in steps):
            print(f"{step.name}: left for another run", flush=True)

    def _turn(self, lane: Lane, waiting: list[list[Step]]) -> None:
        """Give an idle lane the first block of which a step may begin; what is left of its own waits again."""
        if lane.running or any(self._may_begin(step) for step in lane.left):
            return
        if lane.left:
            waiting.append(lane.left)
        lane.left = next((block for block in waiting if any(self._may_begin(step) for step in block)), [])
        waiting[:] = [block for block in waiting if block is not lane.left]

    def _may_begin(self, step: Step) -> bool:
        done = all(self._ended.get(need) == "ok" for need in step.needs)
        return done and time.monotonic() + step.expected_s <= self._end

    def _started(self, step: Step, gpu: str) -> subprocess.Popen[bytes]:
        print(f"{time.strftime('%H:%M:%S')} {step.name} …", flush=True)
        log = (self._out / "logs" / f"{step.name}.log").open("wb")
        command = [sys.executable, "-m", *step.command.split()]
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": gpu} if gpu else None
        return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, start_new_session=True, env=environment)

    def _reap(self, lane: Lane) -> None:
        for name, (process, step, began) in list(lane.running.items()):
            seconds = time.monotonic() - began
            if process.poll() is None and seconds > step.limit_s:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
            if process.poll() is not None:
                del lane.running[name]
                self._note(name, process.returncode, seconds)

    def _note(self, name: str, code: int, seconds: float) -> None:
        self._ended[name] = "ok" if code == 0 else str(code)
        self._state.write_text(json.dumps(self._ended, indent=1) + "\n")
        print(f"{time.strftime('%H:%M:%S')} {name}: {self._ended[name]} {seconds:.1f} s", flush=True)


def gpus(count: int) -> tuple[str, ...]:
    """Return the first GPUs of this machine as CUDA_VISIBLE_DEVICES names them.

    One is whichever CUDA takes; several go by UUID, which MPS understands too: it counts its own GPUs anew.
    """
    if count == 1:
        return ("",)
    told = subprocess.run(
        ["nvidia-smi", "--query-gpu=uuid", "--format=csv,noheader"], check=True, capture_output=True, text=True
    ).stdout.split()
    if len(told) < count:
        raise SystemExit(f"--gpus {count}: this machine has {len(told)}; give at most so many")
    return (*told[:count],)


def parser() -> argparse.ArgumentParser:
    """Return what the whole takes."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--block", action="append", choices=list(Plan(Path()).blocks()), help="repeatable; default: all")
    made.add_argument("--seconds", type=float, default=float("inf"), help="what would not end in time does not begin")
    made.add_argument("--gpus", type=int, default=1, help="so many blocks at once, each on a GPU of its own")
    made.add_argument("--list", action="store_true", help="say what would run, and run nothing")
    return made


def main() -> int:
    """Run all that is left of the blocks."""
    asked = parser().parse_args()
    blocks = Plan(asked.out).blocks()
    wanted = [blocks[name] for name in asked.block or blocks]
    if asked.list:
        for step in (step for block in wanted for step in block):
            print(f"{step.expected_s:4d} s  {step.name}: python -m {step.command}")
        return 0
    for name in ("logs", "rows", "engines", "models", "store-product", "store-served"):
        (asked.out / name).mkdir(parents=True, exist_ok=True)
    Run(asked.out, asked.seconds, gpus(asked.gpus)).all(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs the whole benchmark: `python -m e2e.gpu.everything --out FOLDER`; a second run goes on where one ended.

A machine that is lent by the minute takes `--block NAME --seconds 460`: what would not end in time does not begin. What
is measured, and what is built (kernels are chosen by their time), begins when nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from e2e.gpu.plan import Plan, Step

BESIDE = 5
"""Steps at once that need no quiet."""


class Run:
    """Runs steps, and remembers in a file which ones ended."""

    def __init__(self, out: Path, seconds: float = float("inf")) -> None:
        self._end = time.monotonic() + seconds
        self._out, self._running = out, dict[str, tuple[subprocess.Popen[bytes], float]]()
        self._state = out / "state.json"
        kept = json.loads(self._state.read_text()) if self._state.is_file() else {}
        self._ended: dict[str, str] = {name: end for name, end in kept.items() if end == "ok"}

    def all(self, wanted: list[Step]) -> None:
        """Run what has not ended well yet, in order; what waits for a step that failed, or has no time left, stays."""
        left = [step for step in wanted if step.name not in self._ended]
        limits = {step.name: step.limit_s for step in wanted}
        while left or self._running:
            self._reap(limits)
            ready = [step for step in left if self._may_begin(step)]
            chosen = next((step for step in ready if not step.alone or not self._running), None)
            if chosen is None or (not chosen.alone and len(self._running) >= BESIDE):
                if not self._running and not ready:
                    break
                time.sleep(0.2)
                continue
            left.remove(chosen)
            if chosen.alone:
                self._measure(chosen)
            else:
                self._running[chosen.name] = (self._started(chosen), time.monotonic())
        for step in left:
            print(f"{step.name}: left for another run", flush=True)

    def _may_begin(self, step: Step) -> bool:
        done = all(self._ended.get(need) == "ok" for need in step.needs)
        return done and time.monotonic() + step.expected_s <= self._end

    def _measure(self, step: Step) -> None:
        began, process = time.monotonic(), self._started(step)
        try:
            process.wait(step.limit_s)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        self._note(step.name, process.returncode, time.monotonic() - began)

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


def parser() -> argparse.ArgumentParser:
    """Return what the whole takes."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--block", action="append", choices=list(Plan(Path()).blocks()), help="repeatable; default: all")
    made.add_argument("--seconds", type=float, default=float("inf"), help="what would not end in time does not begin")
    made.add_argument("--list", action="store_true", help="say what would run, and run nothing")
    return made


def main() -> int:
    """Run all that is left of the blocks."""
    asked = parser().parse_args()
    blocks = Plan(asked.out).blocks()
    wanted = [step for name in asked.block or blocks for step in blocks[name]]
    if asked.list:
        for step in wanted:
            print(f"{step.expected_s:4d} s  {step.name}: python -m {step.command}")
        return 0
    for name in ("logs", "rows", "engines", "models", "store"):
        (asked.out / name).mkdir(parents=True, exist_ok=True)
    Run(asked.out, asked.seconds).all(wanted)
    return 0


if __name__ == "__main__":
    sys.exit(main())

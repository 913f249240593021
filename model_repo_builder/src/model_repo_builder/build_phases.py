"""TensorRT's nested phases of a build as one fraction, told now and then."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_repo_builder.progress import Report

TELL_EVERY_S = 0.5
"""TensorRT reports millions of steps in a build; each told one costs the build's own thread."""


class Phases:
    """TensorRT's phases as one fraction that never falls, told now and then."""

    def __init__(self, report: Report, clock: Callable[[], float] = time.monotonic) -> None:
        self._report, self._clock = report, clock
        self._phases: dict[str, tuple[str | None, int, int]] = {}
        self._lock = threading.Lock()
        self._furthest, self._next = 0.0, 0.0

    def start(self, name: str, parent: str | None, steps: int) -> None:
        """Note a phase."""
        with self._lock:
            self._phases[name] = (parent, steps, 0)
        self._tell(name)

    def step(self, name: str, step: int) -> None:
        """Note one step of a phase as done."""
        with self._lock:
            parent, steps, _ = self._phases.get(name, (None, 1, 0))
            self._phases[name] = (parent, steps, step + 1)
        self._tell(name)

    def finish(self, name: str) -> None:
        """Forget a phase."""
        with self._lock:
            self._phases.pop(name, None)

    def _tell(self, words: str) -> None:
        with self._lock:
            if self._clock() < self._next:
                return
            self._next = self._clock() + TELL_EVERY_S
            self._furthest = max(self._furthest, fraction_of(self._phases))
            fraction = self._furthest
        self._report(fraction, words)


def fraction_of(phases: dict[str, tuple[str | None, int, int]]) -> float:
    """Return how much is done, 0 to 1: of each phase (parent, steps, steps done), a child fills its parent's step."""

    def inside(parent: str | None, depth: int = 0) -> float:
        for name, (above, steps, done) in phases.items():
            if above == parent and depth < len(phases):
                return min((done + inside(name, depth + 1)) / max(steps, 1), 1.0)
        return 0.0

    return inside(None)

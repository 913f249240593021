"""How far a build is: one overall percentage over its stages, told to a log line, a live bar and the HTTP server."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TextIO, TypeAlias

from model_repo_builder.errors import clip
from yolofleet.api.build import Progress, Stage

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

Report: TypeAlias = Callable[[float, str], None]
"""Told by a stage: the fraction of it that is done, and a few words."""
SPANS: dict[Stage, tuple[int, int]] = {
    "Fetch": (0, 25),
    "Export": (25, 55),
    "Build": (55, 70),
    "Compare": (70, 93),
    "Measure": (93, 95),
    "Publish": (95, 100),
}
"""Which part of the whole each stage is, in percent."""
BEGINS: dict[str, Stage] = {"fetch": "Fetch", "convert": "Export", "publish": "Publish"}
"""Where each container of a build pod begins."""
BAR_WIDTH = 12
QUIET_S = 2.0


def overall(stage: Stage, fraction: float) -> int:
    """Return the percentage of the whole that a fraction of a stage means."""
    first, last = SPANS[stage]
    return int(first + (last - first) * min(max(fraction, 0.0), 1.0))


def line(progress: Progress) -> str:
    """Draw one line: `Export  [#######-----] 58 %  message`."""
    filled = BAR_WIDTH * progress.percent // 100
    bar = "#" * filled + "-" * (BAR_WIDTH - filled)
    return f"{progress.stage:<8}[{bar}] {progress.percent:3d} %  {progress.message}".rstrip()


class Log:
    """Writes progress: a live bar on a terminal, else a line for each change, at most one every two seconds."""

    def __init__(self, stream: TextIO | None = None, *, now: Callable[[], float] = time.monotonic) -> None:
        self._stream, self._now = stream or sys.stderr, now
        self._live = self._stream.isatty()
        self._stage: Stage | None = None
        self._next = 0.0

    def show(self, progress: Progress) -> None:
        """Show a change; a new stage and the end are always shown."""
        now = self._now()
        if progress.stage == self._stage and progress.percent < SPANS[progress.stage][1] and now < self._next:
            return
        ending = "" if self._live else "\n"
        beginning = "\r\x1b[2K" if self._live else ""
        print(f"{beginning}{line(progress)}", end=ending, file=self._stream, flush=True)
        self._stage, self._next = progress.stage, now + (QUIET_S if not self._live else 0.1)

    def close(self) -> None:
        """Leave the live bar's line."""
        if self._live and self._stage:
            print(file=self._stream, flush=True)


@dataclass
class Board:
    """The latest progress; written by the build, read by the HTTP server's thread. Never goes backwards."""

    listeners: tuple[Callable[[Progress], None], ...] = ()
    _latest: Progress = field(default_factory=lambda: Progress(stage="Fetch", percent=0))
    _lock: AbstractContextManager[object] = field(default_factory=threading.Lock)

    @classmethod
    def beginning(cls, stage: Stage, *, listeners: tuple[Callable[[Progress], None], ...] = ()) -> Board:
        """Return a board whose build has come to a stage: others have done what is before it."""
        return cls(listeners, Progress(stage=stage, percent=SPANS[stage][0]))

    def latest(self) -> Progress:
        """Return the latest progress."""
        with self._lock:
            return self._latest

    def tell(self, stage: Stage, fraction: float, message: str) -> None:
        """Note progress, and tell the listeners if anything changed."""
        self.show(Progress(stage=stage, percent=overall(stage, fraction), message=clip(message, 256)))

    def show(self, told: Progress) -> None:
        """Note what another board says."""
        with self._lock:
            new = told.model_copy(update={"percent": max(told.percent, self._latest.percent)})
            changed, self._latest = new != self._latest, new
        if changed:
            for listener in self.listeners:
                listener(new)

    def stage(self, name: Stage) -> Report:
        """Return what a stage reports through."""
        return lambda fraction, message: self.tell(name, fraction, message)

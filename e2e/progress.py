"""One line per step with its seconds; while it runs, a live ticker on a terminal and a line now and then elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_QUIET_EVERY_S = 15.0
_LIVE_EVERY_S = 0.2


@contextmanager
def step(title: str, *, ticking: bool = True) -> Iterator[None]:
    """Announce a step, tell that it goes on (unless it shows a bar of its own), and say how long it took."""
    started = time.monotonic()
    done = threading.Event()
    ticker = threading.Thread(target=_tick, args=(title, started, done), daemon=True)
    if ticking:
        ticker.start()
    verdict = "failed after"
    try:
        yield
        verdict = ""
    finally:
        done.set()
        if ticking:
            ticker.join()
        _line(f"{title}  {verdict} {time.monotonic() - started:.1f} s".replace("   ", "  "), live=False)


def _tick(title: str, started: float, done: threading.Event) -> None:
    live = sys.stderr.isatty()
    while not done.wait(_LIVE_EVERY_S if live else _QUIET_EVERY_S):
        _line(f"{title} … {time.monotonic() - started:.0f} s", live=live)


def _line(text: str, *, live: bool) -> None:
    clear = "\r\x1b[K" if sys.stderr.isatty() else ""
    sys.stderr.write(f"{clear}  {text}" + ("" if live else "\n"))
    sys.stderr.flush()


_BAR_WIDTH = 24
_said: dict[str, str] = {}


def bar(text: str, percent: int) -> None:
    """Show a bar: live on a terminal, elsewhere one line per change of text."""
    filled = round(_BAR_WIDTH * percent / 100)
    line = f"    [{'#' * filled}{'-' * (_BAR_WIDTH - filled)}] {percent:3d} %  {text}"
    live = sys.stderr.isatty()
    if not live and _said.get("bar") == text:
        return
    _said["bar"] = text
    _line(line, live=live)

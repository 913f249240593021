"""Waiting for conditions with a deadline: what was waited for, and what was seen last, stand in the failure."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class DeadlineMissedError(AssertionError):
    """A condition did not come true in time."""


def wait_for(
    what: str,
    check: Callable[[], T | None],
    *,
    timeout_s: float = 60,
    interval_s: float = 0.4,
    seen: Callable[[], object] | None = None,
) -> T:
    """Poll `check` until it returns something true, and return that; `seen` is asked for the failure's text.

    An exception of `check` counts as "not yet" and is quoted when the deadline has passed.
    """
    started = time.monotonic()
    last: object = None
    while True:
        try:
            if result := check():
                return result
            last = f"it returned {result!r}"
        except Exception as error:  # noqa: BLE001 - whatever it is, it is quoted below
            last = f"{type(error).__name__}: {error}"
        if time.monotonic() - started > timeout_s:
            facts = f"\nseen: {seen()}" if seen else ""
            raise DeadlineMissedError(f"waited {timeout_s:g} s for {what}; last: {last}{facts}")
        time.sleep(interval_s)

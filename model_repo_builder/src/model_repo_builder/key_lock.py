"""One writer per key: a lock file whose lock dies with its holder."""

from __future__ import annotations

import errno
import fcntl
import os
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from model_repo_builder.errors import Failed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

UNSUPPORTED = frozenset({errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})
POLL_S = 0.1


@contextmanager
def held(path: Path, *, wait_s: float, on_wait: Callable[[], None] = lambda: None) -> Iterator[bool]:
    """Hold the lock while the block runs; yields False where the file system has no locks.

    The kernel (or the file server) frees a dead holder's lock, so nothing is ever left to clean up. Without locks
    two builders of a key only waste work: publishing is one rename, and the second finds the first one's result.
    """
    deadline = time.monotonic() + wait_s
    while (handle := _take(path)) is None:
        if time.monotonic() >= deadline:
            raise Failed(
                message=f"another builder has been writing this key for {wait_s:g} s",
                value=path.name,
                remedy="look for a second build pod of the same engine",
            )
        on_wait()
        time.sleep(min(POLL_S, max(0.0, deadline - time.monotonic())))
    try:
        yield handle >= 0
    finally:
        _free(path, handle)


def try_hold(path: Path) -> int | None:
    """Take a lock if it is free, and return its handle for `let_go`."""
    handle = _take(path)
    return handle if handle is None or handle >= 0 else None


def let_go(path: Path, handle: int) -> None:
    """Free a lock taken by `try_hold`."""
    _free(path, handle)


def _take(path: Path) -> int | None:
    """Return a handle on the lock, -1 where there are no locks, None where another holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        if error.errno in UNSUPPORTED:
            return -1
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return None
        raise
    if _is_current(path, handle):
        return handle
    os.close(handle)  # the last holder removed the file between open and lock: try again on the new one
    return None


def _is_current(path: Path, handle: int) -> bool:
    try:
        return os.fstat(handle).st_ino == path.stat().st_ino
    except FileNotFoundError:
        return False


def _free(path: Path, handle: int) -> None:
    if handle < 0:
        return
    path.unlink(missing_ok=True)  # before the lock goes, so that who waits sees that it is gone
    os.close(handle)

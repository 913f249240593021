"""Keeps a block of code from the network and from other programs: what opens weights has no business with either.

An audit hook, so it holds for all Python code, not for native code that means harm; the pod's own sandbox is for that.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

CLOSED = frozenset(
    {
        "socket.connect",
        "socket.sendto",
        "socket.getaddrinfo",
        "subprocess.Popen",
        "os.system",
        "os.exec",
        "os.fork",
        "os.forkpty",
        "os.posix_spawn",
        "os.spawn",
    }
)
"""Python's audit events for reaching out."""


class ClosedDoorError(RuntimeError):
    """Code tried to reach out of a closed block."""


@contextmanager
def closed_door() -> Iterator[None]:
    """Raise ClosedDoorError on any attempt to reach out while the block runs, in any thread."""
    shut = [True]  # a hook can't be removed, but it can be told to stand aside

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        if shut[0] and event in CLOSED:
            raise ClosedDoorError(f"{event} of {str(arguments)[:200]} while weights are open")

    sys.addaudithook(hook)
    try:
        yield
    finally:
        shut[0] = False

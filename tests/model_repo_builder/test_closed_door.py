"""What opens weights reaches neither the network nor other programs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from model_repo_builder.closed_door import ClosedDoorError, closed_door

if TYPE_CHECKING:
    from collections.abc import Callable

WAYS: dict[str, Callable[[], object]] = {
    "connect": lambda: socket.create_connection(("127.0.0.1", 1)),
    "resolve": lambda: socket.getaddrinfo("localhost", 80),
    "run": lambda: subprocess.run([sys.executable, "-V"], check=True),
    "shell": lambda: os.system("true"),  # noqa: S605
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
}


@pytest.mark.parametrize("name", WAYS)
def test_ways_out_are_closed_for_the_block_only(name: str) -> None:
    with closed_door(), pytest.raises(ClosedDoorError):
        WAYS[name]()
    if name in {"run", "shell"}:
        WAYS[name]()

"""Runs what opens weights in a process without a network, and answers for it: its progress, its signals, its end."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeAlias

from pydantic import ValidationError

from model_repo_builder.progress_server import serving
from model_repo_builder.seccomp import prctl
from yolofleet.api.build import Progress

if TYPE_CHECKING:
    from types import FrameType

    from model_repo_builder.progress import Board

Work: TypeAlias = Callable[[Callable[[Progress], None]], int]
"""Given through what to tell its progress, it returns an exit code."""
PR_SET_PDEATHSIG, PR_SET_DUMPABLE = 1, 4
LONGEST_LINE = 4096
KILLED = 128
"""And the signal's number: the exit code of a process that a signal ended, as shells and the kubelet tell it."""


def run(work: Work, board: Board, *, port: int) -> int:
    """Run `work`, which gives up the network first of all, in a child; serve its progress, and return its exit code.

    The listening socket is made after the child, which never has it: one that listens can disconnect, and connect.
    """
    words, tells = os.pipe()
    # Nobody of the same user may trace this process, or write its memory, which has the network still.
    prctl(PR_SET_DUMPABLE, 0)
    sys.stdout.flush()
    sys.stderr.flush()
    parent = os.getpid()
    if (child := os.fork()) == 0:
        os.close(words)
        _behind(work, tells, parent)
    os.close(tells)
    signal.signal(signal.SIGTERM, _forwarder(child))
    threading.Thread(target=_listen, args=(words, board), daemon=True).start()
    with serving(board, port=port):
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return ended if ended >= 0 else KILLED - ended


def _behind(work: Work, tells: int, parent: int) -> None:
    """Work and end: nothing of the caller runs on in this process."""
    code = 1
    try:
        prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() == parent:
            prctl(PR_SET_DUMPABLE, 1)  # else it may not even look at its own /proc/self
            code = work(lambda told: _tell(tells, told))
    except BaseException:  # noqa: BLE001 - whatever it was, this process ends here
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _tell(tells: int, progress: Progress) -> None:
    os.write(tells, progress.model_dump_json(by_alias=True).encode() + b"\n")


def _listen(words: int, board: Board) -> None:
    """Show what comes of progress; what is none comes from weights that got hold of the pipe, and is left alone."""
    with os.fdopen(words, "rb") as lines:
        while line := lines.readline(LONGEST_LINE):
            try:
                board.show(Progress.model_validate_json(line))
            except ValidationError:
                continue


def _forwarder(child: int) -> Callable[[int, FrameType | None], None]:
    return lambda number, _: os.kill(child, number)

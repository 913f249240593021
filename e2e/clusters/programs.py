"""Run a program and tell what it said; what takes a `Run` in its place can be scripted by tests."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

NOT_FOUND = 127


@dataclass(frozen=True)
class Answer:
    """How a program ended and what it said."""

    returncode: int = 0
    stdout: str = ""
    stderr: str = ""

    @property
    def good(self) -> bool:
        return self.returncode == 0


class Run(Protocol):
    """Runs a command to its end."""

    def __call__(
        self,
        command: Sequence[str],
        *,
        stdin: str | None = None,
        timeout_s: float = 60,
        env: Mapping[str, str] | None = None,
    ) -> Answer: ...


def run_program(
    command: Sequence[str],
    *,
    stdin: str | None = None,
    timeout_s: float = 60,
    env: Mapping[str, str] | None = None,
) -> Answer:
    """Run a command; one that is not there answers 127, as a shell has it, and one that hangs raises TimeoutExpired."""
    try:
        done = subprocess.run(
            command,
            input=stdin,
            stdin=subprocess.DEVNULL if stdin is None else None,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            env=os.environ | dict(env or {}),
            check=False,
        )
    except FileNotFoundError as error:
        return Answer(NOT_FOUND, "", str(error))
    return Answer(done.returncode, done.stdout, done.stderr)

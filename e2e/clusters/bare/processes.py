"""Start long-running programs, remember them on disk, and end only those that are provably ours."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

_STARTTIME_FIELD = 19  # of /proc/PID/stat after the parenthesised name (field 22 of the whole)


@dataclass(frozen=True)
class Process:
    """A process by pid and start time, so that a recycled pid is never taken for it."""

    pid: int
    started: int

    @property
    def alive(self) -> bool:
        return start_time(self.pid) == self.started

    def end(self, *, grace_s: float = 0) -> None:
        """Ask it to stop if there is grace, then kill it, and wait until it is gone."""
        if grace_s and self._signal(signal.SIGTERM) and self._gone(grace_s):
            return
        self._signal(signal.SIGKILL)
        if not self._gone(10):
            raise RuntimeError(f"process {self.pid} outlives SIGKILL")

    def _signal(self, number: int) -> bool:
        if not self.alive:
            return False
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            return False
        return True

    def _gone(self, timeout_s: float) -> bool:
        deadline = time.monotonic() + timeout_s
        while self.alive:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.02)
        return True


def start_time(pid: int) -> int | None:
    """The start time of a live process in clock ticks since boot; None for a missing or dead one."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in {"Z", "X"} else int(fields[_STARTTIME_FIELD])


def process_of(pid: int) -> Process:
    """The process that has this pid now."""
    started = start_time(pid)
    if started is None:
        raise ProcessLookupError(f"no live process {pid}")
    return Process(pid, started)


def processes_below(cgroup: str, word: str) -> list[Process]:
    """The live processes in a control group or below it whose command line has the word as an argument."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if word in arguments and f":/{cgroup}/" in (folder / "cgroup").read_text():
                found.append(process_of(int(folder.name)))
        except (FileNotFoundError, ProcessLookupError):
            continue  # it ended while we looked
    return found


def child_of(parent: int, *, timeout_s: float = 5) -> Process:
    """The only child of a wrapper such as nsenter or unshare --fork."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
        except FileNotFoundError:
            raise ProcessLookupError(f"process {parent} ended before it had a child") from None
        if children and start_time(int(children[0])) is not None:
            return process_of(int(children[0]))
        if time.monotonic() > deadline:
            raise ProcessLookupError(f"process {parent} has no child after {timeout_s} s")
        time.sleep(0.01)


@dataclass(frozen=True)
class ProcessTable:
    """Processes by name, one small file each."""

    folder: Path

    def record(self, name: str, process: Process) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / name).write_text(json.dumps(asdict(process)))

    def get(self, name: str) -> Process | None:
        try:
            return Process(**json.loads((self.folder / name).read_text()))
        except FileNotFoundError:
            return None

    def alive(self, name: str) -> bool:
        process = self.get(name)
        return process is not None and process.alive

    def end(self, name: str, *, grace_s: float = 0) -> None:
        """End it if it is still the process that was recorded, and forget it."""
        if process := self.get(name):
            process.end(grace_s=grace_s)
            (self.folder / name).unlink(missing_ok=True)

    def names(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*")) if self.folder.exists() else []


def spawn(command: list[str], *, log: Path, env: dict[str, str] | None = None) -> int:
    """Start a program in a session of its own with its output in a log; the pid of what was started."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as output:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, start_new_session=True, env=env
        )
    started.returncode = 0  # not waited for: it outlives this program on purpose
    return started.pid

"""What a figure depends on and what a process costs, read from /proc: processor, load, CPU time, memory."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

_PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME = 11, 12  # of /proc/PID/stat after the parenthesised name


@dataclass(frozen=True)
class Usage:
    """What a process has used: CPU seconds since its start, resident memory now and at its highest, in MiB."""

    cpu_s: float
    rss_mib: float
    rss_peak_mib: float


def usage(pid: int) -> Usage:
    """What a live process has used so far."""
    fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    lines = (line.split() for line in (_PROC / str(pid) / "status").read_text().splitlines())
    memory = {words[0]: int(words[1]) / 1024 for words in lines if words[0] in ("VmRSS:", "VmHWM:")}
    return Usage((int(fields[_UTIME]) + int(fields[_STIME])) / _TICKS, memory["VmRSS:"], memory["VmHWM:"])


def load() -> float:
    """The load average of the last minute."""
    return os.getloadavg()[0]


def processor() -> str:
    """The model of this machine's processor."""
    lines = (_PROC / "cpuinfo").read_text().splitlines()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")

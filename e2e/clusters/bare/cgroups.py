"""The cluster's own branch of the control groups, for the hybrid v1 hierarchy and for v2."""

from __future__ import annotations

import time
from pathlib import Path

_ROOT = Path("/sys/fs/cgroup")
_V1_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids", "devices", "blkio", "freezer", "systemd", "hugetlb")


def is_v2() -> bool:
    """Whether the machine has the unified hierarchy only."""
    return (_ROOT / "cgroup.controllers").exists()


def make_branch(path: str) -> None:
    """Create the branch in every hierarchy, ready for a kubelet's cgroupRoot."""
    if is_v2():
        _make_v2(path)
        return
    for controller in _V1_CONTROLLERS:
        if (_ROOT / controller).is_dir():
            (_ROOT / controller / path).mkdir(parents=True, exist_ok=True)
    _inherit_cpuset(path)


def remove_branch(path: str, *, timeout_s: float = 10) -> None:
    """Remove the branch and all below it, once its processes are gone."""
    deadline = time.monotonic() + timeout_s
    while left := [branch for branch in _branches(path) if not _remove_tree(branch)]:
        if time.monotonic() > deadline:
            raise RuntimeError(f"control groups left behind (is a process still in them?): {left}")
        time.sleep(0.1)


def _branches(path: str) -> list[Path]:
    parents = [_ROOT, _ROOT / "unified", *(_ROOT / name for name in _V1_CONTROLLERS)]
    return [parent / path for parent in parents if (parent / path).is_dir()]


def _remove_tree(branch: Path) -> bool:
    folders = sorted((path for path in branch.rglob("*") if path.is_dir()), key=lambda path: -len(path.parts))
    try:
        for folder in [*folders, branch]:
            folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _make_v2(path: str) -> None:
    current = _ROOT
    for part in Path(path).parts:
        _enable_controllers(current)
        current /= part
        current.mkdir(exist_ok=True)
    _enable_controllers(current)


def _enable_controllers(folder: Path) -> None:
    wanted = (folder / "cgroup.controllers").read_text().split()
    for controller in wanted:
        try:
            (folder / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:  # not delegated to us, or processes sit in this very group: the kubelet says what it misses
            continue


def _inherit_cpuset(path: str) -> None:
    root = _ROOT / "cpuset"
    current = root
    for part in Path(path).parts:
        current /= part
        for name in ("cpuset.cpus", "cpuset.mems"):
            if not (current / name).read_text().strip():
                (current / name).write_text((root / name).read_text())

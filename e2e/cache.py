"""Where the bench keeps what is slow to make: one folder per user, addressed by content, guarded by locks."""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent


def cache_root() -> Path:
    """The bench's cache folder of this user ($XDG_CACHE_HOME/yolofleet or ~/.cache/yolofleet)."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    root = Path(base) / "yolofleet"
    root.mkdir(parents=True, exist_ok=True)
    return root


def files_below(root: Path) -> list[Path]:
    """Every source file below a folder, in a fixed order."""
    return sorted(path for path in root.rglob("*") if path.is_file() and "__pycache__" not in path.parts)


def digest_of(*, texts: Iterable[str] = (), files: Iterable[Path] = ()) -> str:
    """The content key (16 hex digits) of some texts and of some files with their paths in the repository."""
    total = hashlib.sha256()
    for text in texts:
        total.update(f"{len(text)}:{text}".encode())
    for path in files:
        name = path.relative_to(REPOSITORY) if path.is_relative_to(REPOSITORY) else path.name
        total.update(f"{name}:{hashlib.sha256(path.read_bytes()).hexdigest()}".encode())
    return total.hexdigest()[:16]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file for the length of the block; a second caller waits."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield

"""Brings the timing cache of an earlier engine, so that its kernels are not timed again; a build can do without it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from model_repo_builder.errors import Failed
from model_repo_builder.store import DamagedError
from yolofleet.api.store import TIMINGS

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.progress import Board
    from model_repo_builder.store import Store
    from yolofleet.api.build import BuildRequest


def brought(store: Store, wanted: BuildRequest, folder: Path, board: Board) -> Path | None:
    """Return the timing cache that a request names, copied into `folder`; None where there is none to be had."""
    if wanted.timings_of is None:
        return None
    target = folder / TIMINGS
    try:
        found = store.take_timings(wanted.timings_of, target)
    except (DamagedError, Failed, OSError) as error:
        target.unlink(missing_ok=True)
        board.tell("Fetch", 1.0, f"kernels are timed anew: {error}")
        return None
    what = f"begins with the kernel timings of {wanted.timings_of[:12]}"
    board.tell("Fetch", 1.0, what if found else f"{wanted.timings_of[:12]} has no kernel timings")
    return target if found else None

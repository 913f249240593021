"""Python's cyclic collector beside a cache of long-lived objects: each of them is walked once, not every half second.

A full collection walks all objects that there are, 0.1 to 0.2 s at 5,000 YoloDeployments, in which nothing else
runs, and finds next to nothing, for what the cache drops is freed by its reference count. So what survives a full
collection is set aside (`gc.freeze`). A cycle that dies there stays, until all are looked through again; then the
system is given back what is free.
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import chain, repeat
from typing import Any

FULL = 2
"""The oldest generation."""
WAITS_S = (60.0, 3600.0)
"""Soon after the start, whose lists leave much behind, and then every hour."""
_TRIM = getattr(ctypes.CDLL(None), "malloc_trim", lambda _: 0)
"""glibc keeps what was freed; elsewhere there is nothing to do."""


@asynccontextmanager
async def sparing(*, waits_s: tuple[float, ...] = WAITS_S) -> AsyncIterator[None]:
    """Set survivors aside as long as this lasts, and look through all of them now and then."""
    gc.callbacks.append(_ended)
    task = asyncio.create_task(_now_and_then(waits_s))
    try:
        yield
    finally:
        task.cancel()
        gc.callbacks.remove(_ended)
        gc.unfreeze()


def _ended(phase: str, info: dict[str, Any]) -> None:
    if phase == "stop" and info["generation"] == FULL:
        gc.freeze()


async def _now_and_then(waits_s: tuple[float, ...]) -> None:
    for wait_s in chain(waits_s, repeat(waits_s[-1])):
        await asyncio.sleep(wait_s)
        gc.unfreeze()
        gc.collect()
        _TRIM(0)

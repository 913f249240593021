"""Survivors of a full collection are set aside; what dies later is found all the same, there too, in its time."""

from __future__ import annotations

import asyncio
import gc
import weakref

from yolofleet.handlers.collector import sparing


class Ring:
    """Refers to itself: only the collector frees it."""

    def __init__(self) -> None:
        self.me = self


async def test_survivors_are_walked_once_and_new_cycles_still_die() -> None:
    async with sparing():
        kept = [Ring() for _ in range(1000)]
        gc.collect()
        assert gc.get_freeze_count() >= len(kept)
        young = weakref.ref(Ring())
        gc.collect()
        assert young() is None
    assert gc.get_freeze_count() == 0


async def test_a_cycle_that_dies_among_the_survivors_is_found_when_all_are_looked_through() -> None:
    async with sparing(waits_s=(0.05,)):
        kept = [Ring()]
        gc.collect()
        old = weakref.ref(kept.pop())
        gc.collect()
        assert old() is not None
        await asyncio.sleep(0.2)
        assert old() is None

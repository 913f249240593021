"""Reach an address inside the cluster from this process, on a port of loopback, while a block runs."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from e2e.clusters.bare.relay import listen_outside


@contextmanager
def forwarded(socket: Path, target: str) -> Iterator[int]:
    """Yield a port of 127.0.0.1 that leads to the target (HOST:PORT as seen inside)."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    server = asyncio.run_coroutine_threadsafe(listen_outside(str(socket), 0, target), loop).result(10)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        asyncio.run_coroutine_threadsafe(_close(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _close(server: asyncio.Server) -> None:
    server.close()
    carried = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in carried:
        task.cancel()
    await asyncio.gather(*carried, return_exceptions=True)

"""Runs in a pod: frames at a rate that changes by a plan, or as fast as answers come, over several connections.

`--plan 5:10,60:40` sends 5 frames a second for 10 s, then 60 for 40 s, whatever the answers take (open loop), and
retries a frame once when its connection was closed under it; `--closed 4` keeps four frames under way for as long as
the plan says. Prints one line of JSON a second: frames answered and failed so far, and the rate of the last second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

import numpy as np
from tritonclient.grpc import InferInput
from tritonclient.grpc import aio as triton
from tritonclient.utils import InferenceServerException

MOST_UNDER_WAY = 256
TIMEOUT_S = 10


class Load:
    """Sends frames over its own connections in turn, and counts."""

    def __init__(self, address: str, model: str, size: int, connections: int) -> None:
        # Each with a subchannel of its own: otherwise gRPC gives all of them one connection, and so one replica.
        own = [("grpc.use_local_subchannel_pool", 1)]
        self.clients = [triton.InferenceServerClient(address, channel_args=own) for _ in range(connections)]
        self.model = model
        self.frame = InferInput("images", [1, 3, size, size], "FP32")
        self.frame.set_data_from_numpy(np.zeros((1, 3, size, size), np.float32))
        self.counts: Counter[str] = Counter()
        self.errors: Counter[str] = Counter()
        self.under_way = 0
        self.turn = 0

    async def send(self) -> None:
        """Send one frame, once more if the connection went."""
        self.turn += 1
        self.under_way += 1
        try:
            for attempt in (0, 1):
                client = self.clients[(self.turn + attempt) % len(self.clients)]
                try:
                    await client.infer(self.model, [self.frame], client_timeout=TIMEOUT_S)
                except InferenceServerException as error:
                    if attempt or "UNAVAILABLE" not in str(error.status()):
                        self.counts["failed"] += 1
                        self.errors[str(error)[:200]] += 1
                        return
                else:
                    self.counts["ok"] += 1
                    return
        finally:
            self.under_way -= 1

    async def open_loop(self, rate: float, seconds: float, tasks: set[asyncio.Task[None]]) -> None:
        """Send at a rate; a frame too many under way is a failed one."""
        until, due = time.monotonic() + seconds, time.monotonic()
        while due < until:
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += 1 / rate
            if self.under_way >= MOST_UNDER_WAY:
                self.counts["failed"] += 1
                self.errors["too many frames under way"] += 1
                continue
            task = asyncio.create_task(self.send())
            tasks.add(task)
            task.add_done_callback(tasks.discard)

    async def closed_loop(self, seconds: float) -> None:
        """Send the next frame when the last one is answered."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            await self.send()


async def report(load: Load, started: float) -> None:
    """Print a line each second."""
    before = 0
    while True:
        await asyncio.sleep(1)
        line: dict[str, Any] = {"at": round(time.monotonic() - started, 1), **load.counts, "errors": load.errors}
        line |= {"ok": load.counts["ok"], "failed": load.counts["failed"], "fps": load.counts["ok"] - before}
        before = load.counts["ok"]
        sys.stdout.write(json.dumps(line) + "\n")
        sys.stdout.flush()


async def run(asked: argparse.Namespace) -> None:
    """Carry the plan out and report."""
    load = Load(asked.address, asked.model, asked.size, asked.connections)
    steps = [tuple(map(float, step.split(":"))) for step in asked.plan.split(",")]
    reporting = asyncio.create_task(report(load, time.monotonic()))
    tasks: set[asyncio.Task[None]] = set()
    for rate, seconds in steps:
        if asked.closed:
            await asyncio.gather(*(load.closed_loop(seconds) for _ in range(asked.closed)))
        else:
            await load.open_loop(rate, seconds, tasks)
    await asyncio.gather(*tasks)
    await asyncio.sleep(1.1)
    reporting.cancel()


def main() -> int:
    """Read what is asked and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="host:port of Triton's gRPC")
    parser.add_argument("--model", required=True)
    parser.add_argument("--plan", required=True, help="rate:seconds,rate:seconds")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--connections", type=int, default=12)
    parser.add_argument("--closed", type=int, default=0, help="frames under way; 0: open loop")
    asyncio.run(run(parser.parse_args()))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs in a pod: so many frames in each second, evenly spaced, whatever the answers take; each has its own connection.

`plan.json` beside it holds the frames of each second. A connection for each frame lets kube-proxy spread them, so that
a new replica gets its share at once. No retry: a frame without an answer is a failed one. Prints a line when it begins
and, once all have their end, one with what became of each second: failed frames, the longest wait, and all waits.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from pathlib import Path

TIMEOUT_S = 90


class Seconds:
    """What became of the frames of each second."""

    def __init__(self, plan: list[int]) -> None:
        self.plan = plan
        self.failed = [0] * len(plan)
        self.waits_ms: list[list[int]] = [[] for _ in plan]
        self.errors: Counter[str] = Counter()

    def ended(self, second: int, took_s: float, error: str = "") -> None:
        """Count one frame of a second."""
        self.waits_ms[second].append(round(1000 * took_s))
        if error:
            self.failed[second] += 1
            self.errors[error] += 1

    def longest_ms(self) -> list[int]:
        """Return the longest wait of each second."""
        return [max(waits, default=0) for waits in self.waits_ms]


def request(host: str, model: str, size: int) -> bytes:
    """Return one inference request of the KServe protocol with a black frame."""
    data = bytes(4 * 3 * size * size)
    tensor = {"name": "images", "shape": [1, 3, size, size], "datatype": "FP32"}
    head = json.dumps({"inputs": [tensor | {"parameters": {"binary_data_size": len(data)}}]}).encode()
    lines = [
        f"POST /v2/models/{model}/infer HTTP/1.1",
        f"Host: {host}",
        "Connection: close",
        f"Inference-Header-Content-Length: {len(head)}",
        f"Content-Length: {len(head) + len(data)}",
    ]
    return "\r\n".join([*lines, "", ""]).encode() + head + data


async def answered(host: str, port: int, told: bytes) -> None:
    """Send one frame and read its answer's status; the rest is read to its end."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        writer.write(told)
        await writer.drain()
        status = await reader.readline()
        if b" 200 " not in status:
            body = await reader.read(2000)
            raise ConnectionError(f"{status.decode(errors='replace').strip()} {body[-200:]!r}")
        while await reader.read(65536):
            pass
    finally:
        writer.close()


async def frame(seconds: Seconds, second: int, host: str, port: int, told: bytes) -> None:
    """Send one frame and count what became of it."""
    begun = time.monotonic()
    try:
        await asyncio.wait_for(answered(host, port, told), TIMEOUT_S)
    except (OSError, TimeoutError) as error:
        seconds.ended(second, time.monotonic() - begun, f"{type(error).__name__}: {error}"[:200])
    else:
        seconds.ended(second, time.monotonic() - begun)


async def run(asked: argparse.Namespace, plan: list[int]) -> None:
    """Send all frames in time, wait for every end, and report."""
    host, _, port = asked.address.partition(":")
    told, seconds = request(asked.address, asked.model, asked.size), Seconds(plan)
    tasks: set[asyncio.Task[None]] = set()
    begun = time.monotonic()
    report({"began": time.time()})
    for second, frames in enumerate(plan):
        for place in range(frames):
            await asyncio.sleep(max(0.0, begun + second + place / frames - time.monotonic()))
            task = asyncio.create_task(frame(seconds, second, host, int(port), told))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
        await asyncio.sleep(max(0.0, begun + second + 1 - time.monotonic()))
    await asyncio.gather(*tasks)
    late_s = time.monotonic() - begun - len(plan)
    waits = {"longest_ms": seconds.longest_ms(), "waits_ms": seconds.waits_ms}
    report({"ended": True, "late_s": round(late_s, 1), "failed": seconds.failed, **waits})
    report({"frames": sum(plan), "failed": sum(seconds.failed), "errors": dict(seconds.errors)})


def report(line: dict[str, object]) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def main() -> int:
    """Read what is asked and run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--address", required=True, help="host:port of Triton's HTTP")
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", type=int, default=64)
    asked = parser.parse_args()
    asyncio.run(run(asked, json.loads(Path(__file__).with_name("plan.json").read_text())))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs in a pod: cameras that send frames at a fixed rate whatever the answers take, each with one retry.

A camera has a gRPC connection of its own. A frame that fails is sent once more, on a fresh connection and with gRPC's
`wait_for_ready`: this one call waits for a server that can be reached, and is itself sent once. What fails twice is
lost. One line of JSON a second, one for each frame that needed its second chance, and a last one after the end, which
comes when the time is over or the file STOP is there.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import numpy as np
from tritonclient.grpc import service_pb2, service_pb2_grpc

STOP = Path("/tmp/stop")
OPTIONS = [
    ("grpc.use_local_subchannel_pool", 1),  # or cameras of one process would share a connection
    ("grpc.min_reconnect_backoff_ms", 1000),  # an attempt to connect to a dead node is given up after this
    ("grpc.initial_reconnect_backoff_ms", 250),
    ("grpc.max_reconnect_backoff_ms", 1000),
]


@dataclass
class Tally:
    """What became of the frames."""

    started: float = field(default_factory=time.monotonic)
    sent: int = 0
    answered: int = 0
    retried: int = 0
    lost: int = 0
    slowest_ms: float = 0.0
    stopped: bool = False
    words: Counter[str] = field(default_factory=Counter)
    lost_words: Counter[str] = field(default_factory=Counter)

    @property
    def at(self) -> float:
        return round(time.monotonic() - self.started, 2)

    def line(self) -> dict[str, Any]:
        counts = {"sent": self.sent, "answered": self.answered, "retried": self.retried, "lost": self.lost}
        told = {"first_failures": dict(self.words), "lost_words": dict(self.lost_words)}
        return {"at": self.at, "time": time.strftime("%H:%M:%S"), **counts, "slowest_ms": self.slowest_ms, **told}


@dataclass
class Ask:
    """How a frame is asked about."""

    target: str
    request: Any
    timeout_s: float
    patience_s: float


class Camera:
    """One connection, and the frames on it."""

    def __init__(self, ask: Ask, tally: Tally) -> None:
        self._ask, self._tally = ask, tally
        self._channel = self._connect()

    def _connect(self) -> grpc.aio.Channel:
        return grpc.aio.insecure_channel(self._ask.target, options=OPTIONS)

    async def frame(self) -> None:
        """Send one frame, and once more if it fails; whatever happens is counted with its words."""
        tally, channel, began = self._tally, self._channel, time.monotonic()
        tally.sent += 1
        try:
            await infer(channel, self._ask, timeout_s=self._ask.timeout_s, patient=False)
        except grpc.RpcError as error:
            await self._again(channel, words(error))
        else:
            tally.answered += 1
        tally.slowest_ms = max(tally.slowest_ms, round((time.monotonic() - began) * 1000, 1))

    async def _again(self, failed: grpc.aio.Channel, why: str) -> None:
        tally, began = self._tally, time.monotonic()
        tally.retried += 1
        tally.words[why] += 1
        if self._channel is failed:
            self._channel = self._connect()
        try:
            await infer(self._channel, self._ask, timeout_s=self._ask.patience_s, patient=True)
        except grpc.RpcError as error:
            tally.lost += 1
            tally.lost_words[words(error)] += 1
            outcome = f"lost: {words(error)}"
        else:
            tally.answered += 1
            outcome = "answered"
        say(at=tally.at, failed=why, then=outcome, after_s=round(time.monotonic() - began, 2))


async def infer(channel: grpc.aio.Channel, ask: Ask, *, timeout_s: float, patient: bool) -> None:
    """Ask once; a refusal or no answer in time raises."""
    stub = service_pb2_grpc.GRPCInferenceServiceStub(channel)
    await stub.ModelInfer(ask.request, timeout=timeout_s, wait_for_ready=patient)


def words(error: grpc.RpcError) -> str:
    """Return gRPC's own words for a failure."""
    code, details = getattr(error, "code", None), getattr(error, "details", None)
    return f"{code().name if code else type(error).__name__}: {str(details() if details else error)[:160]}"


def say(**fields: Any) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def frame_of(model: str, size: int) -> Any:
    """Return the request for one black frame, as the network's input has it."""
    pixels = np.zeros((1, 3, size, size), np.float32)
    request = service_pb2.ModelInferRequest(model_name=model, raw_input_contents=[pixels.tobytes()])
    request.inputs.add(name="images", datatype="FP32", shape=pixels.shape)
    return request


async def stream(camera: Camera, tally: Tally, *, period_s: float, first: float, until: float) -> None:
    """Send a frame each period, and wait for the answers at the end only."""
    due, underway = first, set()
    while due < until and not tally.stopped:
        await asyncio.sleep(max(0.0, due - time.monotonic()))
        task = asyncio.create_task(camera.frame())
        underway.add(task)
        task.add_done_callback(underway.discard)
        due += period_s
    await asyncio.gather(*underway)


async def report(tally: Tally) -> None:
    """Print the tally each second, and look for STOP."""
    while True:
        say(**tally.line())
        await asyncio.sleep(1)
        tally.stopped = await asyncio.to_thread(STOP.exists)


async def run(asked: argparse.Namespace) -> Tally:
    """Run all cameras to their end."""
    address, _, model = asked.url.removeprefix("grpc://").partition("/")
    ask = Ask(address, frame_of(model, asked.size), asked.timeout, asked.patience)
    await asyncio.sleep(asked.delay)
    tally = Tally()
    reporting = asyncio.create_task(report(tally))
    period, start = asked.cameras / asked.rate, time.monotonic()
    cameras = [
        stream(
            Camera(ask, tally),
            tally,
            period_s=period,
            first=start + index / asked.rate,
            until=start + asked.seconds,
        )
        for index in range(asked.cameras)
    ]
    await asyncio.gather(*cameras)
    reporting.cancel()
    return tally


def main() -> int:
    """Stream, then print the last line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--cameras", type=int, default=8)
    parser.add_argument("--rate", type=float, default=20.0, help="frames per second of all cameras together")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds before the first frame")
    parser.add_argument("--size", type=int, default=64)
    parser.add_argument("--timeout", type=float, default=2.0, help="seconds that a frame's first try gets")
    parser.add_argument("--patience", type=float, default=30.0, help="seconds that its retry gets")
    tally = asyncio.run(run(parser.parse_args()))
    say(**tally.line(), end=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())

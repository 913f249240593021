"""The operator as a user runs it: the same command and settings as the chart's, probed and scraped as in a pod."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import aiohttp
import yaml

from e2e.bench.api_server import ApiServer
from e2e.bench.host import Usage, usage

QUIET_S = 1.0
SETTLED_WITHIN_S, SETTLED_CPU = 2.0, 0.1
"""At rest it uses less than a tenth of a core, seen over two seconds."""
"""So long nothing may have been written and nothing be due before the operator is said to be done."""
READY_EVERY_S, HEALTHY_EVERY_S, SCRAPED_EVERY_S = 2.0, 10.0, 30.0
"""The chart's probes, and Prometheus' usual interval."""
_WRITES = re.compile(r"^yolofleet_writes_total\{.*\} (\S+)$", re.MULTILINE)
_DIRTY = re.compile(r"^yolofleet_dirty_keys (\S+)$", re.MULTILINE)


@dataclass
class Operator:
    """One run of the operator's process."""

    process: subprocess.Popen[bytes]
    base_url: str
    started: float
    session: aiohttp.ClientSession
    log: Path
    scrape_bytes: int = 0

    def usage(self) -> Usage:
        """What it has used so far."""
        return usage(self.process.pid)

    async def ask(self, path: str) -> tuple[int, str]:
        """Return status and text of one answer; status 0 while nobody listens."""
        if self.process.poll() is not None:
            raise RuntimeError(f"the operator ended with {self.process.returncode}:\n{self.log.read_text()[-3000:]}")
        try:
            timeout = aiohttp.ClientTimeout(total=60)
            async with self.session.get(f"{self.base_url}{path}", timeout=timeout) as response:
                return response.status, await response.text()
        except aiohttp.ClientConnectionError:
            return 0, ""

    async def scrape(self) -> str:
        """Return the page of metrics, as Prometheus would."""
        status, page = await self.ask("/metrics")
        if status != 200:
            raise RuntimeError(f"/metrics answered {status}")
        self.scrape_bytes = len(page)
        return page

    async def ready(self, *, limit_s: float) -> float:
        """Wait for readiness; return the seconds since the start."""
        while (await self.ask("/readyz"))[0] != 200:
            if time.monotonic() - self.started > limit_s:
                raise TimeoutError(f"the operator was not ready after {limit_s:.0f} s:\n{self.log.read_text()[-3000:]}")
            await asyncio.sleep(0.05)
        return time.monotonic() - self.started

    async def done(self, *, limit_s: float) -> float:
        """Wait until nothing is due and nothing is written any more; return when that began (monotonic)."""
        deadline = time.monotonic() + limit_s
        before, since = -1.0, time.monotonic()
        while True:
            page = await self.scrape()
            written, dirty = sum(map(float, _WRITES.findall(page))), sum(map(float, _DIRTY.findall(page)))
            if written != before:
                before, since = written, time.monotonic()
            elif not dirty and time.monotonic() - since >= QUIET_S:
                return since  # a key that a timer wakes is looked at again, and is no write
            if time.monotonic() > deadline:
                raise TimeoutError(f"after {limit_s:.0f} s {dirty:.0f} keys are due, {written:.0f} writes were made")
            await asyncio.sleep(0.25)

    async def settled(self, *, limit_s: float) -> None:
        """Wait until it has digested its start: kopf tells of every object once more, after our own first pass."""
        deadline, before = time.monotonic() + limit_s, self.usage().cpu_s
        while time.monotonic() < deadline:
            await asyncio.sleep(SETTLED_WITHIN_S)
            now = self.usage().cpu_s
            if now - before < SETTLED_CPU * SETTLED_WITHIN_S:
                return
            before = now
        raise TimeoutError(f"the operator was still busy {limit_s:.0f} s after its start")

    async def probed(self, seconds: float) -> None:
        """Let it rest, with the kubelet's probes and Prometheus' scrapes."""
        ends = time.monotonic() + seconds
        due = {"/readyz": READY_EVERY_S, "/healthz": HEALTHY_EVERY_S, "/metrics": SCRAPED_EVERY_S}
        turns = {path: time.monotonic() + every / 2 for path, every in due.items()}
        while (now := time.monotonic()) < ends:
            for path in [path for path, turn in turns.items() if turn <= now]:
                status, _ = await self.ask(path)
                if status != 200:
                    raise RuntimeError(f"{path} answered {status} at rest")
                turns[path] += due[path]
            await asyncio.sleep(max(0.0, min(ends, *turns.values()) - time.monotonic()))

    def stop(self) -> None:
        """End it as the kubelet would."""
        self.process.send_signal(signal.SIGTERM)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(10)


def _spawn(command: list[str], output: BinaryIO, env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env)


@asynccontextmanager
async def operator(server: ApiServer) -> AsyncIterator[Operator]:
    """Start the operator with the chart's settings and rights, and end it afterwards."""
    settings = server.place.run / "settings.yaml"
    settings.write_text(server.settings())
    port = yaml.safe_load(settings.read_text())["httpPort"]
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("KUBERNETES_", "PYTHON"))}
    env = kept | {"KUBECONFIG": str(server.operator_kubeconfig()), "POD_NAMESPACE": "yolofleet-system"}
    log = server.place.logs / "operator.log"
    with log.open("ab") as output:
        command = [sys.executable, "-m", "yolofleet.handlers", "--settings", str(settings)]
        started = time.monotonic()
        process = _spawn(command, output, env)
    async with aiohttp.ClientSession() as session:
        made = Operator(process, f"http://127.0.0.1:{port}", started, session, log)
        try:
            yield made
        finally:
            made.stop()

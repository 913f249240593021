"""`make bench-operator`: the operator against a real API server at 1,000, 5,000 and 10,000 YoloDeployments.

Starts etcd and the API server of the pinned build in private namespaces of this command, nothing else: no kubelet,
no controller, no way out. See docs/benchmarks/operator.md for what the figures mean.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import statistics
import sys
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from e2e.bench import host, phases
from e2e.bench.api_server import WRITES, ApiServer, Requests, api_server, enter_network
from e2e.bench.bars import bars
from e2e.bench.operator_process import Operator, operator
from e2e.bench.steady_fleet import Size, lay_out
from e2e.cache import REPOSITORY, locked
from e2e.clusters.bare import prerequisites
from e2e.clusters.bare.binaries import KUBERNETES_VERSION, Binaries, build_binaries
from e2e.clusters.bare.layout import ClusterPlace
from e2e.progress import step

OUT = REPOSITORY / "out" / "bench" / "operator.json"
CHANGES, BURST = 100, 500
RESTARTS, BURSTS = 3, 3
AUDIT_S = 120.0
"""The operator compares everything with a list every `operator.resyncSeconds`; a rest has one of these."""
CALM_LOAD, CALM_WITHIN_S = 1.0, 180.0
SMOKE_REST_S = 3.0

Row = dict[str, Any]


@dataclass(frozen=True)
class Asked:
    """What the command line asks for."""

    sizes: list[int]
    engines: int
    pods: bool
    rest_s: float
    timed: bool
    name: str
    out: Path


async def measure(server: ApiServer, size: Size, asked: Asked) -> Row:
    """Take one size through all phases; return its row."""
    with step(f"{size.deployments} YoloDeployments, {size.engines} engines, {size.nodes} nodes: created"):
        await lay_out(server, size)
    row: Row = {"deployments": size.deployments, "engines": size.engines, "nodes": size.nodes, "pods": size.pods}
    row |= {"timed": asked.timed, "date": datetime.now(UTC).isoformat(timespec="seconds"), "loadavg": {}}
    async with operator(server) as running:
        await _first_run(server, size, running, row)
    restarts = []
    for index in range(RESTARTS if asked.timed else 1):
        async with operator(server) as running:
            with step(f"restart {index + 1}: until nothing is due"):
                restarts.append(await phases.restart(server, running))
    row["writes_restart"] = _sum([r.writes for r in restarts])
    row["restart_s"] = round(statistics.median(r.seconds for r in restarts), 1)
    async with operator(server) as running:
        await running.ready(limit_s=phases.LIMIT_S)
        await running.done(limit_s=phases.LIMIT_S)
        await running.settled(limit_s=phases.LIMIT_S)
        await _steady(server, size, running, row, asked)
        peaks = [row.pop("rss_peak_first"), *(r.rss_peak_mib for r in restarts), running.usage().rss_peak_mib]
    if asked.timed:
        with step("the same burst's writes, without an operator"):
            row["burst_floor_s"] = round(await phases.floor(server, size.names()[CHANGES:][:BURST], 2 + BURSTS), 2)
    row["rss_mib"] = max(row["rss_by_phase_mib"].values())
    row["rss_peak_mib"] = round(max(peaks))
    return row | {"bars": [vars(bar) | {"holds": bar.holds} for bar in bars(row)]}


async def _first_run(server: ApiServer, size: Size, running: Operator, row: Row) -> None:
    row["loadavg"]["cold"] = host.load()
    with step("cold: until every child is written"):
        seen = await phases.cold(server, size, running)
    row |= {"cold_s": round(seen.seconds, 1), "cold_cpu_s": round(seen.cpu_s, 1), "objects_cold": seen.objects}
    row["writes_cold"] = phases.written(seen.requests, Requests())
    row["requests_per_resource"] = _by_resource(seen.requests, set(seen.objects))
    row["rss_by_phase_mib"] = {"cold": round(running.usage().rss_mib)}
    with step("serving: until every YoloDeployment is Ready"):
        row["writes_serving"] = await phases.serving(server, size, running)
    row["rss_by_phase_mib"]["serving"] = round(running.usage().rss_mib)
    row["rss_peak_first"] = running.usage().rss_peak_mib


async def _steady(server: ApiServer, size: Size, running: Operator, row: Row, asked: Asked) -> None:
    row["loadavg"]["rest"] = host.load()
    with step(f"rest: {asked.rest_s:.0f} s"):
        seen = await phases.rest(server, size, running, asked.rest_s)
    row |= {"writes_rest": seen.writes, "rest_s": asked.rest_s, "idle_cpu_percent": round(seen.cpu_percent, 2)}
    row["metrics_bytes"] = seen.scrape_bytes
    row["rss_by_phase_mib"]["rest"] = round(running.usage().rss_mib)
    if not asked.timed:
        return
    await _calm()
    names = size.names()
    row["loadavg"]["change"] = host.load()
    with step(f"change → child, {CHANGES} times"):
        took = await phases.changes(server, names[:CHANGES])
    row["change_p50_ms"], row["change_p99_ms"] = (round(phases.quantile(took, p), 1) for p in (50, 99))
    many = names[CHANGES:][:BURST]
    bursts = []
    for replicas in range(2, 2 + BURSTS):
        row["loadavg"]["burst"] = host.load()
        with step(f"burst of {len(many)}"):
            bursts.append(await phases.burst(server, many, replicas))
            await running.done(limit_s=phases.LIMIT_S)
    row["burst_500_s"] = round(statistics.median(bursts), 2)
    row["rss_by_phase_mib"]["end"] = round(running.usage().rss_mib)


async def _calm() -> None:
    """Wait for a quiet machine, but not for ever: the row says how loaded it was."""
    deadline = time.monotonic() + CALM_WITHIN_S
    while host.load() > CALM_LOAD and time.monotonic() < deadline:  # noqa: ASYNC110 - nobody tells a load average
        await asyncio.sleep(2)


def _sum(many: list[dict[str, int]]) -> dict[str, int]:
    return {kind: sum(one.get(kind, 0) for one in many) for kind in sorted({kind for one in many for kind in one})}


def _by_resource(requests: Requests, resources: set[str]) -> dict[str, dict[str, int]]:
    """Return the requests cold by resource and verb, of the resources that the operator writes."""
    found: dict[str, dict[str, int]] = {}
    for (verb, resource), count in sorted(requests.items()):
        if resource in resources and (verb in WRITES or verb == "GET"):
            found.setdefault(resource, {})[verb] = count
    return found


async def run(asked: Asked, binaries: Binaries) -> list[Row]:
    """Measure every size on an API server of its own."""
    rows = []
    for count in asked.sizes:
        size = Size(count, min(asked.engines, count), pods=asked.pods)
        async with AsyncExitStack() as stack:
            with step("etcd, the API server and the chart"):
                server = await stack.enter_async_context(api_server(binaries, asked.name))
            rows.append(await measure(server, size, asked))
        show(rows[-1])
        save(rows, asked)
    return rows


def show(row: Row) -> None:
    """Print a row and whether its bars hold."""
    for key, value in row.items():
        if key != "bars":
            print(f"    {key:22} {value}")
    for bar in row["bars"]:
        print(f"    {'ok  ' if bar['holds'] else 'MISS'} {bar['name']}: {bar['seen']:g} (at most {bar['most']:g})")


def save(rows: list[Row], asked: Asked) -> None:
    """Write the rows, with everything that they depend on."""
    asked.out.parent.mkdir(parents=True, exist_ok=True)
    versions = {name: version(name) for name in ("yolofleet", "kopf", "aiohttp", "orjson", "pydantic")}
    told = {
        "command": f"make bench-operator BENCH_ARGS={' '.join(sys.argv[1:])!r}",
        "versions": versions | {"kubernetes": KUBERNETES_VERSION, "python": platform.python_version()},
        "cpu": {"model": host.processor(), "cores": os.cpu_count()},
        "rows": rows,
    }
    asked.out.write_text(json.dumps(told, indent=1) + "\n")


def arguments(given: list[str]) -> Asked:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="make bench-operator BENCH_ARGS=…", description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[1_000, 5_000, 10_000], help="YoloDeployments")
    parser.add_argument("--engines", type=int, default=100, help="YoloEngines that they share (default 100)")
    parser.add_argument(
        "--pods", action="store_true", help="one Ready pod object for each, beside the Deployment's status"
    )
    parser.add_argument("--rest", type=float, default=AUDIT_S, help="seconds of rest (default: with one audit)")
    parser.add_argument("--counts-only", action="store_true", help="no timing: what a noisy machine can gate on")
    parser.add_argument("--name", default="bench-operator", help="name of the folder in the cache")
    parser.add_argument("--out", type=Path, default=OUT, help="where the rows go")
    told = parser.parse_args(given)
    return Asked(told.sizes, told.engines, told.pods, told.rest, not told.counts_only, told.name, told.out)


def main(given: list[str]) -> int:
    """Run inside private namespaces of this command; 1 when a bar is missed."""
    asked = arguments([word for word in given if word != "--inside"])
    if "--inside" not in given:
        prerequisites.check(tools=prerequisites.CLUSTER_TOOLS)
        build_binaries()
        unshare = prerequisites.find_tool("unshare")
        flags = ["--net", "--mount", "--pid", "--fork", "--kill-child=SIGKILL", "--mount-proc"]
        # In place of this process: whoever ends it ends everything inside.
        os.execv(  # noqa: S606 - no shell is wanted
            unshare, [unshare, *flags, sys.executable, "-m", "e2e.bench.operator", "--inside", *given]
        )
    with locked(ClusterPlace(asked.name).lock):
        enter_network()
        rows = asyncio.run(run(asked, build_binaries()))
    missed = [bar for row in rows for bar in row["bars"] if not bar["holds"]]
    print(f"{asked.out}: {'every bar holds' if not missed else f'{len(missed)} bars missed'}")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

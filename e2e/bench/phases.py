"""The phases of one size: cold, serving, restarts, rest, single changes, a burst; each returns what it saw."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from e2e.bench.api_server import WRITES, ApiServer, Requests, all_of, compact, watch
from e2e.bench.operator_process import Operator
from e2e.bench.steady_fleet import Size, beat, serve
from yolofleet.kube import Resource
from yolofleet.observe.resources import BUDGET, DEPLOYMENT, SERVICE, YOLODEPLOYMENT, YOLOENGINE

CHILDREN = (DEPLOYMENT, SERVICE, BUDGET)
EVENTS = Resource("events.k8s.io/v1", "Event", "events")
SERIES = (("PATCH", "events"),)
"""The API server counts up Events of its own, on addresses of Services; the operator never does."""
LIMIT_S = 900.0
Name = tuple[str, str]


@dataclass(frozen=True)
class Cold:
    """A start with no child there: seconds until all are written, and what was asked and written for how many."""

    seconds: float
    cpu_s: float
    requests: Requests
    objects: dict[str, int]


@dataclass(frozen=True)
class Rest:
    """A time in which nothing happens but probes, scrapes, audits and heartbeats of nodes."""

    writes: dict[str, int]
    cpu_percent: float
    scrape_bytes: int


@dataclass(frozen=True)
class Restart:
    """One restart over a standing fleet."""

    seconds: float
    writes: dict[str, int]
    rss_mib: float
    rss_peak_mib: float


@dataclass
class Arrivals:
    """When each Deployment was seen to have its new replicas."""

    at: dict[Name, float] = field(default_factory=dict)
    event: asyncio.Event = field(default_factory=asyncio.Event)

    async def of(self, names: set[Name], *, limit_s: float) -> None:
        """Wait until all of them were seen."""
        async with asyncio.timeout(limit_s):
            while not names <= self.at.keys():
                self.event.clear()
                await self.event.wait()


def written(after: Requests, before: Requests) -> dict[str, int]:
    """Return the writes between two readings, by resource; heartbeats of nodes are the bench's own."""
    found: Counter[str] = Counter()
    for (verb, resource), count in (after - before).items():
        if verb in WRITES and resource != "nodes/status" and (verb, resource) not in SERIES:
            found[resource] += count
    return dict(sorted(found.items()))


async def cold(server: ApiServer, size: Size, running: Operator) -> Cold:
    """Wait until every child stands and nothing is due any more."""
    before = await server.requests()
    while min([await server.count(kind) for kind in CHILDREN]) < size.deployments:
        await running.ask("/healthz")  # raises when the process has ended
        if time.monotonic() - running.started > LIMIT_S:
            raise TimeoutError(f"the children were not there after {LIMIT_S:.0f} s")
        await asyncio.sleep(0.5)
    done = await running.done(limit_s=LIMIT_S)
    requests = await server.requests() - before
    objects = {kind.plural: await server.count(kind) for kind in CHILDREN}
    objects["services"] -= len(OTHER_SERVICES)
    objects["deployments"] -= 1  # the operator's own
    objects |= {"yolodeployments/status": size.deployments, "migpools/status": 1}
    objects |= {"yoloengines": await server.count(YOLOENGINE), "events": await server.count(EVENTS)}
    return Cold(done - running.started, running.usage().cpu_s, requests, objects)


OTHER_SERVICES = ("kubernetes", "yolofleet-metrics")


async def serving(server: ApiServer, size: Size, running: Operator) -> dict[str, int]:
    """Let every replica be ready; return what the operator wrote when it heard of it."""
    before = await server.requests()
    await serve(server, size)
    await running.done(limit_s=LIMIT_S)
    after = await server.requests()
    own = {"deployments/status": size.deployments} | (
        {"pods": size.deployments, "pods/status": size.deployments} if size.pods else {}
    )
    seen = {kind: count - own.get(kind, 0) for kind, count in written(after, before).items()}
    await _all_ready(server)
    return {kind: count for kind, count in seen.items() if count}


async def _all_ready(server: ApiServer) -> None:
    async for page in server.kube.pages(YOLODEPLOYMENT):
        for item in page["items"]:
            conditions = {c["type"]: c for c in (item.get("status") or {}).get("conditions", [])}
            if conditions.get("Ready", {}).get("status") != "True":
                raise AssertionError(f"{item['metadata']['name']} is not Ready: {item.get('status')}")


async def restart(server: ApiServer, running: Operator) -> Restart:
    """Measure one start over what stands already."""
    before = await server.requests()
    await running.ready(limit_s=LIMIT_S)
    done = await running.done(limit_s=LIMIT_S)
    seen = running.usage()
    return Restart(done - running.started, written(await server.requests(), before), seen.rss_mib, seen.rss_peak_mib)


async def rest(server: ApiServer, size: Size, running: Operator, seconds: float) -> Rest:
    """Leave the operator alone for a while; audits come by themselves when it is long enough."""
    heart = asyncio.create_task(beat(server, size))
    try:
        before, used = await server.requests(), running.usage().cpu_s
        started = time.monotonic()
        await running.probed(seconds)
        spent = running.usage().cpu_s - used
        took = time.monotonic() - started
        return Rest(written(await server.requests(), before), 100 * spent / took, running.scrape_bytes)
    finally:
        heart.cancel()
        with suppress(asyncio.CancelledError):
            await heart


@asynccontextmanager
async def arrivals(server: ApiServer, replicas: int) -> AsyncIterator[Arrivals]:
    """Watch all Deployments for the ones that get so many replicas."""
    page = await server.kube.request("GET", DEPLOYMENT.path(), params={"limit": "1"})
    seen = Arrivals()

    async def follow() -> None:
        async for item in watch(server.kube, DEPLOYMENT, page["metadata"]["resourceVersion"]):
            labels: dict[str, Any] = item["metadata"].get("labels", {})
            if item["spec"]["replicas"] == replicas:
                name = (item["metadata"]["namespace"], labels.get("yolofleet.dev/deployment", ""))
                seen.at.setdefault(name, time.monotonic())
                seen.event.set()

    task = asyncio.create_task(follow())
    try:
        yield seen
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _ask_for(server: ApiServer, name: Name, replicas: int) -> float:
    patch = {"spec": {"scaling": {"minReplicas": replicas}}}
    await server.kube.merge(YOLODEPLOYMENT, namespace=name[0], name=name[1], patch=patch)
    return time.monotonic()


async def changes(server: ApiServer, names: list[Name]) -> list[float]:
    """Change one YoloDeployment after the other; milliseconds from the answer to the child's watch event."""
    took = []
    async with arrivals(server, 2) as seen:
        for name in names:
            answered = await _ask_for(server, name, 2)
            await seen.of({name}, limit_s=60)
            took.append(max(0.0, (seen.at[name] - answered) * 1000))
            await asyncio.sleep(0.05)
    return took


async def burst(server: ApiServer, names: list[Name], replicas: int) -> float:
    """Change many at once; seconds from the first request to the last child's watch event."""
    async with arrivals(server, replicas) as seen:
        started = time.monotonic()
        await all_of(_ask_for(server, name, replicas) for name in names)
        await seen.of(set(names), limit_s=120)
        return max(seen.at[name] for name in names) - started


async def floor(server: ApiServer, names: list[Name], replicas: int) -> float:
    """Make a burst's two writes, of the YoloDeployment and of its child, with nobody to decide; seconds for all.

    What the API server and this bench need alone, on this machine and in this hour: no operator is faster.
    """
    wanted, manifests = set(names), {}
    async for page in server.kube.pages(DEPLOYMENT):
        for item in page["items"]:
            name = (
                item["metadata"]["namespace"],
                item["metadata"].get("labels", {}).get("yolofleet.dev/deployment", ""),
            )
            if name in wanted:
                manifests[name] = _applied(item, replicas)
    operator_itself = await server.as_operator()

    async def change(name: Name) -> None:
        await _ask_for(server, name, replicas)
        await operator_itself.apply(DEPLOYMENT, manifests[name])

    try:
        started = time.monotonic()
        await all_of(change(name) for name in names)
        return time.monotonic() - started
    finally:
        await operator_itself.close()


def _applied(stored: dict[str, Any], replicas: int) -> dict[str, Any]:
    """Return a stored Deployment as its field manager would apply it, with other replicas."""
    kept = {key: stored["metadata"][key] for key in ("name", "namespace", "labels", "annotations", "ownerReferences")}
    head = {"apiVersion": DEPLOYMENT.api_version, "kind": DEPLOYMENT.kind, "metadata": kept}
    return compact(head | {"spec": stored["spec"] | {"replicas": replicas}})


def quantile(values: list[float], percent: int) -> float:
    """Return a percentile of many values."""
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]

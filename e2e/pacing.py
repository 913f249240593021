"""A trace that a deployment of known speed lives through: what was decided meanwhile, and what a simulation decides."""

from __future__ import annotations

import itertools
import json
import math
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime
from statistics import median
from typing import Any

import numpy as np

from e2e.acting import client_of
from e2e.bench.scaling.plant import simulate
from e2e.bench.scaling.policies import Ours
from e2e.fleet import ROOT, Client, Fleet, Object
from e2e.images import image_name
from yolofleet.planning.scaling.forecast import Prices

REPLICA_FPS = 10
"""What one frame of 100 ms makes (e2e/images/triton_sleeping)."""
TARGET_PERCENT = 70
"""Frames spread by chance over replicas wait for one another: at seven tenths not for long."""
PRICE_S = 50
OBJECTIVE_MS = 1000
LATE_S = 6
"""A decision of the one may come so much later than of the other: looks are two seconds apart, rates take three."""
BEFORE_S = 100
"""What the simulator lives through before, at the first rate: its day begins with what its first minute needs."""
PROOF_S = 30
"""And so much later it may go down: the operator wants all replicas seen for that long first, a simulation does not."""
SLEEPING: Object = {"backend": "ONNXRuntime", "imageSize": {"height": 64, "width": 64}, "maxBatchSize": 1}


@dataclass(frozen=True)
class Bounds:
    """The spec's own."""

    least: int = 2
    most: int = 12
    warm: int = 1

    @property
    def scaling(self) -> Object:
        return {
            "mode": "Observed",
            "minReplicas": self.least,
            "maxReplicas": self.most,
            "warmReplicas": self.warm,
            "targetUtilizationPercent": TARGET_PERCENT,
            "overloadCostSeconds": PRICE_S,
            "scaleDown": {"stabilizationWindowSeconds": 30},
        }


@dataclass(frozen=True)
class Sight:
    """What stood in the cluster at a moment."""

    at: float
    desired: int
    ready: int
    message: str


@dataclass
class Watch:
    """All sights of a deployment, and how long its pods took to start; while the API is away there are none."""

    sights: list[Sight] = field(default_factory=list)
    starts_s: dict[str, float] = field(default_factory=dict)

    def look(self, client: Any, namespace: str, name: str) -> None:
        host = client.configuration.host
        deployment = f"{host}/apis/yolofleet.dev/v1alpha1/namespaces/{namespace}/yolodeployments/{name}"
        pods = f"{host}/api/v1/namespaces/{namespace}/pods?labelSelector=yolofleet.dev/deployment={name}"
        status = _asked(client, deployment).get("status", {})
        told = status.get("scaling", {})
        sight = Sight(
            time.time(), told.get("desiredReplicas", 0), status.get("readyReplicas", 0), told.get("message", "")
        )
        self.sights.append(sight)
        for pod in _asked(client, pods)["items"]:
            for condition in pod["status"].get("conditions", []):
                if condition["type"] == "Ready" and condition["status"] == "True":
                    began, ready = pod["metadata"]["creationTimestamp"], condition["lastTransitionTime"]
                    took = datetime.fromisoformat(ready) - datetime.fromisoformat(began)
                    self.starts_s.setdefault(pod["metadata"]["uid"], took.total_seconds())

    def since(self, began: float, seconds: int) -> list[Sight]:
        return [sight for sight in self.sights if began <= sight.at < began + seconds]


def _asked(client: Any, url: str) -> Any:
    headers = {"Accept": "application/json"}
    client.update_params_for_auth(headers, [], ["BearerToken"], url, "GET", None)
    return json.loads(client.rest_client.pool_manager.request("GET", url, headers=headers, timeout=3, retries=0).data)


@contextmanager
def watched(fleet: Fleet, name: str, *, each_s: float = 0.5) -> Iterator[Watch]:
    """Watch a deployment while the block runs."""
    client, watch, over = client_of(fleet.cluster), Watch(), threading.Event()

    def run() -> None:
        while not over.wait(each_s):
            try:
                watch.look(client, fleet.namespace, name)
            except Exception as error:  # noqa: BLE001 - the API server may be away on purpose
                print("not seen:", type(error).__name__)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield watch
    finally:
        over.set()
        thread.join(timeout=10)


def deploy(fleet: Fleet, name: str, bounds: Bounds) -> None:
    """Serve the sleeping model."""
    fleet.deploy(
        name,
        engine=SLEEPING,
        objective={"p99LatencyMilliseconds": OBJECTIVE_MS},
        scaling=bounds.scaling,
        serving={"image": image_name("triton-sleeping")},
    )


def pace(fleet: Fleet, name: str, frames: Sequence[int]) -> Client:
    """Send so many frames in each second."""
    address = f"{name}.{fleet.namespace}.svc.cluster.local:8000"
    plan = {"plan.json": json.dumps(list(frames)).encode()}
    return fleet.client("pace", ROOT / "e2e/clients/paced.py", ["--address", address, "--model", name], plan)


def p99_ms(waits_ms: Sequence[Sequence[int]], since: float, until: float) -> int:
    """Return the 99th percentile of what a client's frames waited that were to be sent in a span of seconds."""
    waits = sorted(one for second in waits_ms[round(since) : round(until)] for one in second)
    return waits[math.ceil(0.99 * len(waits)) - 1]


def steps(*levels: tuple[int, int]) -> list[int]:
    """Return frames per second from (frames, seconds)."""
    return [fps for fps, seconds in levels for _ in range(seconds)]


def simulated(frames: Sequence[int], start_s: float, bounds: Bounds) -> list[int]:
    """Return the replicas that the simulator's run of the same trace wants, second by second."""
    policy = Ours(Prices(float(PRICE_S)), target=TARGET_PERCENT / 100, warm=bounds.warm, replica_fps=REPLICA_FPS)
    lived = np.array([*[frames[0]] * BEFORE_S, *frames])
    starts_s = [max(1, round(start_s))] * len(lived)
    told = simulate(lived, policy, starts_s=starts_s, learnt=(start_s,), trace=True, replica_fps=REPLICA_FPS)
    return [min(max(count, bounds.least), bounds.most) for count in told.counts[BEFORE_S:]]


def apart(sights: Sequence[Sight], began: float, counts: Sequence[int], since_s: int) -> list[tuple[int, int, int]]:
    """Return (second, desired, simulated) wherever the two are more than one apart and no lateness explains it."""
    found = []
    for sight in sights:
        second = int(sight.at - began)
        if not since_s <= second < len(counts):
            continue
        near = counts[max(0, second - LATE_S) : second + LATE_S + 1]
        earlier = counts[max(0, second - LATE_S - PROOF_S) : second + LATE_S + 1]
        if not min(near) - 1 <= sight.desired <= max(earlier) + 1:
            found.append((second, sight.desired, counts[second]))
    return found


def turns(sights: Sequence[Sight]) -> int:
    """Count how often a count that went up went down later, or the other way round."""
    moves = [b.desired - a.desired for a, b in itertools.pairwise(sights) if a.desired != b.desired]
    return sum((a > 0) != (b > 0) for a, b in itertools.pairwise(moves))


def start_s_of(watch: Watch) -> float:
    return median(watch.starts_s.values())


def keep(sights: Sequence[Sight], began: float, frames: Sequence[int], counts: Sequence[int]) -> None:
    """Write down what was seen, for whoever wants to look at it."""
    seen = [{"second": round(sight.at - began, 1), **asdict(sight)} for sight in sights]
    folder = ROOT / "out/e2e"
    folder.mkdir(parents=True, exist_ok=True)
    told = {"frames": list(frames), "simulated": list(counts), "sights": seen}
    (folder / f"pacing-{len(frames)}.json").write_text(json.dumps(told, indent=1))

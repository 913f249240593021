"""Kill the operator at random moments beside a story, and watch what becomes of the replicas meanwhile."""

from __future__ import annotations

import itertools
import random
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from e2e.clusters.kubectl import CommandFailedError
from e2e.clusters.protocol import Cluster
from e2e.fleet import Fleet, kill_operator
from e2e.waiting import wait_for

PROGRAM = "yolofleet.handlers"
SHORTEST_GAP_S = 0.5


@dataclass(frozen=True)
class Kill:
    """One kill that hit a living operator."""

    at_s: float
    phase: str
    how: str


@dataclass
class Kills:
    """Kills in a thread of their own; the story says which phase it is in."""

    cluster: Cluster
    count: int
    mean_gap_s: float
    dice: random.Random
    phase: str = "start"
    allowed: int = 0
    done: list[Kill] = field(default_factory=list)
    started: float = field(default_factory=time.monotonic)
    _stop: threading.Event = field(default_factory=threading.Event)
    _failure: list[BaseException] = field(default_factory=list)

    def enter(self, phase: str, *, share: int) -> None:
        """Begin a phase of the story in which so many kills more may fall."""
        self.phase = phase
        self.allowed += share

    def run(self) -> None:
        """Kill until the count is full; between kills lie 0.5 s to twice the mean gap."""
        try:
            while len(self.done) < self.count:
                gap = self.dice.uniform(SHORTEST_GAP_S, 2 * self.mean_gap_s - SHORTEST_GAP_S)
                if self._stop.wait(gap):
                    return
                if len(self.done) < self.allowed:
                    self._kill()
        except BaseException as error:  # noqa: BLE001 - it is raised where the story waits for the kills
            self._failure.append(error)

    def all_done(self) -> bool:
        if self._failure:
            raise AssertionError(f"the kills ended at {len(self.done)} of {self.count}") from self._failure[0]
        return len(self.done) >= self.count

    def end(self) -> None:
        self._stop.set()

    def _kill(self) -> None:
        delete = self.dice.random() < 0.5
        how = wait_for("an operator to kill", lambda: self._hit(delete=delete), timeout_s=120, interval_s=0.2)
        self.done.append(Kill(round(time.monotonic() - self.started, 1), self.phase, how))

    def _hit(self, *, delete: bool) -> str:
        """Kill the pod or the process; what is not there (a container that waits to be restarted) is no hit."""
        if delete and self.cluster.faults.runs(PROGRAM):
            try:
                kill_operator(self.cluster, timeout_s=5)
            except (CommandFailedError, subprocess.TimeoutExpired):
                pass  # the API server is away: the process dies in place
            else:
                return "pod"
        return "process" if self.cluster.faults.crash(PROGRAM) else ""


@contextmanager
def random_kills(cluster: Cluster, *, count: int, mean_gap_s: float, seed: int) -> Iterator[Kills]:
    """Kill the operator `count` times while the block runs."""
    kills = Kills(cluster, count, mean_gap_s, random.Random(seed))
    thread = threading.Thread(target=kills.run, daemon=True)
    thread.start()
    try:
        yield kills
    finally:
        kills.end()
        thread.join(130)
        print(f"seed {seed}: {len(kills.done)} kills:", *[f"{k.at_s:g}s {k.phase}/{k.how}" for k in kills.done])


@dataclass
class Replicas:
    """Every count of replicas that a Deployment was given, with its time; nobody can write while no watch stands."""

    started: float = field(default_factory=time.monotonic)
    seen: list[tuple[float, int]] = field(default_factory=list)

    def take(self, count: int) -> None:
        if not self.seen or self.seen[-1][1] != count:
            self.seen.append((round(time.monotonic() - self.started, 1), count))

    def fell(self, *, since: int = 0) -> list[tuple[int, int]]:
        """Return every step down, from the given position of `seen` on."""
        counts = [count for _, count in self.seen[since:]]
        return [(before, after) for before, after in itertools.pairwise(counts) if after < before]


@contextmanager
def watched_replicas(fleet: Fleet, name: str) -> Iterator[Replicas]:
    """Follow a Deployment's spec.replicas while the block runs; a watch that breaks is begun anew."""
    replicas, ended = Replicas(), threading.Event()
    where = ["--kubeconfig", str(fleet.cluster.kubeconfig), "--context", fleet.cluster.context, "-n", fleet.namespace]
    what = ["get", "deployments", "-l", f"yolofleet.dev/deployment={name}", "--watch"]
    command = [fleet.cluster.kubectl_path, *where, *what, "-o", "jsonpath={.spec.replicas}{'\\n'}"]

    def follow() -> None:
        while not ended.is_set():
            with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as watch:
                running.append(watch)
                for line in watch.stdout or ():
                    if line.strip().isdigit():
                        replicas.take(int(line))
            ended.wait(0.5)

    running: list[subprocess.Popen[str]] = []
    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield replicas
    finally:
        ended.set()
        running[-1].terminate()
        thread.join(10)
        print("replicas over time:", replicas.seen)

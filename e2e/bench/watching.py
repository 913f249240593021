"""What a cluster's watches tell, each object with the moment at which it was heard of."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

from e2e.fleet import Fleet

Object = dict[str, Any]


@dataclass
class Seen:
    """Everything that was heard, in its order."""

    told: list[tuple[float, str, Object]] = field(default_factory=list)

    def first(self, kind: str, fits: Callable[[Object], bool] = bool, *, labels: str = "") -> float | None:
        """Return when an object of a kind with a label (`key=value`) first fitted."""
        key, _, value = labels.partition("=")
        for at, of, obj in self.told:
            if of == kind and (not labels or obj["metadata"].get("labels", {}).get(key) == value) and fits(obj):
                return at
        return None


@contextmanager
def watched(fleet: Fleet, kinds: Sequence[str]) -> Iterator[Seen]:
    """Watch some kinds of a namespace while the block runs, what is there already included."""
    seen = Seen()
    with ExitStack() as stack:
        for kind in kinds:
            stack.enter_context(_watch(fleet, kind, seen))
        yield seen


@contextmanager
def _watch(fleet: Fleet, kind: str, seen: Seen) -> Iterator[None]:
    where = ["--kubeconfig", str(fleet.cluster.kubeconfig), "--context", fleet.cluster.context, "-n", fleet.namespace]
    command = [fleet.cluster.kubectl_path, *where, "get", kind, "--watch", "--output-watch-events", "-o", "json"]
    watch = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    thread = threading.Thread(target=_listen, args=(watch, kind, seen), daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.terminate()
        watch.wait()
        thread.join(10)


def _listen(watch: subprocess.Popen[str], kind: str, seen: Seen) -> None:
    """Take event by event: kubectl writes each as one line."""
    for line in watch.stdout or ():
        seen.told.append((time.time(), kind, json.loads(line)["object"]))

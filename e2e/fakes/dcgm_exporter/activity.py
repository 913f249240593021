"""How busy a device is: the compute time that the real tritonserver on it counted since the last look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

_COMPUTE = "nv_inference_compute_infer_duration_us"
_EXECUTIONS = "nv_inference_exec_count"
_REQUESTS = "nv_inference_request_success"


@dataclass(frozen=True)
class Counters:
    """What one page of Triton's has counted, over all its models."""

    at: float
    compute_us: float
    executions: float
    requests: float


def counters(page: str, *, at: float) -> Counters:
    """Read Triton's page."""
    totals = dict.fromkeys((_COMPUTE, _EXECUTIONS, _REQUESTS), 0.0)
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name = sample.name.removesuffix("_total")
            if name in totals:
                totals[name] += sample.value
    return Counters(at, totals[_COMPUTE], totals[_EXECUTIONS], totals[_REQUESTS])


def busy(before: Counters, after: Counters) -> float:
    """Return the share of the time in which a model ran.

    Triton adds the time of an execution once for every request in its batch, so the sum is divided by requests per
    execution. A counter that went back means a new server: nothing is known of it yet.
    """
    seconds = after.at - before.at
    requests = after.requests - before.requests
    executions = after.executions - before.executions
    compute_us = after.compute_us - before.compute_us
    if seconds <= 0 or requests <= 0 or executions <= 0 or compute_us <= 0:
        return 0.0
    return min(1.0, compute_us / 1e6 * min(1.0, executions / requests) / seconds)


class ActivityMeter:
    """Follows the counters of whoever holds a device."""

    def __init__(self, fetch: Callable[[str], str], *, now: Callable[[], float]) -> None:
        self._fetch = fetch
        self._now = now
        self._last: dict[str, Counters] = {}

    def measure(self, addresses: dict[str, str]) -> dict[str, float]:
        """Return the activity by pod, given each pod's address; a server that does not answer computes nothing."""
        seen = {pod: found for pod, address in addresses.items() if (found := self._look(address))}
        active = {pod: busy(self._last.get(pod, found), found) for pod, found in seen.items()}
        self._last = seen
        return active

    def _look(self, address: str) -> Counters | None:
        try:
            return counters(self._fetch(address), at=self._now())
        except OSError:
            return None

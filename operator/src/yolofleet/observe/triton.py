"""The few figures of Triton's metrics page that scaling needs, and what two looks at them say together."""

from __future__ import annotations

from dataclasses import dataclass, fields

from yolofleet.api.endpoints import DECODE, model_name
from yolofleet.observe import text_format

LARGEST = 1e15
"""Counters beyond it are absurd: more microseconds than thirty years."""
SUMMED = {
    "request_success": "success",
    "request_failure": "failure",
    "count": "frames",
    "exec_count": "executions",
    "pending_request_count": "pending",
    "queue_duration_us": "queue_us",
    "compute_infer_duration_us": "infer_us",
    "request_summary_us_count": "summarised",
}
SUMMARY = "request_summary_us"
_WANTED = text_format.chosen("nv_inference_", SUMMARY, *SUMMED)
LEAST_SUMMARISED = 100
"""Requests in the summary's own window below which its 99th percentile is one request's bad luck."""


@dataclass(frozen=True)
class Counters:
    """A deployment's counters at one moment, models, versions and reasons summed; `p99_us` None: no summary says it."""

    success: float = 0.0
    failure: float = 0.0
    frames: float = 0.0
    executions: float = 0.0
    pending: float = 0.0
    queue_us: float = 0.0
    infer_us: float = 0.0
    summarised: float = 0.0
    p99_us: float | None = None


@dataclass(frozen=True)
class Rates:
    """What two looks say: frames per second, microseconds, frames, shares from 0 to 1."""

    arrival_fps: float
    served_fps: float
    failed_fps: float
    queue_us: float | None
    mean_batch: float | None
    busy: float
    pending: float
    frames: float


def extract(page: bytes, name: str) -> Counters | str:
    """Return the counters of a deployment's models, or why there are none; other models are left out.

    Every frame runs through one of two networks, raw or with its graph around it. A picture that was not decoded never
    comes so far: of what decodes, the failures count.
    """
    networks = {name.encode(), model_name(name, "Frames").encode()}
    decoder = f"{model_name(name, 'JPEG')}{DECODE}".encode()
    sums: dict[str, float] = {}
    p99: float | None = None
    for family, labels, told in text_format.series(page, _WANTED):
        model = labels.get(b"model", b"")
        if model not in networks and (model != decoder or family != "request_failure"):
            continue
        value = text_format.number(told)
        if family == SUMMARY:
            p99 = _worst(p99, value) if labels.get(b"quantile") == b"0.99" else p99
        elif not 0 <= value <= LARGEST:
            return f"nv_inference_{family} of model {model.decode()} is {told.decode()[:40]}"
        else:
            name = SUMMED[family]
            sums[name] = sums.get(name, 0.0) + value
    if "success" not in sums or "infer_us" not in sums:
        return f"its metrics do not name the model {name}"
    return Counters(p99_us=p99, **sums)


def _worst(known: float | None, value: float) -> float | None:
    """A summary says NaN while its window is empty."""
    if not 0 <= value <= LARGEST:
        return known
    return value if known is None else max(known, value)


def began_anew(before: Counters, after: Counters) -> bool:
    """Tell whether a counter fell: Triton was restarted in between."""
    growing = (f.name for f in fields(Counters) if f.name not in ("pending", "p99_us"))
    return any(getattr(after, name) < getattr(before, name) for name in growing)


def rates(before: Counters, after: Counters, *, seconds: float, instances: int = 1) -> Rates:
    """Compare two looks, `seconds` apart, between which no counter fell.

    Durations are summed over requests: those of one batch share their compute, so it is counted once per execution.
    What arrives is what was answered, what failed, and by how much more waits than before.
    """
    requests, executions = after.success - before.success, after.executions - before.executions
    frames, failed = after.frames - before.frames, after.failure - before.failure
    per_request = frames / requests if requests and frames else 1.0
    waiting = after.pending - before.pending
    computed_us = after.infer_us - before.infer_us
    shared = min(1.0, executions / requests) if requests else 1.0
    return Rates(
        arrival_fps=max(0.0, requests + failed + waiting) * per_request / seconds,
        served_fps=frames / seconds,
        failed_fps=failed * per_request / seconds,
        queue_us=(after.queue_us - before.queue_us) / requests if requests else None,
        mean_batch=frames / executions if executions else None,
        busy=min(1.0, computed_us * shared / (seconds * 1e6 * instances)),
        pending=after.pending,
        frames=frames,
    )

"""Measures a model through Triton, host copies included: throughput and latency over batch and instances."""

from __future__ import annotations

import json
import threading
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from google.protobuf import json_format
from tritonclient import grpc
from tritonclient.grpc import model_config_pb2

from model_repo_builder.errors import Failed, Refused
from yolofleet.api.curve import CurvePoint

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import Endpoint

MOST_POINTS = 256
"""Of a curve (api/curve.py)."""
FEWEST_SECONDS, MOST_SECONDS = 0.3, 4.0
OVERHEAD_S = 0.5
"""What a point costs beside its own seconds, about: the model is loaded anew."""
TIMEOUT_S = 60
NUMPY = {"FP32": np.float32, "FP16": np.float16, "UINT8": np.uint8}


@dataclass(frozen=True, kw_only=True)
class Ask:
    """What is measured, and within how many seconds altogether."""

    url: str
    model: str
    endpoint: Endpoint
    batches: tuple[int, ...] = ()
    instances: tuple[int, ...] = (1, 2)
    budget_s: float = 90.0


def curve_points(ask: Ask, report: Report) -> list[CurvePoint]:
    """Measure every point; the server's own configuration is put back at the end, also when a point fails."""
    try:
        with grpc.InferenceServerClient(ask.url) as server, _restored(server, ask.model) as config:
            return _points(server, config, ask, report)
    except grpc.InferenceServerException as error:
        raise Failed(
            field="--url",
            value=f"{ask.url} {ask.model}",
            message=f"Triton does not let itself be measured: {error.message()}",
            remedy="name a model that it serves, and start it with --model-control-mode=explicit",
        ) from error


def _points(
    server: grpc.InferenceServerClient, config: model_config_pb2.ModelConfig, ask: Ask, report: Report
) -> list[CurvePoint]:
    batches = _batches(config, ask)
    places = [(batch, count) for count in sorted(set(ask.instances)) for batch in batches]
    if len(places) > MOST_POINTS:
        raise Refused(
            field="--batch",
            value=str(len(places)),
            message=f"a curve has at most {MOST_POINTS} points",
            remedy="name fewer batches or instances",
        )
    seconds = min(max(ask.budget_s / len(places) - OVERHEAD_S, FEWEST_SECONDS), MOST_SECONDS)
    told: list[CurvePoint] = []
    for index, (batch, count) in enumerate(places):
        report(index / len(places), f"batch {batch}, {count} instance(s)")
        server.load_model(ask.model, config=_override(config, batch, count))
        told.append(_point(ask, config, batch, count, seconds))
    report(1.0, f"{len(told)} points")
    return told


def _batches(config: model_config_pb2.ModelConfig, ask: Ask) -> list[int]:
    most = max(config.max_batch_size, 1)
    wanted = sorted(set(ask.batches)) or sorted({*(2**power for power in range(most.bit_length())), most})
    if too_large := [batch for batch in wanted if not 1 <= batch <= most]:
        raise Refused(
            field="--batch",
            value=", ".join(map(str, too_large)),
            message=f"{ask.model} takes batches of 1 to {most}",
            remedy="name batches within that",
        )
    return [batch for batch in wanted if batch <= most]


@contextmanager
def _restored(server: grpc.InferenceServerClient, model: str) -> Iterator[model_config_pb2.ModelConfig]:
    """Yield the model's configuration, and load it as its files have it when the block ends."""
    config = server.get_model_config(model).config
    try:
        yield config
    finally:
        server.load_model(model)


def _override(config: model_config_pb2.ModelConfig, batch: int, instances: int) -> str:
    """Return the configuration whose batcher makes batches of exactly this size, with so many instances."""
    made = model_config_pb2.ModelConfig()
    made.CopyFrom(config)
    made.max_batch_size = batch if config.max_batch_size else 0
    made.ClearField("dynamic_batching")
    if made.max_batch_size > 1:
        made.dynamic_batching.SetInParent()
    for group in made.instance_group:
        group.count = instances
    kept = [each for each in made.model_warmup if each.batch_size <= made.max_batch_size]
    del made.model_warmup[:]
    made.model_warmup.extend(kept)
    return json.dumps(json_format.MessageToDict(made, preserving_proto_field_name=True))


def _inputs(config: model_config_pb2.ModelConfig, batch: int) -> list[grpc.InferInput]:
    """Return one request's tensors, noise; what a client may leave out is left out."""
    made = []
    for each in config.input:
        if each.optional:
            continue
        kind = model_config_pb2.DataType.Name(each.data_type).removeprefix("TYPE_")
        shape = [batch, *each.dims] if config.max_batch_size else list(each.dims)
        noise = np.random.default_rng(0).integers(0, 255, shape)
        value = noise.astype(np.uint8) if kind == "UINT8" else (noise / 255).astype(NUMPY[kind])
        made.append(grpc.InferInput(each.name, shape, kind))
        made[-1].set_data_from_numpy(value)
    return made


def _point(ask: Ask, config: model_config_pb2.ModelConfig, batch: int, instances: int, seconds: float) -> CurvePoint:
    """Keep every instance busy and one batch waiting; latencies are of whole requests, as a client sees them."""
    inputs = _inputs(config, batch)
    runs: list[tuple[float, float]] = []
    lock = threading.Lock()
    until = time.monotonic() + seconds

    def worker() -> None:
        mine: list[tuple[float, float]] = []
        with grpc.InferenceServerClient(ask.url) as server:
            server.infer(ask.model, inputs, client_timeout=TIMEOUT_S)
            while not mine or time.monotonic() < until:  # a slow point has one request at least
                began = time.monotonic()
                server.infer(ask.model, inputs, client_timeout=TIMEOUT_S)
                mine.append((began, time.monotonic()))
        with lock:
            runs.extend(mine)

    threads = [threading.Thread(target=worker) for _ in range(instances + 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return summed(ask.endpoint, batch, instances, runs, weight=_weight(inputs) // batch)


def _weight(inputs: Sequence[Any]) -> int:
    return sum(len(each._raw_content) for each in inputs)  # noqa: SLF001 - what goes over the wire


def summed(
    endpoint: Endpoint, batch: int, instances: int, runs: Sequence[tuple[float, float]], *, weight: int
) -> CurvePoint:
    """Return the point of requests given by when they began and ended; Failed where none ended in time."""
    if not runs:
        raise Failed(
            field="--budget",
            value=f"batch {batch}, {instances} instance(s)",
            message="no request ended in the time of its point",
            remedy="give more seconds, or name smaller batches",
        )
    waits = [(end - begin) * 1e6 for begin, end in runs]
    span = max(end for _, end in runs) - min(begin for begin, _ in runs)
    return CurvePoint(
        endpoint=endpoint,
        batch=batch,
        instances=instances,
        frames_per_second=round(len(runs) * batch / span),
        p50_microseconds=round(float(np.percentile(waits, 50))),
        p99_microseconds=round(float(np.percentile(waits, 99))),
        host_bytes_per_frame=weight,
    )

"""Runs an engine on device tensors, with and without a CUDA graph; TensorRT comes in through the builder's own door."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from model_repo_builder.engine_from_onnx import load_engine

WARM_UP = 20
Step = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Latency of one step with the host waiting for each, and throughput with steps queued; medians of repeats."""

    p50_ms: float
    p99_ms: float
    images_per_s: float


class Runner:
    """One execution context at one batch; `step` enqueues on `stream`, outputs lie in `outputs`."""

    def __init__(self, plan: Path, batch: int, stream: torch.cuda.Stream | None = None) -> None:
        import tensorrt as trt

        kinds = {trt.float32: torch.float32, trt.float16: torch.float16, trt.int32: torch.int32, trt.uint8: torch.uint8}
        self._words: list[str] = []
        self.engine = load_engine(plan, self._words)
        self.context = self.engine.create_execution_context()
        self.stream = stream or torch.cuda.Stream()
        self.inputs: dict[str, torch.Tensor] = {}
        self.outputs: dict[str, torch.Tensor] = {}
        self.context.set_optimization_profile_async(profile_for(self.engine, batch), self.stream.cuda_stream)
        names = [self.engine.get_tensor_name(index) for index in range(self.engine.num_io_tensors)]
        for name in names:
            kind = kinds[self.engine.get_tensor_dtype(name)]
            if self.engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                shape = (batch, *self.engine.get_tensor_shape(name)[1:])
                self.inputs[name] = torch.rand(shape, device="cuda").mul(255 if kind == torch.uint8 else 1).to(kind)
                self.context.set_input_shape(name, shape)
                self.context.set_tensor_address(name, self.inputs[name].data_ptr())
        self.input = max(self.inputs.values(), key=torch.Tensor.numel)
        for name in names:
            if self.engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT:
                shape = tuple(self.context.get_tensor_shape(name))
                self.outputs[name] = torch.empty(shape, device="cuda", dtype=kinds[self.engine.get_tensor_dtype(name)])
                self.context.set_tensor_address(name, self.outputs[name].data_ptr())

    def step(self) -> None:
        """Enqueue one batch."""
        if not self.context.execute_async_v3(self.stream.cuda_stream):
            raise RuntimeError(f"TensorRT did not take the batch: {'; '.join(self._words[-3:]) or 'no reason given'}")

    def graphed(self) -> Step:
        """Return a step that replays a CUDA graph of `step`."""
        return graphed(self.step, self.stream)


def graphed(step: Step, stream: torch.cuda.Stream) -> Step:
    """Return a step that replays a CUDA graph of another one, taken on `stream` after it ran there three times."""
    with torch.cuda.stream(stream):
        for _ in range(3):
            step()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()

    def replay(_kept: Step = step) -> None:
        """Hold on to the step: what the graph reads and writes is its owner's."""
        graph.replay()

    return replay


def plans_of(out: Path, model: str, batch: int, *, frames: bool = False) -> list[Path]:
    """Return the engines of a model for one batch, the narrowest first: made for it, or with it as least or best."""
    kind = "frames-[a-z]+-" if frames else ""
    named = re.compile(rf"{re.escape(model)}-{kind}[A-Z0-9]+-(?:b(\d+)|p1\.(\d+)\.\d+)(?:-.*)?\.plan")
    found = []
    for path in sorted(out.iterdir()):
        if told := named.fullmatch(path.name):
            only, largest = (int(text) if text else 0 for text in told.groups())
            if batch == only or (largest and batch in (1, largest)):
                found.append((only or largest, path))
    return [path for _, path in sorted(found)]


def profile_for(engine: Any, batch: int) -> int:
    """Return the narrowest profile that takes this batch."""
    name = engine.get_tensor_name(0)
    taking = [
        (int(largest[0]), index)
        for index in range(engine.num_optimization_profiles)
        for smallest, _, largest in [engine.get_tensor_profile_shape(name, index)]
        if smallest[0] <= batch <= largest[0]
    ]
    return min(taking)[1]


def timed(step: Step, stream: Any, batch: int, *, repeats: int = 5, steps: int = 100) -> Timing:
    """Time a step: `repeats` times `steps` of them, each kind of figure the median of its repeats."""
    figures: list[tuple[float, float, float]] = []
    with torch.cuda.stream(stream):
        for _ in range(WARM_UP):
            step()
        for _ in range(repeats):
            stream.synchronize()
            waits: list[float] = []
            for _ in range(steps):
                began = time.perf_counter()
                step()
                stream.synchronize()
                waits.append((time.perf_counter() - began) * 1e3)
            first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            first.record(stream)
            for _ in range(steps):
                step()
            last.record(stream)
            stream.synchronize()
            rate = batch * steps / first.elapsed_time(last) * 1e3
            figures.append((float(np.percentile(waits, 50)), float(np.percentile(waits, 99)), rate))
    p50, p99, rate = (float(np.median(column)) for column in zip(*figures, strict=True))
    return Timing(p50_ms=round(p50, 4), p99_ms=round(p99, 4), images_per_s=round(rate, 1))

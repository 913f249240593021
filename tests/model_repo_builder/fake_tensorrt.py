"""Enough of TensorRT's Python API to drive the compiler through what a GPU does only at its worst moments.

A plan holds the graph it was made of, and runs in ONNX Runtime on the addresses that it is given.

The real thing is driven by `python -m e2e.gpu.bench` on a GPU box; here only order, retries and words are tested.
"""

from __future__ import annotations

import ctypes
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime

PLAN = b"ftrt plan"


class Tensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape, self.dtype = name, shape, "FLOAT"


class Network:
    num_inputs = num_outputs = 1

    def __init__(self, flags: int) -> None:
        self.flags = flags
        self.graph = b""

    def get_input(self, index: int) -> Tensor:
        return Tensor("images", (-1, 3, 64, 96))

    def get_output(self, index: int) -> Tensor:
        return Tensor("output0", (-1, 6, 126))


class Cache:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def serialize(self) -> bytes:
        return self.content + b"+tactics"


class Profile:
    def __init__(self) -> None:
        self.shapes: dict[str, tuple[Any, ...]] = {}

    def set_shape(self, name: str, smallest: Any, best: Any, largest: Any) -> None:
        self.shapes[name] = (smallest, best, largest)


class Config:
    def __init__(self) -> None:
        self.flags, self.profiles, self.cleared = [], [], []  # type: ignore[var-annotated]
        self.pool = 0
        self.cache: Cache | None = None
        self.progress_monitor: Any = None
        self.hardware_compatibility_level: Any = None
        self.builder_optimization_level = 0

    def set_memory_pool_limit(self, pool: Any, size: int) -> None:
        self.pool = size

    def set_flag(self, flag: str) -> None:
        self.flags.append(flag)

    def clear_flag(self, flag: str) -> None:
        self.cleared.append(flag)

    def add_optimization_profile(self, profile: Profile) -> None:
        self.profiles.append(profile)

    def create_timing_cache(self, content: bytes) -> Cache | None:
        return None if content == b"garbage" else Cache(content)

    def set_timing_cache(self, cache: Cache, *, ignore_mismatch: bool) -> bool:
        if cache.serialize().startswith(b"elsewhere") and not ignore_mismatch:
            return False
        self.cache = cache
        return True

    def get_timing_cache(self) -> Cache | None:
        return self.cache


class Logger:
    ERROR, INTERNAL_ERROR, WARNING = "ERROR", "INTERNAL_ERROR", "WARNING"

    def __init__(self, _severity: str = WARNING) -> None:
        self.words: list[str] = []

    def log(self, severity: str, words: str) -> None:
        self.words.append(f"{severity}: {words}")


class Monitor:
    pass


class Builder:
    """Builds where the workspace is neither too small nor, as on a full slice, too large."""

    def __init__(self, made: Any, logger: Any) -> None:
        self._made, self._logger = made, logger

    def create_network(self, flags: int) -> Network:
        return Network(flags)

    def create_builder_config(self) -> Config:
        self._made.configs.append(Config())
        return self._made.configs[-1]

    def create_optimization_profile(self) -> Profile:
        return Profile()

    def build_serialized_network(self, network: Network, config: Config) -> bytes | None:
        told_of_steps(config.progress_monitor)
        needed = self._made.needs_mib * 1024**2
        if needed and not needed <= config.pool <= 2 * needed:
            self._logger.log("ERROR", "Error Code 2: OutOfMemory (no further information)")
            return None
        if self._made.breaks:
            self._logger.log("WARNING", "a warning is no reason")
            self._logger.log("INTERNAL_ERROR", self._made.breaks)
            return None
        if not network.graph.startswith(b"onnx"):
            largest = max(shapes[2][0] for profile in config.profiles for shapes in profile.shapes.values())
            return plan_of(network.graph, largest=largest)
        return PLAN


def plan_of(graph: bytes, *, largest: int) -> bytes:
    """Return a plan that runs a graph for batches up to the largest."""
    return PLAN + json.dumps({"largest": largest}).encode() + b"\n" + graph


class Engine:
    """What `engine_runner` and the bench's backend ask of a loaded engine."""

    num_optimization_profiles = 1

    def __init__(self, made: Any, plan: bytes) -> None:
        told, _, graph = plan.removeprefix(PLAN).partition(b"\n")
        self.made, self._largest = made, int(json.loads(told)["largest"])
        self.session = onnxruntime.InferenceSession(graph)
        self.tensors = {each.name: each for each in (*self.session.get_inputs(), *self.session.get_outputs())}
        self.num_io_tensors = len(self.tensors)

    def get_tensor_name(self, index: int) -> str:
        return list(self.tensors)[index]

    def get_tensor_mode(self, name: str) -> str:
        return "INPUT" if name in [each.name for each in self.session.get_inputs()] else "OUTPUT"

    def get_tensor_dtype(self, name: str) -> str:
        return {"tensor(float)": "FLOAT", "tensor(float16)": "HALF"}[self.tensors[name].type]

    def get_tensor_profile_shape(self, name: str, _index: int) -> list[tuple[Any, ...]]:
        rest = tuple(self.tensors[name].shape[1:])
        return [(1, *rest), (self._largest, *rest), (self._largest, *rest)]

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        return (-1, *self.tensors[name].shape[1:])

    def create_execution_context(self) -> Context:
        return Context(self)


class Context:
    """Runs on addresses, as the real one does; what is not where it should be shows in the answer."""

    def __init__(self, engine: Engine) -> None:
        self._engine, self._shapes = engine, dict[str, tuple[int, ...]]()
        self._addresses: dict[str, int] = {}

    def set_input_shape(self, name: str, shape: tuple[int, ...]) -> bool:
        self._shapes[name] = tuple(shape)
        return bool(self._engine.made.takes)

    def set_tensor_address(self, name: str, address: int) -> None:
        self._addresses[name] = address

    def get_tensor_shape(self, name: str) -> tuple[int, ...]:
        batch = next(iter(self._shapes.values()))[0]
        return (batch, *self._engine.tensors[name].shape[1:])

    def execute_async_v3(self, _stream: int) -> bool:
        if not self._engine.made.runs:
            return False
        if self._engine.made.capture is None:
            self._run()
        else:
            self._engine.made.capture.append(self._run)
        return True

    def set_optimization_profile_async(self, profile: int, _stream: int) -> bool:
        return 0 <= profile < self._engine.num_optimization_profiles

    def _run(self) -> None:
        given = {}
        for name, shape in self._shapes.items():
            values = np.empty(shape, nptype(self._engine.get_tensor_dtype(name)))
            ctypes.memmove(values.ctypes.data, self._addresses[name], values.nbytes)
            given[name] = values
        names = [each.name for each in self._engine.session.get_outputs()]
        for name, answer in zip(names, self._engine.session.run(names, given), strict=True):
            seen = np.ascontiguousarray(self._engine.made.sees(answer).astype(answer.dtype))
            ctypes.memmove(self._addresses[name], seen.ctypes.data, seen.nbytes)


def nptype(kind: str) -> Any:
    return {"FLOAT": np.float32, "HALF": np.float16}[kind]


def told_of_steps(monitor: Any) -> None:
    monitor.phase_start("Building engine", None, 2)
    monitor.phase_start("Timing", "Building engine", 4)
    for step in range(4):
        monitor.step_complete("Timing", step)
    monitor.phase_finish("Timing")
    monitor.step_complete("Building engine", 0)


def module(
    *,
    needs_mib: int = 0,
    parses: bool = True,
    breaks: str = "",
    version: str = "10.6.0",
    takes: bool = True,
    runs: bool = True,
    sees: Any = lambda answer: answer,
) -> Any:
    """Return a module named tensorrt; a build takes `needs_mib` of workspace, and ends with `breaks` if it is set.

    An engine `takes` shapes, `runs`, and `sees` what ONNX Runtime answers, or something else. What runs while `capture`
    is a list is put there, and not run.
    """
    made: Any = ModuleType("tensorrt")
    made.takes, made.runs, made.sees = takes, runs, sees
    made.capture = None
    made.Logger, made.init_libnvinfer_plugins = Logger, lambda _logger, _namespace: True
    made.__version__, made.configs, made.needs_mib, made.breaks = version, [], needs_mib, breaks

    class Parser:
        num_errors = 1

        def __init__(self, network: Network, logger: Any) -> None:
            made.network = network

        def parse_from_file(self, path: str) -> bool:
            if Path(path).is_file():
                made.network.graph = Path(path).read_bytes()
            return parses and Path(path).is_file()

        def get_error(self, index: int) -> str:
            return "No importer registered for op: Hyper"

    made.ILogger, made.IProgressMonitor, made.OnnxParser = Logger, Monitor, Parser

    class Runtime:
        def __init__(self, logger: Any) -> None:
            self._logger = logger

        def deserialize_cuda_engine(self, plan: bytes) -> Engine | None:
            if plan.startswith(PLAN):
                return Engine(made, plan)
            self._logger.log("ERROR", "Serialization assertion magicTag failed")
            return None

    made.Runtime, made.nptype = Runtime, nptype
    made.TensorIOMode = type("TensorIOMode", (), {"INPUT": "INPUT", "OUTPUT": "OUTPUT"})
    made.Builder = lambda logger: Builder(made, logger)
    made.MemoryPoolType = type("MemoryPoolType", (), {"WORKSPACE": "WORKSPACE"})
    made.BuilderFlag = type("BuilderFlag", (), {"TF32": "TF32", "BF16": "BF16", "INT8": "INT8", "FP16": "FP16"})
    made.DataType = type("DataType", (), {"FLOAT": "FLOAT", "HALF": "HALF", "INT32": "INT32", "UINT8": "UINT8"})
    made.NetworkDefinitionCreationFlag = type("Flags", (), {"STRONGLY_TYPED": 1})
    made.HardwareCompatibilityLevel = type("Levels", (), {"AMPERE_PLUS": "AMPERE_PLUS"})
    return made

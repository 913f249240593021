"""Enough of TensorRT's Python API to drive the compiler through what a GPU does only at its worst moments.

The real thing is driven by `python -m e2e.gpu.bench` on a GPU box; here only order, retries and words are tested.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import Any


class Tensor:
    def __init__(self, name: str, shape: tuple[int, ...]) -> None:
        self.name, self.shape, self.dtype = name, shape, "FLOAT"


class Network:
    num_inputs = num_outputs = 1

    def __init__(self, flags: int) -> None:
        self.flags = flags

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

    def create_timing_cache(self, content: bytes) -> Cache:
        return Cache(content)

    def set_timing_cache(self, cache: Cache, *, ignore_mismatch: bool) -> None:
        self.cache = cache

    def get_timing_cache(self) -> Cache | None:
        return self.cache


class Logger:
    ERROR, INTERNAL_ERROR, WARNING = "ERROR", "INTERNAL_ERROR", "WARNING"


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
        return b"ftrt plan"


def told_of_steps(monitor: Any) -> None:
    monitor.phase_start("Building engine", None, 2)
    monitor.phase_start("Timing", "Building engine", 4)
    for step in range(4):
        monitor.step_complete("Timing", step)
    monitor.phase_finish("Timing")
    monitor.step_complete("Building engine", 0)


def module(*, needs_mib: int = 0, parses: bool = True, breaks: str = "", version: str = "10.6.0") -> Any:
    """Return a module named tensorrt; a build takes `needs_mib` of workspace, and ends with `breaks` if it is set."""
    made: Any = ModuleType("tensorrt")
    made.__version__, made.configs, made.needs_mib, made.breaks = version, [], needs_mib, breaks

    class Parser:
        num_errors = 1

        def __init__(self, network: Network, logger: Any) -> None:
            made.network = network

        def parse_from_file(self, path: str) -> bool:
            return parses and Path(path).is_file()

        def get_error(self, index: int) -> str:
            return "No importer registered for op: Hyper"

    made.ILogger, made.IProgressMonitor, made.OnnxParser = Logger, Monitor, Parser
    made.Builder = lambda logger: Builder(made, logger)
    made.MemoryPoolType = type("MemoryPoolType", (), {"WORKSPACE": "WORKSPACE"})
    made.BuilderFlag = type("BuilderFlag", (), {"TF32": "TF32", "BF16": "BF16"})
    made.DataType = type("DataType", (), {"FLOAT": "FLOAT", "HALF": "HALF", "INT32": "INT32", "UINT8": "UINT8"})
    made.NetworkDefinitionCreationFlag = type("Flags", (), {"STRONGLY_TYPED": 1})
    made.HardwareCompatibilityLevel = type("Levels", (), {"AMPERE_PLUS": "AMPERE_PLUS"})
    return made

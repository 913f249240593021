"""Compiles ONNX into a TensorRT engine on the slice that will serve it; the only module that may import tensorrt."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_repo_builder import cuda_device
from model_repo_builder.errors import Failed, Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_repo_builder.cuda_device import CudaDevice
    from model_repo_builder.onnx_graph import Tensor
    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import ImageSize, Precision, Target

HALVINGS = 3
"""How often a build that ran out of memory is tried again with half the workspace."""
WORKSPACE_SHARE = 2
"""The workspace is at most one part in so many of the slice's memory: weights and activations need the rest."""
LATER = frozenset({"INT8", "FP8"})
TYPED = frozenset({"FP16"})
"""Precisions that the graph itself says; the others are the builder's flags over an FP32 graph."""
MIB = 1024**2
OUT_OF_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "insufficient workspace")


@dataclass(frozen=True)
class BatchRange:
    """One optimisation profile: the batches that it takes, and the one that its kernels are chosen for."""

    smallest: int
    best: int
    largest: int


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """All that an engine is compiled with.

    `batches` are the optimisation profiles, for frames of one size. `workspace_mib` None: half of the slice's memory.
    `portable` lets the engine run on every device of its compute capability (from 10.9), or from Ampere on (before).
    """

    precision: Precision
    image_size: ImageSize
    batches: tuple[BatchRange, ...]
    target: Target
    optimization_level: int = 3
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    portable: bool = False


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A compiled engine: the bare plan that Triton loads, without Ultralytics' header."""

    plan: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    tensorrt_version: str
    workspace_mib: int
    notes: tuple[str, ...] = ()


def installed_version() -> str | None:
    """Return the version of the TensorRT in this image, or None."""
    try:
        import tensorrt
    except ImportError:
        return None
    return str(tensorrt.__version__)


def unavailable() -> Refused:
    """Say that builds in a cluster publish no engines yet: nothing there compares one with its ONNX on the GPU."""
    version = installed_version()
    has = f"TensorRT {version} is in the image, but" if version else "the image has no TensorRT, and"
    return Refused(
        field="spec.engine.backend",
        value="TensorRT",
        message=f"this builder publishes no TensorRT engines: {has} comparing them comes with a later version",
        remedy="set spec.engine.backend: ONNXRuntime",
    )


def ready(precision: Precision, device: CudaDevice | None, version: str | None) -> CudaDevice:
    """Return the device to build on; Refused or Failed where an engine of this precision can't be built here."""
    backend = {"field": "spec.engine.backend", "value": "TensorRT"}
    if precision in LATER:
        raise Refused(
            field="spec.engine.precision",
            value=precision,
            message="this builder does not calibrate engines yet",
            remedy="set spec.engine.precision: FP16",
        )
    if version is None:
        raise Refused(
            **backend,
            message="the builder image has no TensorRT",
            remedy="use a builder image made from the Triton image that serves, or set backend: ONNXRuntime",
        )
    if device is None:
        raise Failed(
            **backend,
            message="this process sees no GPU",
            remedy="the build pod must hold a GPU or a MIG slice, and the node its driver; "
            "without one set backend: ONNXRuntime",
        )
    return device


def compile_engine(onnx_file: Path, plan: Path, options: EngineOptions, report: Report) -> Engine:
    """Compile `onnx_file` (FP32 or typed as `options.precision` says) into `plan`, whole or not at all.

    Raises Refused for what can't be built, Failed for what may work another time. `report` hears TensorRT's own steps.
    """
    device = ready(options.precision, cuda_device.look(), installed_version())
    _same_kind(device, options.target)
    workspace = options.workspace_mib or device.memory_mib // WORKSPACE_SHARE
    notes: list[str] = []
    for tried in range(HALVINGS + 1):
        attempt = replace(options, workspace_mib=workspace)
        try:
            return replace(_Compiler(attempt, report).compile(onnx_file, plan), notes=tuple(notes))
        except _OutOfMemoryError as error:
            if tried == HALVINGS:
                break
            workspace //= 2
            notes.append(f"out of memory, tried again with {workspace} MiB of workspace: {error}")
            report(0.0, notes[-1])
    raise Failed(
        message=f"TensorRT ran out of memory on {device}, even with {workspace} MiB of workspace",
        field="spec.engine.maxBatchSize",
        value=str(max(batch.largest for batch in options.batches)),
        remedy="set a smaller maxBatchSize, or a profile with more memory in spec.placement.profiles",
    )


def load_engine(plan: Path) -> Any:
    """Return TensorRT's engine of a plan, to be run; Failed in TensorRT's own words where it does not load."""
    import tensorrt

    words: list[str] = []
    engine = tensorrt.Runtime(_logger(tensorrt, words)).deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        raise Failed(
            message=f"TensorRT {tensorrt.__version__} does not load {plan.name}: {'; '.join(words[-3:])}",
            remedy="build and serve with images of one TensorRT version, on one kind of GPU",
        )
    return engine


def _same_kind(device: CudaDevice, target: Target) -> None:
    if device.compute_capability != target.compute_capability:
        raise Failed(
            message=f"the build runs on {device}, the engine is for compute capability {target.compute_capability}",
            remedy="check the node's labels nvidia.com/gpu.compute.*; engines are built where they serve",
        )


class _OutOfMemoryError(Exception):
    """TensorRT's own words of it."""


class _Compiler:
    """One attempt."""

    def __init__(self, options: EngineOptions, report: Report) -> None:
        import tensorrt

        self._trt: Any = tensorrt
        self._options = options
        self._report = report
        self._words: list[str] = []
        self._logger = _logger(tensorrt, self._words)

    def compile(self, onnx_file: Path, plan: Path) -> Engine:
        trt = self._trt
        builder = trt.Builder(self._logger)
        network = self._network(builder, onnx_file)
        config, cache = self._config(builder, network)
        content = builder.build_serialized_network(network, config)
        if content is None:
            raise self._broken()
        _write_whole(plan, bytes(content))
        if self._options.timing_cache is not None:
            _write_whole(self._options.timing_cache, bytes(config.get_timing_cache().serialize()))
        del cache
        return Engine(
            plan=plan,
            inputs=tuple(self._tensor(network.get_input(index)) for index in range(network.num_inputs)),
            outputs=tuple(self._tensor(network.get_output(index)) for index in range(network.num_outputs)),
            tensorrt_version=str(trt.__version__),
            workspace_mib=self._options.workspace_mib or 0,
        )

    def _network(self, builder: Any, onnx_file: Path) -> Any:
        """Parse the graph: strongly typed where it says its own types."""
        trt = self._trt
        flags = 0
        if self._options.precision in TYPED and hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
            flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        network = builder.create_network(flags)
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(onnx_file)):
            words = "; ".join(str(parser.get_error(index)) for index in range(parser.num_errors))
            raise Refused(
                field="spec.model",
                value=onnx_file.name,
                message=f"TensorRT {trt.__version__} does not read this graph: {words}",
                remedy="export it with operators that TensorRT knows, or set spec.engine.backend: ONNXRuntime",
            )
        return network

    def _config(self, builder: Any, network: Any) -> tuple[Any, Any]:
        trt, options = self._trt, self._options
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, (options.workspace_mib or 0) * MIB)
        config.builder_optimization_level = options.optimization_level
        for flag in _flags(trt, options.precision):
            config.set_flag(flag)
        if options.precision == "FP32":
            config.clear_flag(trt.BuilderFlag.TF32)  # TensorRT's default is on
        if options.portable:
            config.hardware_compatibility_level = _compatibility(trt)
        for batch in options.batches:
            config.add_optimization_profile(self._profile(builder, network, batch))
        config.progress_monitor = _monitor(trt, self._report)
        cache = None
        if (path := options.timing_cache) is not None:
            cache = config.create_timing_cache(path.read_bytes() if path.is_file() else b"")
            config.set_timing_cache(cache, ignore_mismatch=False)
        return config, cache

    def _profile(self, builder: Any, network: Any, batch: BatchRange) -> Any:
        profile = builder.create_optimization_profile()
        size = self._options.image_size
        for index in range(network.num_inputs):
            told = network.get_input(index)
            rest = (int(told.shape[1]), size.height, size.width)
            shapes = [(count, *rest) for count in (batch.smallest, batch.best, batch.largest)]
            profile.set_shape(told.name, *shapes)
        return profile

    def _tensor(self, told: Any) -> Tensor:
        from model_repo_builder.onnx_graph import Tensor  # heavy, and the requests of cached builds come by here

        names = {
            self._trt.DataType.FLOAT: "FP32",
            self._trt.DataType.HALF: "FP16",
            self._trt.DataType.INT32: "INT32",
            self._trt.DataType.UINT8: "UINT8",
        }
        kind = names.get(told.dtype, str(told.dtype))
        return Tensor(told.name, kind, tuple(map(int, told.shape)))

    def _broken(self) -> Exception:
        words = "; ".join(self._words[-3:]) or "it gave no reason"
        if any(word in told.lower() for told in self._words for word in OUT_OF_MEMORY):
            return _OutOfMemoryError(words)
        return Failed(message=f"TensorRT built no engine: {words}", remedy="report this model with the build's log")


def _flags(trt: Any, precision: Precision) -> Iterator[Any]:
    if precision in ("TF32", "BF16"):
        if not hasattr(trt.BuilderFlag, precision):
            raise Refused(
                field="spec.engine.precision",
                value=precision,
                message=f"TensorRT {trt.__version__} builds no {precision} engine from an FP32 graph",
                remedy="set spec.engine.precision: FP16",
            )
        yield getattr(trt.BuilderFlag, precision)


def _compatibility(trt: Any) -> Any:
    """The narrowest that this version knows: 10.9 brought the one for a single compute capability."""
    levels = trt.HardwareCompatibilityLevel
    return getattr(levels, "SAME_COMPUTE_CAPABILITY", levels.AMPERE_PLUS)


def _logger(trt: Any, words: list[str]) -> Any:
    """Return a logger that keeps TensorRT's errors, to say what went wrong in its own words."""

    class Kept(trt.ILogger):  # type: ignore[misc]
        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                words.append(message)

    return Kept()


def _monitor(trt: Any, report: Report) -> Any:
    """Return a monitor that tells nested phases as one fraction; TensorRT calls it from several threads."""

    class Told(trt.IProgressMonitor):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self._phases: dict[str, tuple[str | None, int, int]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            self._phases[phase_name] = (parent_phase, num_steps, 0)
            self._tell(phase_name)

        def step_complete(self, phase_name: str, step: int) -> bool:
            parent, steps, _ = self._phases.get(phase_name, (None, 1, 0))
            self._phases[phase_name] = (parent, steps, step + 1)
            self._tell(phase_name)
            return True

        def phase_finish(self, phase_name: str) -> None:
            self._phases.pop(phase_name, None)

        def _tell(self, words: str) -> None:
            report(fraction_of(self._phases), words)

    return Told()


def fraction_of(phases: dict[str, tuple[str | None, int, int]]) -> float:
    """Return how much is done, 0 to 1: of each phase (parent, steps, steps done), a child fills its parent's step."""

    def inside(parent: str | None, depth: int = 0) -> float:
        for name, (above, steps, done) in phases.items():
            if above == parent and depth < len(phases):
                return min((done + inside(name, depth + 1)) / max(steps, 1), 1.0)
        return 0.0

    return inside(None)


def _write_whole(path: Path, content: bytes) -> None:
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    Path(partial).replace(path)

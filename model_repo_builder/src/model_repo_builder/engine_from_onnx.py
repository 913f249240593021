"""Compiles ONNX into a TensorRT engine on the slice that will serve it; the only module that may import tensorrt."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model_repo_builder import cuda_device
from model_repo_builder.build_phases import Phases
from model_repo_builder.engine_settings import BatchRange, EngineOptions, EngineSettings, Known, settled, shapes
from model_repo_builder.errors import Failed, Refused

if TYPE_CHECKING:
    from model_repo_builder.cuda_device import CudaDevice
    from model_repo_builder.onnx_graph import Tensor
    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import Precision, Target

HALVINGS = 3
"""How often a build that ran out of memory is tried again with half the workspace."""
WORKSPACE_SHARE = 2
"""The workspace is at most one part in so many of the slice's memory: weights and activations need the rest."""
LATER = frozenset({"FP8"})
"""Not yet seen to gain anything on a GPU; benchmarks compile it to find out."""
FP8_FROM = (8, 9)
"""Compute capability of the first devices that multiply FP8."""
PLUGINS = "libnvinfer_plugin.so.10"
OUT_OF_MEMORY = ("out of memory", "outofmemory", "insufficient memory", "insufficient workspace")


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


def ready(precision: Precision, device: CudaDevice | None, version: str | None) -> CudaDevice:
    """Return the device to build on; Refused or Failed where an engine of this precision is not to be had here."""
    if precision in LATER:
        raise Refused(
            field="spec.engine.precision",
            value=precision,
            message="this builder makes no FP8 engines yet",
            remedy="set spec.engine.precision: INT8 or FP16",
        )
    return able(precision, device, version)


def able(precision: Precision, device: CudaDevice | None, version: str | None) -> CudaDevice:
    """Return the device, where TensorRT and it can make an engine of this precision."""
    backend = {"field": "spec.engine.backend", "value": "TensorRT"}
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
    if precision == "FP8" and tuple(map(int, device.compute_capability.split("."))) < FP8_FROM:
        raise Refused(
            field="spec.engine.precision",
            value=precision,
            message=f"{device} does not multiply FP8, which begins with compute capability 8.9",
            remedy="set spec.engine.precision: INT8 or FP16",
        )
    return device


def compile_engine(onnx_file: Path, plan: Path, options: EngineOptions, report: Report) -> Engine:
    """Compile `onnx_file` (FP32 or typed as `options.precision` says) into `plan`, whole or not at all.

    Raises Refused for what can't be built, Failed for what may work another time. `report` hears TensorRT's own steps.
    """
    device = able(options.precision, cuda_device.look(), installed_version())
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


def api() -> Any:
    """Return TensorRT's own module."""
    import tensorrt

    return tensorrt


def load_engine(plan: Path, words: list[str] | None = None) -> Any:
    """Return TensorRT's engine of a plan, to be run; Failed in TensorRT's own words where it does not load.

    `words` goes on hearing what TensorRT says of its errors.
    """
    import tensorrt

    words = [] if words is None else words
    engine = tensorrt.Runtime(_logger(tensorrt, words)).deserialize_cuda_engine(plan.read_bytes())
    if engine is None:
        raise Failed(
            message=f"TensorRT {tensorrt.__version__} does not load {plan.name}: {'; '.join(words[-3:])}",
            remedy="build and serve with images of one TensorRT version, on one kind of GPU",
        )
    return engine


def load_plugins() -> None:
    """Register TensorRT's own plugins, as a graph with EfficientNMS_TRT needs before it is built or loaded."""
    import ctypes

    import tensorrt

    ctypes.CDLL(PLUGINS, mode=ctypes.RTLD_GLOBAL)
    _kept_loggers.append(_logger(tensorrt, []))
    tensorrt.init_libnvinfer_plugins(_kept_loggers[-1], "")


def _same_kind(device: CudaDevice, target: Target) -> None:
    if device.compute_capability != target.compute_capability:
        raise Failed(
            message=f"the build runs on {device}, the engine is for compute capability {target.compute_capability}",
            remedy="check the node's labels nvidia.com/gpu.compute.*; engines are built where they serve",
        )


_kept_loggers: list[Any] = []
"""TensorRT keeps the pointer, not the object."""


class _OutOfMemoryError(Exception):
    """TensorRT's own words of it."""


class _Compiler:
    """One attempt."""

    def __init__(self, options: EngineOptions, report: Report) -> None:
        import tensorrt

        self._trt: Any = tensorrt
        self._options = options
        self._settings: EngineSettings = settled(options, known(tensorrt))
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
        if self._options.timing_cache is not None and cache is not None:
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
        if self._settings.strongly_typed:
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
        if self._settings.halve_io:
            self._halve_io(network)
        return network

    def _halve_io(self, network: Any) -> None:
        trt = self._trt
        tensors = [network.get_input(index) for index in range(network.num_inputs)]
        tensors += [network.get_output(index) for index in range(network.num_outputs)]
        for tensor in tensors:
            if tensor.dtype == trt.DataType.FLOAT:
                tensor.dtype = trt.DataType.HALF

    def _config(self, builder: Any, network: Any) -> tuple[Any, Any]:
        trt, options, told = self._trt, self._options, self._settings
        config = builder.create_builder_config()
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, told.workspace_bytes)
        config.builder_optimization_level = options.optimization_level
        for flag in told.flags:
            config.set_flag(getattr(trt.BuilderFlag, flag))
        for flag in told.cleared:  # TensorRT's default is on
            config.clear_flag(getattr(trt.BuilderFlag, flag))
        if options.aux_streams is not None:
            config.max_aux_streams = options.aux_streams
        if options.detailed:
            config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED
        if told.compatibility:
            config.hardware_compatibility_level = getattr(trt.HardwareCompatibilityLevel, told.compatibility)
        for batch in options.batches:
            config.add_optimization_profile(self._profile(builder, network, batch))
        config.progress_monitor = _monitor(trt, self._report)
        return config, self._timings(config)

    def _timings(self, config: Any) -> Any:
        """Begin with the timings that are there; what TensorRT can't read or took elsewhere counts as none."""
        if (path := self._options.timing_cache) is None:
            return None
        for content in (path.read_bytes() if path.is_file() else b"", b""):
            cache = config.create_timing_cache(content)
            if cache is not None and config.set_timing_cache(cache, ignore_mismatch=False):
                return cache
        path.unlink(missing_ok=True)
        return None

    def _profile(self, builder: Any, network: Any, batch: BatchRange) -> Any:
        profile = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            told = network.get_input(index)
            profile.set_shape(told.name, *shapes(told.shape, batch, self._options.image_size))
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


def known(trt: Any) -> Known:
    """Return what this TensorRT knows."""
    return Known(
        version=str(trt.__version__),
        flags=frozenset(name for name in dir(trt.BuilderFlag) if name.isupper()),
        strongly_typed=hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"),
        levels=frozenset(name for name in dir(trt.HardwareCompatibilityLevel) if name.isupper()),
    )


def _logger(trt: Any, words: list[str]) -> Any:
    """Return a logger that keeps TensorRT's errors, to say what went wrong in its own words."""

    class Kept(trt.ILogger):  # type: ignore[misc]
        def log(self, severity: Any, message: str) -> None:
            if severity in (trt.ILogger.ERROR, trt.ILogger.INTERNAL_ERROR):
                words.append(message)

    return Kept()


def _monitor(trt: Any, report: Report) -> Any:
    """Return a monitor that tells nested phases as one fraction; TensorRT calls it from several threads."""
    phases = Phases(report)

    class Told(trt.IProgressMonitor):  # type: ignore[misc]
        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            phases.start(phase_name, parent_phase, num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            phases.step(phase_name, step)
            return True

        def phase_finish(self, phase_name: str) -> None:
            phases.finish(phase_name)

    return Told()


def _write_whole(path: Path, content: bytes) -> None:
    descriptor, partial = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "wb") as stream:
        stream.write(content)
    Path(partial).replace(path)

"""Compiles ONNX into a TensorRT engine on the slice that will serve it; the only module that may import tensorrt.

The step has its place and its types; the compiler itself is not in this version, and saying so is all that it does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_repo_builder.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.onnx_graph import Tensor
    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import ImageSize, Precision, Target


@dataclass(frozen=True, kw_only=True)
class EngineOptions:
    """All that an engine is compiled with; one optimisation profile from 1 to `max_batch_size` frames of one size."""

    precision: Precision
    image_size: ImageSize
    max_batch_size: int
    target: Target
    optimization_level: int = 3
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    calibration_frames: Path | None = None


@dataclass(frozen=True, kw_only=True)
class Engine:
    """A compiled engine: the bare plan that Triton loads, without Ultralytics' header."""

    plan: Path
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    tensorrt_version: str


def installed_version() -> str | None:
    """Return the version of the TensorRT in this image, or None."""
    try:
        import tensorrt
    except ImportError:
        return None
    return str(tensorrt.__version__)


def unavailable() -> Refused:
    """Say that this version compiles no engines, and what works instead."""
    version = installed_version()
    has = f"TensorRT {version} is in the image, but" if version else "the image has no TensorRT, and"
    return Refused(
        field="spec.engine.backend",
        value="TensorRT",
        message=f"this builder compiles no TensorRT engines: {has} the step comes with a later version",
        remedy="set spec.engine.backend: ONNXRuntime",
    )


def compile_engine(onnx_file: Path, plan: Path, options: EngineOptions, report: Report) -> Engine:
    """Compile `onnx_file` into `plan`; refuses in this version."""
    del onnx_file, plan, options
    report(0.0, "TensorRT")
    raise unavailable()

"""From a compared ONNX file to its INT8 form, for ONNX Runtime to serve: scales, then the gate, or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from model_repo_builder import onnx_calibration, onnx_graph
from model_repo_builder.engine_gate import EngineGate
from model_repo_builder.errors import Refused

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.calibration_set import CalibrationSet
    from model_repo_builder.compare import Comparison
    from model_repo_builder.heads import Head
    from model_repo_builder.onnx_graph import Array
    from model_repo_builder.progress import Report

FP32 = "the FP32 graph"


def write(
    onnx_file: Path, told: CalibrationSet, head: Head, *, at_once: int, build: Report, compare: Report
) -> tuple[Comparison, str]:
    """Put the INT8 graph in the place of `onnx_file`; return what was seen, and a note on what was quantised.

    Beside it go `gate.json` and the worst frames. Refused where it sees something else: the same pictures would give
    the same scales another time.
    """
    quantized = onnx_file.with_suffix(".int8.onnx")
    layers = onnx_calibration.quantize(onnx_file, quantized, told.batches(build, at_once=at_once))
    build(1.0, note := f"INT8: scales of {layers} convolutions from {len(told.names)} pictures")
    frames = told.some()
    gate = EngineGate(head=head, precision="INT8", frames=frames, folder=onnx_file.parent, reference=FP32)
    compare(0.1, f"{len(frames)} frames in FP32 and in INT8")
    seen, wrong = gate.judged(_answers(onnx_file, frames), _answers(quantized, frames))
    if wrong:
        empty = "" if seen.agreement else "no box is seen in any, so values are compared: "
        raise Refused(
            field="spec.engine.precision",
            value="INT8",
            message=f"INT8 does not see what FP32 sees in {len(frames)} of the pictures: {empty}{wrong}",
            remedy="calibrate on more pictures that show what the cameras see, or set spec.engine.precision: FP32",
        )
    quantized.replace(onnx_file)
    compare(1.0, seen.sentence())
    return seen, note


def _answers(path: Path, frames: Array) -> list[Array]:
    """One by one: a graph may take no more at once."""
    loaded = onnx_graph.session(str(path))
    each = [onnx_graph.run(loaded, frames[at : at + 1]) for at in range(len(frames))]
    return [np.concatenate(several) for several in zip(*each, strict=True)]

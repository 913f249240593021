"""From a compared ONNX file to an engine that passed its own gate: on the GPU that will serve it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx

from model_repo_builder import cuda_device, engine_from_onnx, onnx_graph, onnx_precision
from model_repo_builder.engine_from_onnx import Engine
from model_repo_builder.engine_gate import EngineGate
from model_repo_builder.engine_settings import TYPED, BatchRange, EngineOptions
from model_repo_builder.errors import Failed
from yolofleet.api.recipe import Target

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from model_repo_builder.compare import Comparison
    from model_repo_builder.heads import Head
    from model_repo_builder.onnx_graph import Array
    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import Recipe


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to compile, and for whom; `frames` (N, C, H, W) are what the gate sees, `batches` what scales are of."""

    recipe: Recipe
    target: Target | None
    head: Head
    frames: Array
    batches: Iterable[Array] = ()
    timing_cache: Path | None = None
    optimization_level: int = 3


def write(onnx_file: Path, plan: Path, asked: Asked, *, build: Report, compare: Report) -> tuple[Engine, Comparison]:
    """Compile `onnx_file` into `plan` and compare the two; Failed where the engine sees something else.

    Beside the plan go `gate.json` and the worst frames, drawn.
    """
    device = engine_from_onnx.ready(asked.recipe.precision, cuda_device.look(), engine_from_onnx.installed_version())
    own = Target(compute_capability=device.compute_capability, sm_count=device.sm_count, memory_mib=device.memory_mib)
    graph = _graph(onnx_file, asked)
    options = EngineOptions(
        precision=asked.recipe.precision,
        image_size=asked.recipe.image_size,
        batches=(BatchRange(1, asked.recipe.max_batch_size, asked.recipe.max_batch_size),),
        target=asked.target or own,
        timing_cache=asked.timing_cache,
        optimization_level=asked.optimization_level,
    )
    engine = engine_from_onnx.compile_engine(graph, plan, options, build)
    graph.unlink()
    return engine, _compared(onnx_file, plan, asked, compare)


def _graph(onnx_file: Path, asked: Asked) -> Path:
    """Write the graph that says the precision, out of the engine's folder's sight."""
    target = onnx_file.with_suffix(".compiled.onnx")
    if asked.recipe.precision == "INT8":
        from model_repo_builder import onnx_calibration

        onnx_calibration.quantize(onnx_file, target, asked.batches)
    model = onnx.load(str(target if target.is_file() else onnx_file))
    onnx.save(onnx_precision.half(model) if asked.recipe.precision in TYPED else model, str(target))
    return target


def _compared(onnx_file: Path, plan: Path, asked: Asked, report: Report) -> Comparison:
    from model_repo_builder.engine_runner import EngineRunner

    loaded, runner = onnx_graph.session(str(onnx_file)), EngineRunner(plan)
    report(0.1, f"{len(asked.frames)} frames in ONNX Runtime")
    wanted = _joined([onnx_graph.run(loaded, asked.frames[at : at + 1]) for at in range(len(asked.frames))])
    report(0.7, f"{len(asked.frames)} frames in the engine")
    got = runner.run(asked.frames)
    if [one.shape for one in wanted] != [one.shape for one in got] or not all(np.isfinite(one).all() for one in got):
        raise Failed(
            message=f"the engine gives {[one.shape for one in got]}, or values that are no numbers; "
            f"ONNX gives {[one.shape for one in wanted]}",
            remedy="set spec.engine.precision: FP32 to see whether the precision is at fault, and report this model",
        )
    report(1.0, "compared")
    gate = EngineGate(
        head=asked.head,
        precision=asked.recipe.precision,
        frames=asked.frames,
        folder=plan.parent,
        reference="ONNX Runtime",
    )
    seen, wrong = gate.judged(wanted, got)
    if wrong:
        raise _differs(wrong)
    return seen


def _differs(words: str) -> Failed:
    return Failed(
        message=f"the engine does not see what ONNX Runtime sees: {words}",
        remedy="set a wider precision (FP16, FP32), or calibrate on more frames",
    )


def _joined(parts: list[list[Array]]) -> list[Array]:
    return [np.concatenate(several) for several in zip(*parts, strict=True)]

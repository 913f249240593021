"""From a compared ONNX file to an engine that passed its own gate: on the GPU that will serve it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx

from model_repo_builder import boxes, cuda_device, engine_from_onnx, gate_report, gates, onnx_graph, onnx_precision
from model_repo_builder.compare import Comparison
from model_repo_builder.engine_from_onnx import Engine
from model_repo_builder.engine_settings import TYPED, BatchRange, EngineOptions
from model_repo_builder.errors import Failed, Refused
from yolofleet.api.recipe import Target

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.boxes import Boxes
    from model_repo_builder.heads import Head
    from model_repo_builder.onnx_graph import Array
    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import Recipe

ALLOWED = 0.02
"""Largest error of a channel, relative to its largest value, where no frame shows a box: FP16 keeps 3 digits."""
CLASSIFY = "Classify"
BARS = {"INT8": gates.Bars(box_iou=0.8, score_slack=0.2, lost_share=0.02)}
"""256 steps move boxes and scores where they cost no precision: yolo26n of the shapes set keeps its mAP50-95 with
scores 0.18 apart (docs/benchmarks/engines.md). Where frames are labelled, mAP judges."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What to compile, and for whom; `frames` (N, C, H, W) are what the gate and calibration look at."""

    recipe: Recipe
    target: Target | None
    head: Head
    frames: Array
    own_frames: bool
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

        if not asked.own_frames:
            raise Refused(
                field="spec.engine.precision",
                value="INT8",
                message="scales are taken from frames, and none are given",
                remedy="give frames of the cameras (--pictures FOLDER), or set spec.engine.precision: FP16",
            )
        onnx_calibration.quantize(onnx_file, target, asked.frames)
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
    return _judged(wanted, got, plan.parent, asked)


def _judged(wanted: list[Array], got: list[Array], folder: Path, asked: Asked) -> Comparison:
    absolute, relative = _errors(wanted, got)
    told = Comparison(
        reference="ONNX Runtime",
        frames=len(asked.frames),
        max_absolute=absolute,
        max_relative=relative,
        tolerance=ALLOWED,
    )
    if asked.head.task == CLASSIFY or not any(map(len, _seen(wanted, asked.head))):
        if relative > ALLOWED:
            raise _differs(told.sentence())
        return told
    seen = gates.agree(
        lambda _: _seen(wanted, asked.head),
        lambda _: _seen(got, asked.head),
        asked.frames,
        BARS.get(asked.recipe.precision),
    )
    gate_report.write(folder, seen, lambda index: _picture(asked.frames[index]))
    if failings := seen.failings():
        raise _differs("; ".join(failings))
    return replace(told, boxes=seen.sentence(), agreement=seen)


def _seen(outputs: list[Array], head: Head) -> list[Boxes]:
    return boxes.from_raw(outputs, head, boxes.Thresholds())


def _differs(words: str) -> Failed:
    return Failed(
        message=f"the engine does not see what ONNX Runtime sees: {words}",
        remedy="set a wider precision (FP16, FP32), or calibrate on more frames",
    )


def _errors(wanted: list[Array], got: list[Array]) -> tuple[float, float]:
    """Return the largest absolute error, and the largest relative to its channel (axis 1)."""
    worst = (0.0, 0.0)
    for one, other in zip(wanted, got, strict=True):
        gap = np.abs(one.astype(np.float64) - other.astype(np.float64))
        axes = (0, *range(2, one.ndim))
        scale = np.maximum(np.abs(one.astype(np.float64)).max(axis=axes), 1.0)
        worst = (max(worst[0], float(gap.max())), max(worst[1], float((gap.max(axis=axes) / scale).max())))
    return worst


def _joined(parts: list[list[Array]]) -> list[Array]:
    return [np.concatenate(several) for several in zip(*parts, strict=True)]


def _picture(frame: Array) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Return a frame as it is drawn: (H, W, 3), bytes."""
    shown = frame[:3] if len(frame) >= 3 else np.repeat(frame[:1], 3, axis=0)  # noqa: PLR2004 - colours
    return (shown.transpose(1, 2, 0) * 255).round().astype(np.uint8)

"""All that is decided of an engine before TensorRT is touched: flags, types, profiles, as data."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_repo_builder.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from yolofleet.api.recipe import HardwareCompatibility, ImageSize, Precision, Target

FLAGS = {"TF32": ("TF32",), "BF16": ("BF16",), "FP16": ("FP16",), "INT8": ("INT8", "FP16"), "FP8": ("FP8", "FP16")}
"""Builder flags over an FP32 graph; quantised graphs bring their scales (Q/DQ), and what has none runs in FP16."""
TYPED = frozenset({"FP16", "INT8", "FP8"})
"""Precisions that the graph itself says; the others are the builder's flags over an FP32 graph."""
MIB = 1024**2
FREE = -1
SAME_KIND, AMPERE_ON = "SAME_COMPUTE_CAPABILITY", "AMPERE_PLUS"
LEVELS: dict[HardwareCompatibility, str] = {"SameComputeCapability": SAME_KIND, "AmperePlus": AMPERE_ON}


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
    `portable` lets the engine run on every device of its compute capability (from 10.9), or from Ampere on (before);
    a target that names its hardware compatibility gets just that.
    `half_io` makes float inputs and outputs FP16 where the graph does not say it itself. `aux_streams` None: TensorRT
    chooses how many streams run beside the main one. `detailed` keeps what the engine inspector tells of each layer.
    `typed` False: an FP32 graph is given, and FP16 is the builder's choice layer by layer.
    """

    precision: Precision
    image_size: ImageSize
    batches: tuple[BatchRange, ...]
    target: Target
    optimization_level: int = 3
    workspace_mib: int | None = None
    timing_cache: Path | None = None
    portable: bool = False
    half_io: bool = False
    aux_streams: int | None = None
    detailed: bool = False
    typed: bool = True


@dataclass(frozen=True, kw_only=True)
class Known:
    """What the TensorRT at hand knows: 11 has no flags for precisions, 10.9 brought narrower portability."""

    version: str
    flags: frozenset[str]
    strongly_typed: bool
    levels: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class EngineSettings:
    """What TensorRT's builder is told; names are those of its enumerations."""

    strongly_typed: bool
    halve_io: bool
    flags: tuple[str, ...]
    cleared: tuple[str, ...]
    compatibility: str | None
    workspace_bytes: int


def settled(options: EngineOptions, known: Known) -> EngineSettings:
    """Return what to tell the builder; Refused where this version can't say it."""
    typed = known.strongly_typed and options.typed and options.precision in TYPED
    flags = () if typed else FLAGS.get(options.precision, ())
    if missing := [flag for flag in flags if flag not in known.flags]:
        raise Refused(
            field="spec.engine.precision",
            value=options.precision,
            message=f"TensorRT {known.version} builds no {options.precision} engine from an FP32 graph: "
            f"it has no flag {missing[0]}",
            remedy="set spec.engine.precision: FP16",
        )
    return EngineSettings(
        strongly_typed=typed,
        halve_io=options.half_io and not typed,
        flags=flags,
        cleared=("TF32",) if options.precision == "FP32" and "TF32" in known.flags else (),
        compatibility=_compatibility(options, known),
        workspace_bytes=(options.workspace_mib or 0) * MIB,
    )


def _compatibility(options: EngineOptions, known: Known) -> str | None:
    """Return what the target asks for, else the narrowest that this version knows; Refused where it knows it not."""
    asked = options.target.hardware_compatibility
    if asked is None:
        return (SAME_KIND if SAME_KIND in known.levels else AMPERE_ON) if options.portable else None
    if (level := LEVELS[asked]) not in known.levels:
        raise Refused(
            field="spec.engine.portable",
            value=asked,
            message=f"TensorRT {known.version} builds no portable engine of this kind: it has no level {level}",
            remedy="set builds.tensorrtVersion of the chart to that of images.triton, or spec.engine.portable: Never",
        )
    return level


def shapes(dims: Sequence[int], batch: BatchRange, size: ImageSize) -> tuple[tuple[int, ...], ...]:
    """Return an input's least, best and largest shape; a free height and width are those of the image."""
    rest = tuple(map(int, dims[1:]))
    if FREE in rest:
        rest = (rest[0], size.height, size.width)
    return tuple((count, *rest) for count in (batch.smallest, batch.best, batch.largest))

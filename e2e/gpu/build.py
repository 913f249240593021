"""Compiles one engine by the builder's compiler: `python -m e2e.gpu.build --models M --out O yolo11n --batch 8`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import onnx

from e2e.gpu import graphs, rewrites
from model_repo_builder import cuda_device, engine_from_onnx
from model_repo_builder.engine_settings import BatchRange, EngineOptions
from yolofleet.api.recipe import ImageSize, Target

WORKSPACE_MIB = 8192


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One engine: a model's raw head or its frames graph, at one batch unless `free` gives the profiles."""

    model: str
    batch: int
    free: bool = False
    float_io: bool = False
    precision: str = "FP16"
    frames: str = ""
    flags: bool = False
    level: int = 3
    aux_streams: int | None = None
    portable: bool = False
    detailed: bool = False
    rewrite: tuple[str, ...] = ()
    tag: str = ""

    @property
    def name(self) -> str:
        """Return the engine's file name."""
        kind = f"frames-{self.frames}-" if self.frames else ""
        extra = "".join(
            [
                "-flags" if self.flags else "",
                f"-o{self.level}" if self.level != 3 else "",
                f"-aux{self.aux_streams}" if self.aux_streams is not None else "",
                "-portable" if self.portable else "",
                "".join(f"-{name}" for name in self.rewrite),
                f"-{self.tag}" if self.tag else "",
            ]
        )
        batch = f"p1.{self.batch}.{self.batch}" if self.free else f"b{self.batch}"
        return f"{self.model}-{kind}{self.precision}-{batch}{'-floatio' if self.float_io else ''}{extra}.plan"


def prepare(wanted: Wanted, models: Path, out: Path) -> Path:
    """Write the graph that is compiled; those of INT8 and FP8 come from `python -m e2e.gpu.calibrate`."""
    suffix = {"INT8": "-int8", "FP8": "-fp8"}.get(wanted.precision, "")
    model = rewrites.rewritten(onnx.load(models / f"{wanted.model}{suffix}.onnx"), wanted.rewrite)
    if not wanted.flags:
        model = graphs.typed(model, wanted.precision, half_io=not wanted.float_io)  # type: ignore[arg-type]
    if wanted.frames == "endpoint":
        model = graphs.endpoint(model)
    if not wanted.free:
        model = graphs.fixed(model, wanted.batch)
    if wanted.frames == "plugin":
        model = graphs.with_plugin(model, wanted.batch)
    target = (out / wanted.name).with_suffix(".onnx")
    onnx.save(model, target)
    return target


def compiled(wanted: Wanted, models: Path, out: Path, cache: Path) -> dict[str, Any]:
    """Compile, and tell how it went."""
    device = cuda_device.look()
    if device is None:
        raise SystemExit("no GPU is visible here: run this on a box with an NVIDIA driver")
    options = EngineOptions(
        precision=wanted.precision,  # type: ignore[arg-type]
        image_size=ImageSize(),
        batches=(BatchRange(1 if wanted.free else wanted.batch, wanted.batch, wanted.batch),),
        target=Target(
            compute_capability=device.compute_capability, sm_count=device.sm_count, memory_mib=device.memory_mib
        ),
        optimization_level=wanted.level,
        workspace_mib=WORKSPACE_MIB,
        timing_cache=cache,
        portable=wanted.portable,
        half_io=not wanted.frames and not wanted.float_io,
        aux_streams=wanted.aux_streams,
        detailed=wanted.detailed,
        typed=not wanted.flags,
    )
    if wanted.frames == "plugin":
        engine_from_onnx.load_plugins()
    graph, warm = prepare(wanted, models, out), cache.stat().st_size if cache.is_file() else 0
    began = time.monotonic()
    engine = engine_from_onnx.compile_engine(graph, out / wanted.name, options, Told())
    return {
        "engine": wanted.name,
        "build_s": round(time.monotonic() - began, 1),
        "bytes": engine.plan.stat().st_size,
        "cache_bytes_before": warm,
        "cache_bytes_after": cache.stat().st_size,
        "notes": list(engine.notes),
        "sms": device.sm_count,
    }


class Told:
    """Prints progress each ten seconds."""

    def __init__(self) -> None:
        self._next = 0.0

    def __call__(self, fraction: float, words: str) -> None:
        if time.monotonic() > self._next:
            self._next = time.monotonic() + 10
            print(f"  build {fraction:6.1%}  {words[:80]}", file=sys.stderr, flush=True)


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--models", type=Path, required=True)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("model")
    made.add_argument("--batch", type=int, required=True)
    made.add_argument("--free", action="store_true", help="batches from 1 to --batch, not this one only")
    made.add_argument("--float-io", action="store_true", help="FP32 inputs and outputs around FP16 layers")
    made.add_argument("--precision", default="FP16", choices=["FP32", "TF32", "FP16", "BF16", "INT8", "FP8"])
    made.add_argument(
        "--frames",
        default="",
        choices=["endpoint", "plugin"],
        help="uint8 frames in, boxes out: the endpoint's own graph, or TensorRT's NMS plugin",
    )
    made.add_argument("--flags", action="store_true", help="FP16 by the builder's flag, not by the graph's types")
    made.add_argument("--level", type=int, default=3)
    made.add_argument("--aux-streams", type=int)
    made.add_argument("--portable", action="store_true")
    made.add_argument("--detailed", action="store_true", help="the inspector tells of each layer")
    made.add_argument(
        "--rewrite", action="append", default=[], choices=sorted(rewrites.REWRITES), help="repeatable, in this order"
    )
    made.add_argument("--tag", default="", help="set apart in the file's name")
    made.add_argument("--cache", type=Path, help="timing cache (default: one for each model in --out)")
    made.add_argument("--rebuild", action="store_true", help="build even if the engine is there")
    return made


def main() -> int:
    """Compile unless the engine is there."""
    asked = vars(parser().parse_args())
    models, out, cache, again = (asked.pop(name) for name in ("models", "out", "cache", "rebuild"))
    out.mkdir(parents=True, exist_ok=True)
    wanted = Wanted(**asked)
    if again or not (out / wanted.name).is_file():
        told = compiled(wanted, models, out, cache or out / f"timing-{wanted.model}.cache")
        kind = "again" if again else "first"
        (out / wanted.name).with_suffix(f".{kind}.json").write_text(json.dumps(told, indent=1) + "\n")
        print(json.dumps(told))
    return 0


if __name__ == "__main__":
    sys.exit(main())

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

from e2e.gpu import graphs
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
                f"-{self.tag}" if self.tag else "",
            ]
        )
        batch = f"p1.{self.batch}.{self.batch}" if self.free else f"b{self.batch}"
        return f"{self.model}-{kind}{self.precision}-{batch}{'-floatio' if self.float_io else ''}{extra}.plan"


def prepare(wanted: Wanted, models: Path, out: Path) -> Path:
    """Write the graph that is compiled; INT8's comes from `python -m e2e.gpu.calibrate`."""
    suffix = "-int8" if wanted.precision == "INT8" else ""
    model = onnx.load(models / f"{wanted.model}{suffix}.onnx")
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


def main() -> int:
    """Compile unless the engine is there."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--free", action="store_true", help="batches from 1 to --batch, not this one only")
    parser.add_argument("--float-io", action="store_true", help="FP32 inputs and outputs around FP16 layers")
    parser.add_argument("--precision", default="FP16", choices=["FP32", "TF32", "FP16", "BF16", "INT8"])
    parser.add_argument(
        "--frames",
        default="",
        choices=["endpoint", "plugin"],
        help="uint8 frames in, boxes out: the endpoint's own graph, or TensorRT's NMS plugin",
    )
    parser.add_argument("--flags", action="store_true", help="FP16 by the builder's flag, not by the graph's types")
    parser.add_argument("--level", type=int, default=3)
    parser.add_argument("--aux-streams", type=int)
    parser.add_argument("--portable", action="store_true")
    parser.add_argument("--tag", default="", help="set apart in the file's name")
    parser.add_argument("--cache", type=Path, help="timing cache (default: one for each model in --out)")
    parser.add_argument("--rebuild", action="store_true", help="build even if the engine is there")
    asked = vars(parser.parse_args())
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

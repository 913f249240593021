"""Compiles models and measures them beside torch on this GPU: a folder in, a folder out.

`python -m e2e.gpu.bench --models FOLDER --out FOLDER --model yolo11n --precision FP16 …` writes rows of figures, the
engines and the timing cache under --out; a second run finds both there. Every ratio is taken within one run.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import torch

from e2e.gpu.engines import Runner, timed
from model_repo_builder import cuda_device, engine_from_onnx, onnx_graph, onnx_precision
from model_repo_builder.engine_from_onnx import BatchRange, EngineOptions
from yolofleet.api.recipe import ImageSize, Target

Row = dict[str, Any]


def compiled(asked: argparse.Namespace, device: cuda_device.CudaDevice) -> tuple[Path, Row]:
    """Return the engine, built unless it is there, and how the build went."""
    kind = "-".join(f"{b.smallest}.{b.best}.{b.largest}" for b in asked.profile)
    plan = asked.out / f"{asked.model}-{asked.precision}-{kind}-o{asked.level}.plan"
    graph = asked.out / f"{asked.model}-{asked.precision}.onnx"
    source = onnx.load(asked.models / f"{asked.model}.onnx")
    onnx.save(onnx_precision.half(source) if asked.precision == "FP16" else source, graph)
    if plan.is_file() and not asked.rebuild:
        return plan, {}
    height, width = (dim.dim_value for dim in source.graph.input[0].type.tensor_type.shape.dim[2:])
    options = EngineOptions(
        precision=asked.precision,
        image_size=ImageSize(height=height, width=width),
        batches=tuple(asked.profile),
        target=Target(
            compute_capability=device.compute_capability, sm_count=device.sm_count, memory_mib=device.memory_mib
        ),
        optimization_level=asked.level,
        workspace_mib=8192,
        timing_cache=asked.out / f"timing-{device.compute_capability}.cache",
        portable=asked.portable,
    )
    told = Told()
    began = time.monotonic()
    engine = engine_from_onnx.compile_engine(graph, plan, options, told)
    seconds = round(time.monotonic() - began, 1)
    return plan, {
        "build_s": seconds,
        "bytes": plan.stat().st_size,
        "notes": list(engine.notes),
        "steps_told": told.count,
        "never_backwards": told.monotonic,
        "cache_bytes": options.timing_cache.stat().st_size if options.timing_cache else 0,
    }


class Told:
    """Prints progress each ten seconds, and keeps what a test asks of it."""

    def __init__(self) -> None:
        self.count, self.last, self.monotonic, self._next = 0, 0.0, True, 0.0

    def __call__(self, fraction: float, words: str) -> None:
        self.count += 1
        self.monotonic = self.monotonic and fraction >= self.last - 1e-9
        self.last = fraction
        if time.monotonic() > self._next:
            self._next = time.monotonic() + 10
            print(f"  build {fraction:6.1%}  {words[:80]}", file=sys.stderr, flush=True)


def agreement(plan: Path, model: Path) -> Row:
    """Return how far the engine is from ONNX Runtime on the CPU, for one frame."""
    runner = Runner(plan, 1)
    runner.step()
    runner.stream.synchronize()
    loaded = onnx_graph.session(str(model))
    wanted = loaded.run(None, {loaded.get_inputs()[0].name: runner.input.float().cpu().numpy()})[0]
    got = next(iter(runner.outputs.values())).float().cpu().numpy()
    gap = np.abs(got - wanted)
    return {"boxes_px": float(gap[:, :4].max()), "scores": float(gap[:, 4:].max()), "largest": float(np.abs(got).max())}


def torch_steps(checkpoint: Path, batch: int, size: int, *, mode: str | None) -> list[tuple[str, Any]]:
    """Return torch's own ways to run the model, FP16 and channels last."""
    module = torch.load(checkpoint, weights_only=False)["model"]
    module.eval().fuse(verbose=False)
    module = module.half().cuda().to(memory_format=torch.channels_last)
    x = torch.rand(batch, 3, size, size, device="cuda", dtype=torch.float16).to(memory_format=torch.channels_last)
    ways = [("torch_eager", lambda: module(x))]
    if mode:
        tuned = torch.compile(module, mode=mode)
        ways.append(("torch_compile", lambda: tuned(x)))
    return ways


def rows_of(asked: argparse.Namespace, plan: Path, sms: int) -> list[Row]:
    """Measure everything at every batch that is asked for."""
    rows: list[Row] = []
    for batch in asked.batch:
        base = {"model": asked.model, "batch": batch, "precision": asked.precision, "sms": sms, "instances": 1}
        runner = Runner(plan, batch)
        for path, step in (("engine_no_graph", runner.step), ("engine", runner.graphed())):
            add(rows, {**base, "path": path, **asdict(timed(step, runner.stream, batch))})
        stream = torch.cuda.Stream()
        with torch.inference_mode():
            for path, step in torch_steps(
                asked.models / f"{asked.model}.pt", batch, asked.size, mode=asked.torch_compile
            ):
                add(rows, {**base, "path": path, **asdict(timed(step, stream, batch))})
    return rows


def add(rows: list[Row], row: Row) -> None:
    """Keep a row, and show it at once: the next one may take minutes."""
    rows.append(row)
    print(json.dumps(row), flush=True)


def main() -> int:
    """Build, compare, measure, write."""
    asked = arguments()
    asked.out.mkdir(parents=True, exist_ok=True)
    device = cuda_device.look()
    if device is None:
        sys.stderr.write("no GPU is visible here: run this on a box with an NVIDIA driver\n")
        return 2
    print(f"{device}; TensorRT {engine_from_onnx.installed_version()}; torch {torch.__version__}", flush=True)
    plan, build = compiled(asked, device)
    print(json.dumps(build), flush=True)
    close = agreement(plan, asked.models / f"{asked.model}.onnx")
    print(json.dumps(close), flush=True)
    rows = rows_of(asked, plan, device.sm_count)
    told = {
        "gpu": device.name,
        "tensorrt": engine_from_onnx.installed_version(),
        "torch": torch.__version__,
        "date": time.strftime("%Y-%m-%d"),
        "command": " ".join(["python -m e2e.gpu.bench", *sys.argv[1:]]),
        "build": build,
        "agreement": close,
        "rows": rows,
    }
    target = asked.out / f"rows-{plan.stem}.json"
    target.write_text(json.dumps(told, indent=1) + "\n")
    print(target)
    return 0


def profile(text: str) -> BatchRange:
    """Read `smallest.best.largest`."""
    return BatchRange(*map(int, text.split(".")))


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True, help="NAME.onnx and NAME.pt (python -m e2e.gpu.models)")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--size", type=int, default=640)
    parser.add_argument("--precision", default="FP16", choices=["FP32", "TF32", "FP16", "BF16"])
    parser.add_argument("--profile", type=profile, action="append", help="1.8.32, repeatable; default 1.8.32")
    parser.add_argument("--batch", type=int, action="append", help="repeatable; default 1 8 32")
    parser.add_argument("--level", type=int, default=3, help="TensorRT's builder_optimization_level")
    parser.add_argument("--portable", action="store_true")
    parser.add_argument("--rebuild", action="store_true", help="build even if the engine is there")
    parser.add_argument(
        "--torch-compile",
        choices=["reduce-overhead", "max-autotune"],
        help="measure torch.compile too; max-autotune takes minutes for each batch",
    )
    asked = parser.parse_args()
    asked.profile = asked.profile or [BatchRange(1, 8, 32)]
    asked.batch = asked.batch or [1, 8, 32]
    return asked


if __name__ == "__main__":
    sys.exit(main())

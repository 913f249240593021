"""How far from the roofline: measured GEMM and copy rates, a model's operations and bytes, its layers' times.

`python -m e2e.gpu.roofline rates --rows R` · `count MODEL.onnx` (no GPU) · `layers --out O --rows R ENGINE…`
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import onnx

from model_repo_builder.graph_work import work_of
from yolofleet.api.estimate import Work


def rates() -> dict[str, float]:
    """Return this GPU's own best: a large FP16 product in TFLOP/s, a large copy in GB/s (read and written)."""
    import torch

    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.float16) for _ in range(2))
    source = torch.empty(4 * 1024**3, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    product = _median_s(lambda: a @ b)
    copy = _median_s(lambda: target.copy_(source))
    return {"fp16_tflops": round(2 * 8192**3 / product / 1e12, 1), "copy_gb_s": round(2 * source.numel() / copy / 1e9)}


def _median_s(step: Any) -> float:
    import torch

    times = []
    for _ in range(8):
        first, last = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        first.record()
        for _ in range(5):
            step()
        last.record()
        torch.cuda.synchronize()
        times.append(first.elapsed_time(last) / 5e3)
    return float(sorted(times[2:])[3])


def layers(plan: Path, batch: int) -> dict[str, Any]:
    """Return each layer's time by TensorRT's profiler, and what the engine inspector says of it."""
    import tensorrt as trt

    from e2e.gpu.engines import Runner
    from model_repo_builder import engine_from_onnx

    engine_from_onnx.load_plugins()

    class Times(trt.IProfiler):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.kept: dict[str, list[float]] = defaultdict(list)

        def report_layer_time(self, layer_name: str, ms: float) -> None:
            self.kept[layer_name].append(ms)

    runner, times = Runner(plan, batch), Times()
    for _ in range(5):
        runner.step()
    runner.stream.synchronize()
    runner.context.profiler = times
    for _ in range(20):
        runner.step()
        runner.stream.synchronize()
    told = json.loads(runner.engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON))
    described = {layer["Name"]: layer for layer in told.get("Layers", []) if isinstance(layer, dict)}
    rows: list[dict[str, Any]] = [
        {
            "name": name[:160],
            "ms": round(sorted(kept)[len(kept) // 2], 5),
            "type": described.get(name, {}).get("LayerType"),
            "tactic": str(described.get(name, {}).get("TacticName"))[:120],
        }
        for name, kept in times.kept.items()
    ]
    return {
        "engine": plan.name,
        "layers": len(rows),
        "sum_ms": round(sum(row["ms"] for row in rows), 4),
        "aux_streams": runner.engine.num_aux_streams,
        "device_memory_mb": round(runner.engine.device_memory_size_v2 / 1e6, 1),
        "rows": sorted(rows, key=lambda row: -row["ms"]),
    }


def first_answer(plan: Path, batch: int) -> dict[str, Any]:
    """Return the seconds from file to first answer, and the memory that the engine takes."""
    import torch

    from e2e.gpu.engines import Runner
    from model_repo_builder import engine_from_onnx

    engine_from_onnx.load_plugins()
    torch.zeros(1, device="cuda")
    before, began = torch.cuda.mem_get_info()[0], time.monotonic()
    runner = Runner(plan, batch)
    loaded = time.monotonic()
    runner.step()
    runner.stream.synchronize()
    return {
        "engine": plan.name,
        "bytes": plan.stat().st_size,
        "load_s": round(loaded - began, 3),
        "first_answer_s": round(time.monotonic() - began, 3),
        "memory_mb": round((before - torch.cuda.mem_get_info()[0]) / 1e6, 1),
    }


def figures_of(work: Work) -> dict[str, float]:
    """Return a graph's work in the units of the report."""
    return {
        "gflop": work.megaflops / 1e3,
        "activations_mb": work.activation_kilobytes / 1e3,
        "weights_mb": work.weight_kilobytes / 1e3,
        "layers": work.layers,
    }


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("what", choices=["rates", "count", "layers", "first"])
    made.add_argument("files", type=Path, nargs="*")
    made.add_argument("--rows", type=Path)
    return made


def main() -> int:
    """Measure or count, and write."""
    asked = parser().parse_args()
    found: list[Any] = [rates()] if asked.what == "rates" else []
    for path in asked.files:
        if asked.what == "count":
            found.append({"model": path.stem, **figures_of(work_of(onnx.load(path)))})
            continue
        batch = int(re.findall(r"-(?:b|p1\.)(\d+)", path.name)[0])
        found.append(layers(path, batch) if asked.what == "layers" else first_answer(path, batch))
    if asked.rows:
        asked.rows.write_text(json.dumps(found, indent=1) + "\n")
    print(json.dumps([{k: v for k, v in told.items() if k != "rows"} for told in found]))
    return 0


if __name__ == "__main__":
    sys.exit(main())

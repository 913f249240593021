"""Writes a model's INT8 graph, scales from frames: `python -m e2e.gpu.calibrate --models M --data D yolo11m`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

import onnx

from e2e.gpu import pictures, rewrites
from model_repo_builder import onnx_calibration, onnx_quantized, quantization_lint

EVEN = 16
"""Hopper's FP8 convolutions take channels by so many; grouped ones have none."""


def odd(source: Path) -> list[str]:
    """Return the convolutions that FP8 has no kernels for."""
    graph = onnx.load(source).graph
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    layers = [(node, shapes[node.input[1]]) for node in graph.node if node.op_type == "Conv"]
    return [node.name for node, (made, taken, *_) in layers if made % EVEN or taken % EVEN]


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--models", type=Path, required=True)
    made.add_argument("--data", type=Path, required=True, help="folder of e2e.shapes.generate")
    made.add_argument("--frames", type=int, default=64)
    made.add_argument("model")
    made.add_argument("--rewrite", action="append", default=[], choices=sorted(rewrites.REWRITES), help="beforehand")
    return made


def main() -> int:
    """Calibrate on training pictures, so that validation's stay unseen."""
    asked = parser().parse_args()
    began = time.monotonic()
    seen = pictures.load(asked.data, "train", asked.frames)
    frames = pictures.normalised(seen.frames)
    source, target = asked.models / f"{asked.model}-rewritten.onnx", asked.models / f"{asked.model}-int8.onnx"
    onnx.save(rewrites.rewritten(onnx.load(asked.models / f"{asked.model}.onnx"), asked.rewrite), source)
    told = onnx_calibration.quantize(source, target, onnx_calibration.batched(frames))
    seconds = round(time.monotonic() - began, 1)
    narrow = onnx_calibration.quantize(
        source,
        fp8 := asked.models / f"{asked.model}-fp8.onnx",
        onnx_calibration.batched(frames),
        leave_out=odd(source),
    )
    onnx.save(made := onnx_quantized.as_fp8(onnx.load(fp8)), fp8)
    if wrong := quantization_lint.problems(made):
        raise SystemExit(f"the FP8 graph breaks TensorRT's rules: {wrong[0]}")
    print(json.dumps({"model": asked.model, "quantized": told, "fp8": narrow, "seconds": seconds}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

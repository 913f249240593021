"""Makes the models to measure, as .pt and ONNX: trained weights, or ultralytics' YAMLs with random ones.

`python -m e2e.gpu.models --out FOLDER yolo12n yolo11n=weights.pt …`, wherever torch, ultralytics and the builder are.
"""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
from pathlib import Path
from typing import Any

from model_repo_builder import onnx_from_yolo
from model_repo_builder.errors import Origin
from model_repo_builder.fetch import Weights
from yolofleet.api.recipe import ImageSize

FRESH_SPREAD = (0.8, 1.2)


def seeing(name: str, seed: int) -> Any:
    """Return a model of ultralytics' YAML; fresh batch norms are the identity, so theirs are shaken."""
    import torch
    from ultralytics import YOLO

    torch.manual_seed(seed)
    model = YOLO(f"{name}.yaml", verbose=False).model
    for part in model.modules():
        if isinstance(part, torch.nn.BatchNorm2d):
            part.running_mean.uniform_(-0.1, 0.1)
            part.running_var.uniform_(*FRESH_SPREAD)
    return model


def write(name: str, weights_file: str, out: Path, size: ImageSize, seed: int) -> Path:
    """Write `name`.pt and `name`.onnx (FP32, free batch, raw head); return the ONNX file."""
    import torch

    checkpoint, target = out / f"{name}.pt", out / f"{name}.onnx"
    if weights_file:
        shutil.copy(weights_file, checkpoint)
    else:
        torch.save({"model": seeing(name, seed).half(), "ema": None, "train_args": {}}, checkpoint)
    weights = Weights(
        path=checkpoint,
        format="PyTorch",
        sha256=hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
        size_bytes=checkpoint.stat().st_size,
        origin=Origin("--model", name),
    )
    versions = onnx_from_yolo.prepare(weights, out, report=silent)
    loaded = onnx_from_yolo.load(weights, versions, task="Detect", size=size, report=silent)
    loaded.export(target)
    return target


def silent(_fraction: float, _words: str) -> None:
    """Hear progress and say nothing."""


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("names", nargs="+", metavar="NAME[=FILE.pt]")
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("--size", type=int, default=640, help="height and width, in pixels")
    made.add_argument("--seed", type=int, default=0)
    return made


def main() -> int:
    """Write every model that is named."""
    asked = parser().parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    for told in asked.names:
        name, _, weights_file = told.partition("=")
        made = write(name, weights_file, asked.out, ImageSize(height=asked.size, width=asked.size), asked.seed)
        sys.stdout.write(f"{made} {made.stat().st_size}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

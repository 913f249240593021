"""The other ways to run the same model: torch eager and compiled, Ultralytics' own engine.

`python -m e2e.gpu.rivals --models M --out O yolo11n --batch 8` makes the latter.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

import torch

from e2e.gpu.engines import Step, graphed

SIZE = 640


def module(checkpoint: Path) -> torch.nn.Module:
    """Return the network: fused, FP16, channels last."""
    loaded = torch.load(checkpoint, weights_only=False)["model"].float().eval()
    if hasattr(loaded, "end2end"):
        loaded.end2end = False
    for parameter in loaded.parameters():
        parameter.requires_grad = False
    made: torch.nn.Module = loaded.fuse(verbose=False).half().cuda().to(memory_format=torch.channels_last)
    return made


def frames(batch: int) -> torch.Tensor:
    """Return random frames as torch likes them best."""
    made = torch.rand(batch, 3, SIZE, SIZE, device="cuda", dtype=torch.float16)
    return made.to(memory_format=torch.channels_last)


def eager(checkpoint: Path, batch: int) -> Step:
    """Return one step of torch as it comes."""
    network, x = module(checkpoint), frames(batch)
    return lambda: network(x)


def compiled(checkpoint: Path, batch: int, mode: str, stream: torch.cuda.Stream) -> Step:
    """Return one step of torch.compile, replayed as a CUDA graph taken on `stream`.

    `mode` is max-autotune or default. The graph is taken here, not by torch, so that it runs on a slice's stream, and
    without the copy of its input that torch's own graphs make.
    """
    torch.compiler.reset()
    chosen = "max-autotune-no-cudagraphs" if mode == "max-autotune" else "default"
    network, x = torch.compile(module(checkpoint), mode=chosen, dynamic=False), frames(batch)
    return graphed(lambda: network(x), stream)


def export_engine(checkpoint: Path, batch: int, out: Path) -> Path:
    """Return Ultralytics' own engine of one batch, made by its exporter with the same TensorRT."""
    from ultralytics import YOLO

    folder = out / f"ultralytics-{checkpoint.stem}-b{batch}"
    target = folder / f"{checkpoint.stem}.engine"
    if not target.is_file():
        folder.mkdir(parents=True, exist_ok=True)
        copied = Path(shutil.copy(checkpoint, folder))
        YOLO(str(copied)).export(format="engine", quantize=16, batch=batch, imgsz=SIZE, device=0, workspace=8)
    return target


def ultralytics_engine(engine: Path, batch: int) -> Step:
    """Return one step of Ultralytics' own runtime: its copy into the engine's input, its CUDA graph."""
    from ultralytics.nn.backends.tensorrt import TensorRTBackend

    backend: Any = TensorRTBackend(str(engine), torch.device("cuda:0"))
    x = torch.rand(batch, 3, SIZE, SIZE, device="cuda", dtype=torch.float16 if backend.fp16 else torch.float32)
    return lambda: backend.forward(x)


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    made.add_argument("--models", type=Path, required=True)
    made.add_argument("--out", type=Path, required=True)
    made.add_argument("model")
    made.add_argument("--batch", type=int, required=True)
    made.add_argument("--compile", choices=["default", "max-autotune"], help="only fill torch.compile's cache")
    return made


def main() -> int:
    """Export Ultralytics' own engine unless it is there."""
    asked = parser().parse_args()
    if asked.compile:
        with torch.inference_mode():
            compiled(asked.models / f"{asked.model}.pt", asked.batch, asked.compile, torch.cuda.Stream())
        return 0
    print(export_engine(asked.models / f"{asked.model}.pt", asked.batch, asked.out))
    return 0


if __name__ == "__main__":
    sys.exit(main())

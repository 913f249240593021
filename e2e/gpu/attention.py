"""Attention three ways: by hand as upstream writes it, by torch's fused kernel, by TensorRT; and whether that fused it.

`python -m e2e.gpu.attention --models M --out O --rows R --model yolo12n --batch 1 --batch 8 --batch 16`. Engines built
with `--detailed` tell which kernels attention became.
"""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional

from e2e.gpu import rivals, roofline
from e2e.gpu.bench import Row, Sheet, told
from e2e.gpu.engines import plans_of, timed

FUSED = re.compile(r"[fm]mha|flash|attention", re.IGNORECASE)
"""What TensorRT calls its fused attention, in names of layers or of tactics."""
WRITTEN_OUT = re.compile(r"softmax|matmul", re.IGNORECASE)


def plain(module: Any, x: torch.Tensor) -> torch.Tensor:
    """Attention of C2PSA (YOLO11, YOLO26) with torch's fused kernel."""
    count, channels, height, width = x.shape
    heads, key, depth = module.num_heads, module.key_dim, module.head_dim
    parts = module.qkv(x).view(count, heads, 2 * key + depth, height * width).split([key, key, depth], dim=2)
    q, k, v = (part.transpose(-2, -1) for part in parts)
    seen = functional.scaled_dot_product_attention(q, k, v).transpose(-2, -1)
    values = parts[2].reshape(count, channels, height, width)
    return module.proj(seen.reshape(count, channels, height, width) + module.pe(values))


def by_area(module: Any, x: torch.Tensor) -> torch.Tensor:
    """Attention of A2C2f (YOLO12), each area by itself, with torch's fused kernel."""
    count, _, height, width = x.shape
    heads, depth = module.num_heads, module.head_dim
    tokens = module.qkv(x).flatten(2).transpose(1, 2).reshape(count * module.area, -1, heads, 3 * depth)
    q, k, v = tokens.transpose(1, 2).split(depth, dim=-1)

    def laid(part: torch.Tensor) -> torch.Tensor:
        flat = part.transpose(1, 2).reshape(count, height, width, heads * depth)
        return flat.permute(0, 3, 1, 2).contiguous()

    seen = functional.scaled_dot_product_attention(q, k, v)
    return module.proj(laid(seen) + module.pe(laid(v)))


FORWARD = {"Attention": plain, "AAttn": by_area}


def fused(network: torch.nn.Module) -> int:
    """Let a network's attention run in torch's fused kernel; return how many modules there are."""
    found = [part for part in network.modules() if type(part).__name__ in FORWARD]
    for part in found:
        part.forward = FORWARD[type(part).__name__].__get__(part)
    return len(found)


def of_torch(checkpoint: Path, batch: int, *, flash: bool) -> Row:
    """Time a network and tell its peak memory; flash: only that kernel is allowed, so that no other stands in."""
    from torch.nn.attention import SDPBackend, sdpa_kernel

    network, x = rivals.module(checkpoint), rivals.frames(batch)
    count = fused(network) if flash else None
    torch.cuda.reset_peak_memory_stats()
    with sdpa_kernel([SDPBackend.FLASH_ATTENTION]):
        figures = asdict(timed(lambda: network(x), torch.cuda.Stream(), batch))
    return {**figures, "modules": count, "peak_mb": round(torch.cuda.max_memory_allocated() / 1e6, 1)}


def of_engine(layers: dict[str, Any]) -> Row:
    """Return how many layers are fused attention, and how many are its products written out."""
    names = [f"{row['name']} {row['type']} {row['tactic']}" for row in layers["rows"]]
    return {
        "fused": sum(bool(FUSED.search(name)) for name in names),
        "written_out": sum(bool(WRITTEN_OUT.search(name)) and not FUSED.search(name) for name in names),
        "sum_ms": layers["sum_ms"],
        "device_memory_mb": layers["device_memory_mb"],
        "kernels": sorted({name[:120] for name in names if FUSED.search(name)})[:8],
    }


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    for name in ("models", "out", "rows"):
        made.add_argument(f"--{name}", type=Path, required=True)
    made.add_argument("--model", required=True)
    made.add_argument("--batch", type=int, action="append", required=True)
    return made


def main() -> int:
    """Measure and write."""
    asked = parser().parse_args()
    sheet, checkpoint = Sheet(asked.rows), asked.models / f"{asked.model}.pt"
    with torch.inference_mode():
        for batch in asked.batch:
            base = {"model": asked.model, "batch": batch, "precision": "FP16"}
            for path, flash in (("torch_math", False), ("torch_flash", True)):
                with told(sheet, {**base, "path": path}) as row:
                    row.update(of_torch(checkpoint, batch, flash=flash))
            for plan in plans_of(asked.out, asked.model, batch):
                with told(sheet, {**base, "path": "engine", "engine": plan.name}) as row:
                    row.update(of_engine(roofline.layers(plan, batch)))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""The gates on labelled frames: engines against ONNX box by box, and mAP against torch FP32.

`python -m e2e.gpu.accuracy --models M --out O --data D --rows R --model yolo11n` takes every engine of --batch.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from e2e.gpu import pictures
from e2e.gpu.bench import Row, Sheet, told
from e2e.gpu.engines import Runner, plans_of
from model_repo_builder import boxes, gates, onnx_graph

if TYPE_CHECKING:
    import numpy.typing as npt

Raw = Callable[["npt.NDArray[np.uint8]"], Iterator[torch.Tensor]]
"""Takes frames (N, H, W, 3), gives the raw head's output of each batch."""
LOW, CONFIDENT, OVERLAP = 0.001, 0.25, 0.7
MOST = 300


def of_engine(plan: Path, batch: int) -> Raw:
    """Return an engine as a function of frames."""

    def run(frames: npt.NDArray[np.uint8]) -> Iterator[torch.Tensor]:
        runner = Runner(plan, batch)
        for start in range(0, len(frames), batch):
            some = torch.from_numpy(pictures.normalised(frames[start : start + batch]))
            runner.input.zero_()
            runner.input[: len(some)].copy_(some)
            torch.cuda.synchronize()
            runner.step()
            runner.stream.synchronize()
            yield next(iter(runner.outputs.values()))[: len(some)].float()

    return run


def of_torch(checkpoint: Path, batch: int) -> Raw:
    """Return torch in FP32."""
    network = torch.load(checkpoint, weights_only=False)["model"].float().eval().cuda()
    if hasattr(network, "end2end"):
        network.end2end = False

    def run(frames: npt.NDArray[np.uint8]) -> Iterator[torch.Tensor]:
        for start in range(0, len(frames), batch):
            answer = network(torch.from_numpy(pictures.normalised(frames[start : start + batch])).cuda())
            yield answer[0] if isinstance(answer, tuple) else answer

    return run


def of_onnx(model: Path) -> Raw:
    """Return ONNX Runtime on the CPU."""
    loaded = onnx_graph.session(str(model))

    def run(frames: npt.NDArray[np.uint8]) -> Iterator[torch.Tensor]:
        for frame in frames:
            answer = onnx_graph.run(loaded, pictures.normalised(frame[None]))[0]
            yield torch.from_numpy(answer).cuda()

    return run


def seen(raw: Raw, frames: npt.NDArray[np.uint8], confidence: float) -> list[boxes.Boxes]:
    """Return the boxes of each frame, by torchvision's NMS."""
    return [_kept(frame, confidence) for batch in raw(frames) for frame in batch]


def _kept(frame: torch.Tensor, confidence: float) -> boxes.Boxes:
    from torchvision.ops import batched_nms, box_convert

    scores, kinds = frame[4:].max(dim=0)
    sure = scores > confidence
    corners = box_convert(frame[:4, sure].T, "cxcywh", "xyxy")
    scores, kinds = scores[sure], kinds[sure]
    kept = batched_nms(corners, scores, kinds, OVERLAP)[:MOST]
    return boxes.Boxes(
        corners=corners[kept].double().cpu().numpy(),
        scores=scores[kept].double().cpu().numpy(),
        classes=kinds[kept].cpu().numpy(),
        extra=np.zeros((len(kept), 0)),
    )


def precision_of(raw: Raw, data: pictures.Pictures) -> Row:
    """Return mAP on the labelled frames."""
    labels = [gates.Labels(corners=rows[:, 1:], classes=rows[:, 0].astype(np.int64)) for rows in data.labels]
    found = gates.mean_average_precision(seen(raw, data.frames, LOW), labels)
    return {"map50": round(found.map50, 4), "map50_95": round(found.map50_95, 4)}


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    for name in ("models", "out", "data", "rows"):
        made.add_argument(f"--{name}", type=Path, required=True)
    made.add_argument("--model", required=True)
    made.add_argument("--batch", type=int, default=8)
    made.add_argument("--frames", type=int, default=300, help="labelled frames for mAP")
    made.add_argument("--compared", type=int, default=32, help="frames compared with ONNX box by box")
    return made


def main() -> int:
    """Measure and write."""
    asked = parser().parse_args()
    sheet, data = Sheet(asked.rows), pictures.load(asked.data, "val", asked.frames)
    few = data.frames[: asked.compared]
    with torch.inference_mode():
        wanted = seen(of_onnx(asked.models / f"{asked.model}.onnx"), few, CONFIDENT)
        with told(sheet, {"model": asked.model, "path": "torch", "precision": "FP32"}) as row:
            row.update(precision_of(of_torch(asked.models / f"{asked.model}.pt", asked.batch), data))
        for plan in plans_of(asked.out, asked.model, asked.batch):
            with told(sheet, {"model": asked.model, "path": "engine", "engine": plan.name}) as row:
                raw = of_engine(plan, asked.batch)
                row.update(precision_of(raw, data))
                seen_here = seen(raw, few, CONFIDENT)
                agreement = gates.agree(lambda _: wanted, lambda _, s=seen_here: s, few)  # type: ignore[misc]
                row.update({"gate": agreement.sentence(), "failings": agreement.failings()})
    return 0


if __name__ == "__main__":
    sys.exit(main())

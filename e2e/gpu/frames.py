"""Frames on the host to boxes on the host: the frames graph against Ultralytics' predict() on its own engine.

`python -m e2e.gpu.frames --models M --out O --data D --rows R --model yolo11n --batch 1 --batch 8`
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from e2e.gpu import graphs, pictures
from e2e.gpu.bench import Row, Sheet, told
from e2e.gpu.engines import Runner, plans_of
from model_repo_builder import engine_from_onnx

if TYPE_CHECKING:
    import numpy.typing as npt

REPEATS, CALLS = 5, 40
THRESHOLDS = {
    "confidence": (graphs.CONFIDENCE,),
    "iou": (graphs.OVERLAP,),
    "max_detections": (graphs.MOST_BOXES,),
    "geometry": (1.0, 0.0, 0.0, float(pictures.SIZE), float(pictures.SIZE)),
}


class FramesRunner:
    """Copies frames into pinned memory, to the GPU, through the engine, and boxes back."""

    def __init__(self, plan: Path, batch: int) -> None:
        engine_from_onnx.load_plugins()
        self._runner = Runner(plan, batch)
        for name, value in THRESHOLDS.items():
            if name in self._runner.inputs:
                given = torch.tensor(value, dtype=self._runner.inputs[name].dtype)
                self._runner.inputs[name].copy_(given.expand(batch, -1))
        self.host = torch.empty(self._runner.input.shape, dtype=torch.uint8, pin_memory=True)
        self.answers = {
            name: torch.empty(tensor.shape, dtype=tensor.dtype, pin_memory=True)
            for name, tensor in self._runner.outputs.items()
        }
        self._replay = self._runner.graphed()

    def from_pinned(self) -> dict[str, torch.Tensor]:
        """Answer for the frames that lie in `host`."""
        stream = self._runner.stream
        with torch.cuda.stream(stream):
            self._runner.input.copy_(self.host, non_blocking=True)
            self._replay()
            for name, tensor in self._runner.outputs.items():
                self.answers[name].copy_(tensor, non_blocking=True)
        stream.synchronize()
        return self.answers

    def from_list(self, frames: list[npt.NDArray[np.uint8]]) -> dict[str, torch.Tensor]:
        """Answer for frames in ordinary memory."""
        for index, frame in enumerate(frames):
            self.host[index].copy_(torch.from_numpy(frame))
        return self.from_pinned()


def called(step: Callable[[], Any], batch: int) -> Row:
    """Time calls from start to answer; medians of repeats."""
    for _ in range(5):
        step()
    figures = []
    for _ in range(REPEATS):
        waits = []
        for _ in range(CALLS):
            began = time.perf_counter()
            step()
            waits.append((time.perf_counter() - began) * 1e3)
        figures.append((np.percentile(waits, 50), np.percentile(waits, 99), batch * CALLS / sum(waits) * 1e3))
    p50, p99, rate = (float(np.median(column)) for column in zip(*figures, strict=True))
    return {"p50_ms": round(p50, 4), "p99_ms": round(p99, 4), "images_per_s": round(rate, 1)}


def predictor(engine: Path, frames: list[npt.NDArray[np.uint8]]) -> Callable[[], list[npt.NDArray[np.float32]]]:
    """Return Ultralytics' predict() on its own engine, boxes taken to the host."""
    from ultralytics import YOLO

    model = YOLO(str(engine), task="detect")
    blue_first = [np.ascontiguousarray(frame[..., ::-1]) for frame in frames]

    def step() -> list[npt.NDArray[np.float32]]:
        answers = model.predict(
            blue_first, conf=graphs.CONFIDENCE, iou=graphs.OVERLAP, verbose=False, device=0, batch=len(frames)
        )
        return [answer.boxes.data.cpu().numpy() for answer in answers]

    return step


def agreement(ours: dict[str, torch.Tensor], theirs: list[npt.NDArray[np.float32]]) -> Row:
    """Return how many boxes each found, and how many of theirs have one of ours with IoU ≥ 0.9 and the same class."""
    from torchvision.ops import box_iou

    found = matched = 0
    for index, rows in enumerate(theirs):
        count = int(ours["num_dets"][index, 0])
        found += count
        if not len(rows) or not count:
            continue
        overlaps = box_iou(torch.from_numpy(rows[:, :4]), ours["boxes"][index, :count].float())
        same = torch.from_numpy(rows[:, 5:6]).long() == ours["classes"][index, :count].long()
        matched += int(((overlaps >= 0.9) & same).any(dim=1).sum())
    return {"boxes": found, "boxes_predict": sum(map(len, theirs)), "matched": matched}


def measure(
    sheet: Sheet,
    base: Row,
    runner: FramesRunner,
    frames: list[npt.NDArray[np.uint8]],
    predict: Callable[[], list[npt.NDArray[np.float32]]],
) -> None:
    """Measure one engine, from frames in ordinary and in pinned memory."""
    with told(sheet, {**base, "path": "frames"}) as row:
        row.update(called(lambda: runner.from_list(frames), len(frames)))
        row.update(agreement(runner.from_list(frames), predict()))
    with told(sheet, {**base, "path": "frames_pinned"}) as row:
        row.update(called(runner.from_pinned, len(frames)))


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    for name in ("models", "out", "data", "rows"):
        made.add_argument(f"--{name}", type=Path, required=True)
    made.add_argument("--model", required=True)
    made.add_argument("--batch", type=int, action="append", required=True)
    return made


def main() -> int:
    """Measure and write."""
    asked = parser().parse_args()
    sheet = Sheet(asked.rows)
    for batch in asked.batch:
        frames = list(pictures.load(asked.data, "val", batch).frames)
        base = {"model": asked.model, "batch": batch, "precision": "FP16", "sms": 132, "instances": 1}
        engine = asked.out / f"ultralytics-{asked.model}-b{batch}" / f"{asked.model}.engine"
        predict = predictor(engine if engine.is_file() else asked.models / f"{asked.model}.pt", frames)
        for plan in plans_of(asked.out, asked.model, batch, frames=True):
            measure(sheet, {**base, "engine": plan.name}, FramesRunner(plan, batch), frames, predict)
        path = "ultralytics_predict" if engine.is_file() else "ultralytics_predict_torch"
        with told(sheet, {**base, "path": path}) as row:
            row.update(called(predict, batch))
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Runs in a pod: what Triton serves under a name, beside the FP32 graph of the same weights, on the mounted pictures.

Both are asked by Ultralytics' own client. Prints one line of JSON: boxes, those that one of the two alone sees, the
smallest overlap of a pair and the largest difference of scores. Only what the builder image holds is imported.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CONFIDENCE = 0.25


def boxes_of(result: Any) -> Any:
    """Return a client's answer as the builder's gates take it, the surest first."""
    from model_repo_builder.boxes import Boxes

    told = result.boxes.cpu()
    order = np.argsort(-told.conf.numpy(), kind="stable")
    corners, scores = told.xyxy.numpy()[order].astype(float), told.conf.numpy()[order].astype(float)
    classes = told.cls.numpy()[order].astype(int)
    return Boxes(corners=corners, scores=scores, classes=classes, extra=np.zeros((len(order), 0)))


def main() -> int:
    """Ask both, compare, report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--onnx", required=True, type=Path, help="the FP32 graph")
    parser.add_argument("--size", required=True, type=int)
    asked = parser.parse_args()
    from ultralytics import YOLO

    from model_repo_builder.gates import Agreement, Bars, compared

    served, local = YOLO(asked.url, task="detect"), YOLO(str(asked.onnx), task="detect")
    bars, frames = Bars(box_iou=0.5, score_slack=0.3), []
    for number, file in enumerate(sorted(Path(__file__).parent.glob("*.jpg"))):
        picture = cv2.imread(str(file))
        answer = served.predict(picture, conf=CONFIDENCE, verbose=False)[0]
        # ONNX Runtime's side is told what the server's metadata tells the client: the size, and no minimal rectangle.
        wanted = local.predict(picture, conf=CONFIDENCE, imgsz=asked.size, rect=False, verbose=False)[0]
        frames.append(compared(number, boxes_of(wanted), boxes_of(answer), bars))
    seen = Agreement(frames=tuple(frames), bars=bars)
    told = {"boxes": seen.boxes, "stray": seen.stray, "iou": seen.lowest_iou, "scores": seen.score_gap}
    sys.stdout.write(json.dumps({"pictures": len(frames), **told}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())

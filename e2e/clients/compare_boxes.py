"""Runs in a pod: the real Ultralytics client against Triton, compared with ONNX Runtime on the same pictures.

Prints one line of JSON per step and, last, the report. Only what the builder image holds is imported.
"""

from __future__ import annotations

import argparse
import base64
import json
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np

CONFIDENCE = 0.25


def say(**fields: Any) -> None:
    """Print one line of JSON."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def boxes_of(result: Any) -> list[tuple[int, float, np.ndarray]]:
    """Return class, confidence and corners in pixels of every box, most confident first."""
    boxes = result.boxes
    rows = zip(boxes.cls.cpu().numpy(), boxes.conf.cpu().numpy(), boxes.xyxy.cpu().numpy(), strict=True)
    return sorted(((int(c), float(p), xyxy) for c, p, xyxy in rows), key=lambda row: -row[1])


def iou(a: np.ndarray, b: np.ndarray) -> float:
    """Return intersection over union of two boxes."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    common = float(np.prod(np.clip(high - low, 0, None)))
    return common / float(np.prod(a[2:] - a[:2]) + np.prod(b[2:] - b[:2]) - common)


def worst_match(ours: list[tuple[int, float, np.ndarray]], theirs: list[tuple[int, float, np.ndarray]]) -> float:
    """Pair boxes of the same class, best first; return the lowest IoU of a pair, 0 when a box is left over."""
    if len(ours) != len(theirs):
        return 0.0
    left, lowest = list(theirs), 1.0
    for kind, _, box in ours:
        scored = [(iou(box, other[2]), index) for index, other in enumerate(left) if other[0] == kind]
        if not scored:
            return 0.0
        best, index = max(scored)
        lowest = min(lowest, best)
        del left[index]
    return lowest


def pictures(folder: Path) -> list[tuple[str, Any]]:
    """Return the mounted pictures and the two real ones that ultralytics ships."""
    from ultralytics.utils import ASSETS

    files = [*sorted(folder.glob("*.jpg")), Path(ASSETS) / "bus.jpg", Path(ASSETS) / "zidane.jpg"]
    return [(file.name, cv2.imread(str(file))) for file in files]


def input_size(onnx: Path) -> list[int]:
    """Return the graph's fixed height and width."""
    import onnxruntime

    return list(onnxruntime.InferenceSession(onnx).get_inputs()[0].shape[2:])


def measure(model: Any, picture: np.ndarray, seconds: float) -> float:
    """Return frames per second of one client that asks again as soon as it has its answer."""
    started, frames = time.monotonic(), 0
    while time.monotonic() - started < seconds:
        model.predict(picture, conf=CONFIDENCE, verbose=False)
        frames += 1
    return frames / (time.monotonic() - started)


def versions(url: str) -> dict[str, str]:
    """Return the versions of both sides."""
    import onnxruntime
    import torch
    import ultralytics
    from tritonclient import grpc

    with grpc.InferenceServerClient(url.split("//")[1].split("/", maxsplit=1)[0]) as client:
        server = client.get_server_metadata()
    return {
        "tritonserver": server.version,
        "ultralytics": ultralytics.__version__,
        "onnxruntime": onnxruntime.__version__,
        "torch": torch.__version__,
    }


def main() -> int:
    """Compare, measure, draw, report."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--url", required=True)
    parser.add_argument("--onnx", required=True, type=Path)
    parser.add_argument("--frames", required=True, type=Path)
    parser.add_argument("--seconds", type=float, default=5.0)
    asked = parser.parse_args()
    from ultralytics import YOLO

    served, local = YOLO(asked.url, task="detect"), YOLO(str(asked.onnx), task="detect")
    size = input_size(asked.onnx)
    total, lowest, drawn, most = 0, 1.0, None, -1
    for name, picture in pictures(asked.frames):
        answer = served.predict(picture, conf=CONFIDENCE, verbose=False)[0]
        # ONNX Runtime's side is told what the server's metadata tells the client: the size, and no minimal rectangle.
        reference = local.predict(picture, conf=CONFIDENCE, imgsz=size, rect=False, verbose=False)[0]
        match = worst_match(boxes_of(answer), boxes_of(reference))
        total, lowest = total + len(answer.boxes), min(lowest, match)
        say(picture=name, boxes=len(answer.boxes), reference=len(reference.boxes), iou_min=round(match, 5))
        if len(answer.boxes) > most:
            most, drawn = len(answer.boxes), answer.plot()
    fps = measure(served, pictures(asked.frames)[0][1], asked.seconds)
    _, encoded = cv2.imencode(".jpg", drawn)
    say(
        report={"boxes": total, "iou_min": round(lowest, 5), "fps": round(fps, 1), "names": served.names},
        versions=versions(asked.url),
        picture_jpeg=base64.b64encode(encoded.tobytes()).decode(),
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())

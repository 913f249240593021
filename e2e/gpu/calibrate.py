"""Writes a model's INT8 graph, scales from frames: `python -m e2e.gpu.calibrate --models M --data D yolo11m`."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from e2e.gpu import pictures
from model_repo_builder import onnx_calibration


def main() -> int:
    """Calibrate on training pictures, so that validation's stay unseen."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--data", type=Path, required=True, help="folder of e2e.shapes.generate")
    parser.add_argument("--frames", type=int, default=64)
    parser.add_argument("model")
    asked = parser.parse_args()
    began = time.monotonic()
    seen = pictures.load(asked.data, "train", asked.frames)
    frames = pictures.normalised(seen.frames)
    told = onnx_calibration.quantize(
        asked.models / f"{asked.model}.onnx", asked.models / f"{asked.model}-int8.onnx", frames
    )
    print(json.dumps({"model": asked.model, "quantized": told, "seconds": round(time.monotonic() - began, 1)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())

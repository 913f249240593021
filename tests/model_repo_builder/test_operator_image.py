"""The init container of a serving pod runs in the operator's image, which holds nothing of what builds engines."""

from __future__ import annotations

import subprocess
import sys

import pytest

NOT_THERE = ("onnx", "onnxruntime", "torch", "ultralytics", "tensorrt", "cv2")


@pytest.mark.parametrize("module", ["model_repo_builder.__main__", "yolofleet.handlers.__main__"])
def test_what_the_operators_image_runs_needs_nothing_of_the_builders(module: str) -> None:
    code = f"import sys; sys.modules.update(dict.fromkeys({NOT_THERE!r})); import {module}"
    told = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert told.returncode == 0, told.stderr

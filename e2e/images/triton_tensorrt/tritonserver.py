#!/usr/bin/python3
"""Stands in for a Triton with TensorRT on a GPU: plans of the bench's double hold ONNX, and are served as that."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

GIVEN, SERVED = "/models", "/tmp/models"
REAL = "/opt/tritonserver/bin/tritonserver"
TURNED = {
    'platform: "tensorrt_plan"\n': "",
    'backend: "tensorrt"': 'backend: "onnxruntime"',
    "KIND_GPU": "KIND_CPU",
    "model.plan": "model.onnx",
}

shutil.rmtree(SERVED, ignore_errors=True)
shutil.copytree(GIVEN, SERVED)
for config in Path(SERVED).glob("*/config.pbtxt"):
    told = config.read_text()
    for word, other in TURNED.items():
        told = told.replace(word, other)
    config.write_text(told)
for plan in Path(SERVED).glob("*/*/model.plan"):
    plan.with_name("model.onnx").write_bytes(plan.read_bytes().partition(b"\n")[2])
    plan.unlink()
arguments = [argument.replace(GIVEN, SERVED) for argument in sys.argv[1:]]
os.execv(REAL, ["tritonserver", *arguments])  # noqa: S606 - in its own place, as process 1

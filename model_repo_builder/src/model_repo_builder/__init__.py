"""From YOLO weights to a Triton model repository, published whole or not at all."""

import os

# ONNX Runtime sends usage data from 1.29 on, and decides when it is imported; nobody's cluster calls home from here.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

"""Stands in for TensorRT in the bench's builder: a plan is the ONNX file behind a line, and takes its time."""

from __future__ import annotations

import importlib
import sys
import time
from typing import Any

import onnxruntime

VERSION = "10.16.0"
COMPILE_S = 30
"""Real builds take minutes: nobody may take this one for done before others had time to serve."""
fake: Any = importlib.import_module("fake_tensorrt")


class _Network(fake.Network):  # type: ignore[misc]
    """A network with the inputs and outputs of its graph."""

    def get_input(self, index: int) -> Any:
        return self._tensor(onnxruntime.InferenceSession(self.graph).get_inputs()[index])

    def get_output(self, index: int) -> Any:
        return self._tensor(onnxruntime.InferenceSession(self.graph).get_outputs()[index])

    def _tensor(self, told: Any) -> Any:
        return fake.Tensor(told.name, tuple(axis if isinstance(axis, int) else -1 for axis in told.shape))


class _Builder(fake.Builder):  # type: ignore[misc]
    def create_network(self, flags: int) -> Any:
        return _Network(flags)

    def build_serialized_network(self, network: Any, config: Any) -> Any:
        time.sleep(COMPILE_S)
        return super().build_serialized_network(network, config)


made: Any = fake.module(version=VERSION)
made.Builder = lambda logger: _Builder(made, logger)
made.HardwareCompatibilityLevel.SAME_COMPUTE_CAPABILITY = "SAME_COMPUTE_CAPABILITY"
sys.modules["tensorrt"] = made

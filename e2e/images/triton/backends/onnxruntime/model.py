"""A Triton python-based backend that stands in for NVIDIA's `onnxruntime` backend on CPU: one session per instance.

It serves the same repository (`model.onnx` beside a `config.pbtxt` whose backend is "onnxruntime").
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from backend_parts.joining import Feed, JoiningModel


class TritonPythonModel(JoiningModel):
    """One instance of the model."""

    backend = "onnxruntime"
    model_file = "model.onnx"

    def open(
        self, path: Path, _config: Mapping[str, Any], _args: Mapping[str, str]
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Open a session of one thread."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        inputs = [*self._session.get_inputs(), *self._session.get_overridable_initializers()]
        return [node.name for node in inputs], [node.name for node in self._session.get_outputs()]

    def run(self, feed: Feed, outputs: Sequence[str]) -> list[np.ndarray]:
        """Run one batch."""
        results: list[np.ndarray] = self._session.run(list(outputs), feed)
        return results

    def finalize(self) -> None:
        """Give the session's memory back."""
        del self._session

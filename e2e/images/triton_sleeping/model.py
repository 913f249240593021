"""A Triton python-based backend of known speed, in the place of `onnxruntime`: each frame takes 100 ms of sleep.

Many replicas on few cores can be busy with it, and what one carries is known: ten frames a second.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

FRAME_S = 0.1


class TritonPythonModel:
    """One instance; it works on one frame at a time."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """The configuration is always written out in full: nothing is added."""
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Remember the outputs; the sleep's own lateness is taken off from frame to frame."""
        config = json.loads(args["model_config"])
        self._batched = config["max_batch_size"] > 0
        self._outputs = {entry["name"]: _shape_and_type(entry) for entry in config["output"]}
        self._free_at = 0.0

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Sleep for all frames and answer with zeros; a queue is worked off at exactly ten a second."""
        frames = sum(self._frames(request) for request in requests)
        now = time.monotonic()
        late = now - self._free_at
        begins = self._free_at if late < FRAME_S / 2 else now
        self._free_at = begins + frames * FRAME_S
        time.sleep(max(0.0, self._free_at - now))
        return [self._answer(self._frames(request)) for request in requests]

    def _frames(self, request: Any) -> int:
        return len(request.inputs()[0].as_numpy()) if self._batched else 1

    def _answer(self, frames: int) -> Any:
        lead = [frames] if self._batched else []
        tensors = [
            pb_utils.Tensor(name, np.zeros([*lead, *dims], dtype)) for name, (dims, dtype) in self._outputs.items()
        ]
        return pb_utils.InferenceResponse(tensors)


def _shape_and_type(entry: dict[str, Any]) -> tuple[list[int], Any]:
    dims = [max(1, dim) for dim in map(int, entry["dims"])]
    return dims, pb_utils.triton_string_to_numpy(entry["data_type"])

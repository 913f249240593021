"""A Triton python-based backend with a fault, in the place of `onnxruntime`: every fourth batch ends with an error."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

EACH = 4


class TritonPythonModel:
    """One instance; it answers with zeros, but for its faults."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """The configuration is always written out in full: nothing is added."""
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Remember the outputs."""
        config = json.loads(args["model_config"])
        self._batched = config["max_batch_size"] > 0
        self._outputs = {entry["name"]: _shape_and_type(entry) for entry in config["output"]}
        self._asked = 0

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Answer each batch but every fourth; an error response alone counts as a success in Triton's metrics."""
        self._asked += 1
        if self._asked % EACH == 0:
            raise pb_utils.TritonModelException("this image has a fault")
        return [self._answer(request) for request in requests]

    def _answer(self, request: Any) -> Any:
        lead = [len(request.inputs()[0].as_numpy())] if self._batched else []
        tensors = [
            pb_utils.Tensor(name, np.zeros([*lead, *dims], dtype)) for name, (dims, dtype) in self._outputs.items()
        ]
        return pb_utils.InferenceResponse(tensors)


def _shape_and_type(entry: dict[str, Any]) -> tuple[list[int], Any]:
    dims = [max(1, dim) for dim in map(int, entry["dims"])]
    return dims, pb_utils.triton_string_to_numpy(entry["data_type"])

"""A Triton python-based backend that stands in for NVIDIA's `onnxruntime` backend on CPU: one session per instance.

It serves the same repository (`model.onnx` beside a `config.pbtxt` whose backend is "onnxruntime"): requests that the
server batched are run at once, and outputs are given by the names and types of the model's configuration.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import triton_python_backend_utils as pb_utils

_MODEL_FILE = "model.onnx"


class TritonPythonModel:
    """One instance of the model."""

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """The configuration is always written out in full: nothing is added."""
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and check that it has the inputs and outputs that the configuration names."""
        config = json.loads(args["model_config"])
        path = (
            Path(args["model_repository"]) / args["model_version"] / (config["default_model_filename"] or _MODEL_FILE)
        )
        self._session = _open_session(path)
        self._batched = config["max_batch_size"] > 0
        self._inputs = {entry["name"]: _dtype(entry) for entry in config["input"]}
        self._optional = {entry["name"] for entry in config["input"] if entry.get("optional")}
        self._outputs = {entry["name"]: _dtype(entry) for entry in config["output"]}
        offered = [*self._session.get_inputs(), *self._session.get_overridable_initializers()]
        _check_names("input", self._inputs, [node.name for node in offered])
        _check_names("output", self._outputs, [node.name for node in self._session.get_outputs()])

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Run all requests as one batch; if that fails, each alone, so that one bad request fails only itself."""
        feeds = [self._feed(request) for request in requests]
        if self._batched and len(feeds) > 1 and _may_join(feeds):
            try:
                return self._run_joined(feeds)
            except Exception:  # noqa: BLE001 - the loop below says whose error it was
                pb_utils.Logger.log_warn("a batch failed; its requests are run one by one")
        return [self._run_alone(feed) for feed in feeds]

    def finalize(self) -> None:
        """Give the session's memory back."""
        del self._session

    def _feed(self, request: Any) -> dict[str, np.ndarray]:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        given = {name: dtype for name, dtype in self._inputs.items() if name in tensors or name not in self._optional}
        return {name: tensors[name].astype(dtype, copy=False) for name, dtype in given.items()}

    def _run(self, feed: dict[str, np.ndarray]) -> list[np.ndarray]:
        results = self._session.run(list(self._outputs), feed)
        return [result.astype(dtype, copy=False) for result, dtype in zip(results, self._outputs.values(), strict=True)]

    def _run_joined(self, feeds: list[dict[str, np.ndarray]]) -> list[Any]:
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        ends = np.cumsum([len(next(iter(feed.values()))) for feed in feeds])[:-1]
        parts = [np.split(result, ends) for result in self._run(joined)]
        return [self._response(list(results)) for results in zip(*parts, strict=True)]

    def _run_alone(self, feed: dict[str, np.ndarray]) -> Any:
        try:
            return self._response(self._run(feed))
        except Exception as error:  # noqa: BLE001 - the client gets it as the answer
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"onnxruntime: {error}"))

    def _response(self, results: list[np.ndarray]) -> Any:
        named = zip(self._outputs, results, strict=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, np.ascontiguousarray(value)) for name, value in named])


def _open_session(path: Path) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise pb_utils.TritonModelException(f"{path}: onnxruntime cannot load it: {error}") from error


def _dtype(entry: dict[str, Any]) -> Any:
    return pb_utils.triton_string_to_numpy(entry["data_type"])


def _check_names(kind: str, wanted: dict[str, Any], offered: list[str]) -> None:
    if missing := sorted(set(wanted) - set(offered)):
        raise pb_utils.TritonModelException(f"the model has no {kind} {missing}; it has {sorted(offered)}")


def _may_join(feeds: list[dict[str, np.ndarray]]) -> bool:
    shapes = [{name: value.shape[1:] for name, value in feed.items()} for feed in feeds]
    return all(shape == shapes[0] for shape in shapes)

"""What the python-based backends share: requests that the server batched become one run, taken apart again after."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import triton_python_backend_utils as pb_utils

Feed = dict[str, np.ndarray]


class JoiningModel(ABC):
    """One instance of a model: the backend opens its file and runs feeds, names and types are the configuration's."""

    backend: str
    model_file: str

    @staticmethod
    def auto_complete_config(auto_complete_model_config: Any) -> Any:
        """The configuration is always written out in full: nothing is added."""
        return auto_complete_model_config

    def initialize(self, args: dict[str, str]) -> None:
        """Load the model and check that it has the inputs and outputs that the configuration names."""
        config = json.loads(args["model_config"])
        folder = Path(args["model_repository"]) / args["model_version"]
        self._batched = config["max_batch_size"] > 0
        self._inputs = {entry["name"]: _dtype(entry) for entry in config["input"]}
        self._optional = {entry["name"] for entry in config["input"] if entry.get("optional")}
        self._outputs = {entry["name"]: _dtype(entry) for entry in config["output"]}
        path = folder / (config["default_model_filename"] or self.model_file)
        try:
            inputs, outputs = self.open(path, config, args)
        except Exception as error:
            raise pb_utils.TritonModelException(f"{path}: {self.backend} cannot load it: {error}") from error
        _check_names("input", self._inputs, inputs)
        _check_names("output", self._outputs, outputs)

    @abstractmethod
    def open(
        self, path: Path, config: Mapping[str, Any], args: Mapping[str, str]
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Load the file; return the names of all inputs and outputs that it has."""

    @abstractmethod
    def run(self, feed: Feed, outputs: Sequence[str]) -> list[np.ndarray]:
        """Return these outputs of one batch, in this order."""

    def execute(self, requests: Sequence[Any]) -> list[Any]:
        """Run all requests as one batch; if that fails, each alone, so that one bad request fails only itself."""
        feeds = [self._feed(request) for request in requests]
        if self._batched and len(feeds) > 1 and _may_join(feeds):
            try:
                return self._run_joined(feeds)
            except Exception:  # noqa: BLE001 - the loop below says whose error it was
                pb_utils.Logger.log_warn("a batch failed; its requests are run one by one")
        return [self._run_alone(feed) for feed in feeds]

    def _feed(self, request: Any) -> Feed:
        tensors = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        given = {name: dtype for name, dtype in self._inputs.items() if name in tensors or name not in self._optional}
        return {name: tensors[name].astype(dtype, copy=False) for name, dtype in given.items()}

    def _run(self, feed: Feed) -> list[np.ndarray]:
        results = self.run(feed, list(self._outputs))
        return [result.astype(dtype, copy=False) for result, dtype in zip(results, self._outputs.values(), strict=True)]

    def _run_joined(self, feeds: list[Feed]) -> list[Any]:
        joined = {name: np.concatenate([feed[name] for feed in feeds]) for name in feeds[0]}
        ends = np.cumsum([len(next(iter(feed.values()))) for feed in feeds])[:-1]
        parts = [np.split(result, ends) for result in self._run(joined)]
        return [self._response(list(results)) for results in zip(*parts, strict=True)]

    def _run_alone(self, feed: Feed) -> Any:
        try:
            return self._response(self._run(feed))
        except Exception as error:  # noqa: BLE001 - the client gets it as the answer
            return pb_utils.InferenceResponse(error=pb_utils.TritonError(f"{self.backend}: {error}"))

    def _response(self, results: list[np.ndarray]) -> Any:
        named = zip(self._outputs, results, strict=True)
        return pb_utils.InferenceResponse([pb_utils.Tensor(name, np.ascontiguousarray(value)) for name, value in named])


def _dtype(entry: dict[str, Any]) -> Any:
    return pb_utils.triton_string_to_numpy(entry["data_type"])


def _check_names(kind: str, wanted: dict[str, Any], offered: Sequence[str]) -> None:
    if missing := sorted(set(wanted) - set(offered)):
        raise pb_utils.TritonModelException(f"the model has no {kind} {missing}; it has {sorted(offered)}")


def _may_join(feeds: list[Feed]) -> bool:
    shapes = [{name: value.shape[1:] for name, value in feed.items()} for feed in feeds]
    return all(shape == shapes[0] for shape in shapes)

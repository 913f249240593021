"""Runs a TensorRT engine on frames, without torch: for the gate, not for serving."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from model_repo_builder.cuda_memory import DeviceMemory
from model_repo_builder.engine_from_onnx import api, load_engine
from model_repo_builder.errors import Failed

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.onnx_graph import Array


class EngineRunner:
    """A loaded engine with one input; `largest` is the batch that its profile takes."""

    def __init__(self, plan: Path) -> None:
        self._trt: Any = api()
        self._engine = load_engine(plan)
        self._context = self._engine.create_execution_context()
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self._inputs = [name for name in names if self._mode(name) == self._trt.TensorIOMode.INPUT]
        self._outputs = [name for name in names if name not in self._inputs]
        self.largest = int(self._engine.get_tensor_profile_shape(self._inputs[0], 0)[2][0])

    def run(self, frames: Array) -> list[Array]:
        """Return the outputs for frames (N, C, H, W), in the order of their names."""
        parts = [self._batch(frames[start : start + self.largest]) for start in range(0, len(frames), self.largest)]
        return [np.concatenate(several) for several in zip(*parts, strict=True)]

    def _batch(self, frames: Array) -> list[Array]:
        (name,) = self._inputs
        given = np.ascontiguousarray(frames, self._type(name))
        if not self._context.set_input_shape(name, given.shape):
            raise Failed(message=f"the engine takes no frames of shape {given.shape}", remedy="report this build")
        with DeviceMemory() as memory:
            address = memory.allocate(given.nbytes)
            memory.write(address, given)
            self._context.set_tensor_address(name, address)
            answers = {}
            for told in sorted(self._outputs):
                answer = np.empty(tuple(self._context.get_tensor_shape(told)), self._type(told))
                answers[told] = (answer, memory.allocate(answer.nbytes))
                self._context.set_tensor_address(told, answers[told][1])
            if not self._context.execute_async_v3(memory.stream):
                raise Failed(message="TensorRT did not take the frames", remedy="report this build with its log")
            memory.wait()
            for answer, place in answers.values():
                memory.read(place, answer)
        return [answer for answer, _ in answers.values()]

    def _mode(self, name: str) -> Any:
        return self._engine.get_tensor_mode(name)

    def _type(self, name: str) -> Any:
        return self._trt.nptype(self._engine.get_tensor_dtype(name))

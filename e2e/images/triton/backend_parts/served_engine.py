"""A TensorRT engine from host arrays to host arrays: pinned buffers, one stream, a CUDA graph of each chosen batch."""

from __future__ import annotations

import ctypes
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorrt as trt

DRIVER = "libcuda.so.1"
NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING."""
THIS_THREAD = 1
"""CU_STREAM_CAPTURE_MODE_THREAD_LOCAL: another instance may allocate while this one's graph is taken."""
WARM_UP = 3


class Driver:
    """CUDA's driver on one device: the few calls that serving takes, errors by name."""

    def __init__(self, device: int) -> None:
        self._cuda = ctypes.CDLL(DRIVER)
        handle, self._context, self.stream = ctypes.c_int(), ctypes.c_void_p(), ctypes.c_void_p()
        self.call("cuInit", 0)
        self.call("cuDeviceGet", ctypes.byref(handle), device)
        self.call("cuDevicePrimaryCtxRetain", ctypes.byref(self._context), handle)
        self.bind()
        self.call("cuStreamCreate", ctypes.byref(self.stream), NON_BLOCKING)

    def bind(self) -> None:
        """Use the device in this thread."""
        self.call("cuCtxSetCurrent", self._context)

    def call(self, name: str, *arguments: Any) -> None:
        """Call a function of the driver."""
        if code := getattr(self._cuda, name)(*arguments):
            raise RuntimeError(f"CUDA's driver: {name} gave error {code}")


class Buffer:
    """Room for one tensor of the largest batch, on the device and pinned on the host."""

    def __init__(self, driver: Driver, shape: tuple[int, ...], kind: Any) -> None:
        self._driver = driver
        self.bytes_each = int(np.prod(shape[1:], dtype=np.int64)) * np.dtype(kind).itemsize
        size = ctypes.c_size_t(max(shape[0] * self.bytes_each, 1))
        self.device, host = ctypes.c_uint64(), ctypes.c_void_p()
        driver.call("cuMemAlloc_v2", ctypes.byref(self.device), size)
        driver.call("cuMemAllocHost_v2", ctypes.byref(host), size)
        self._pinned = host
        memory = (ctypes.c_char * size.value).from_address(host.value or 0)
        self.host: np.ndarray = np.frombuffer(
            memoryview(memory), kind, count=int(np.prod(shape, dtype=np.int64))
        ).reshape(shape)

    def to_device(self, batch: int) -> None:
        """Enqueue the copy of so many frames to the device."""
        size = ctypes.c_size_t(batch * self.bytes_each)
        self._driver.call("cuMemcpyHtoDAsync_v2", self.device, self._pinned, size, self._driver.stream)

    def to_host(self, batch: int) -> None:
        """Enqueue the copy back."""
        size = ctypes.c_size_t(batch * self.bytes_each)
        self._driver.call("cuMemcpyDtoHAsync_v2", self._pinned, self.device, size, self._driver.stream)

    def free(self) -> None:
        """Give both back."""
        self._driver.call("cuMemFree_v2", self.device)
        self._driver.call("cuMemFreeHost", self._pinned)


class ServedEngine:
    """A loaded engine; `run` answers one batch at a time, of any size that one of its profiles takes."""

    def __init__(self, plan: Path, *, graph_batches: Sequence[int] = (), device: int = 0) -> None:
        self._driver = Driver(device)
        logger = trt.Logger(trt.Logger.WARNING)
        trt.init_libnvinfer_plugins(logger, "")
        self._runtime = trt.Runtime(logger)
        self._engine = self._runtime.deserialize_cuda_engine(plan.read_bytes())
        if self._engine is None:
            raise ValueError("TensorRT refuses it: another version, or another GPU than it was built for")
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        self.inputs = [name for name in names if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT]
        self.outputs = [name for name in names if name not in self.inputs]
        self._contexts = [self._context(index) for index in range(self._engine.num_optimization_profiles)]
        self.largest = max(self._range(index)[1] for index in range(len(self._contexts)))
        self._buffers = {name: self._buffer(name) for name in names}
        for context in self._contexts:
            for name, buffer in self._buffers.items():
                context.set_tensor_address(name, buffer.device.value)
        self._graphs: dict[int, ctypes.c_void_p] = {}
        for batch in graph_batches:
            self._graphs[batch] = self._graph(batch)

    def run(self, feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Return all outputs for one batch; they are copies, and the caller's to keep."""
        self._driver.bind()
        batch = len(next(iter(feed.values())))
        for name, values in feed.items():
            buffer = self._buffers[name]
            frame = buffer.host.shape[1:]
            if values.shape != (batch, *frame) or batch > self.largest:
                raise ValueError(f"{name} is {values.shape}, the engine takes 1 to {self.largest} of {frame}")
            buffer.host[:batch] = values
            buffer.to_device(batch)
        if (graph := self._graphs.get(batch)) is not None:
            self._driver.call("cuGraphLaunch", graph, self._driver.stream)
        else:
            self._enqueue(batch)
        for name in self.outputs:
            self._buffers[name].to_host(batch)
        self._driver.call("cuStreamSynchronize", self._driver.stream)
        return {name: self._buffers[name].host[:batch].copy() for name in self.outputs}

    def close(self) -> None:
        """Give graphs, buffers and contexts back."""
        self._driver.bind()
        for graph in self._graphs.values():
            self._driver.call("cuGraphExecDestroy", graph)
        for buffer in self._buffers.values():
            buffer.free()
        self._contexts.clear()
        self._driver.call("cuStreamDestroy_v2", self._driver.stream)

    def _context(self, profile: int) -> Any:
        context = self._engine.create_execution_context()
        if context is None or not context.set_optimization_profile_async(profile, self._driver.stream.value):
            raise ValueError(f"no execution context for profile {profile}: is there memory left on the slice?")
        self._driver.call("cuStreamSynchronize", self._driver.stream)
        return context

    def _range(self, profile: int) -> tuple[int, int]:
        least, _, most = self._engine.get_tensor_profile_shape(self.inputs[0], profile)
        return int(least[0]), int(most[0])

    def _buffer(self, name: str) -> Buffer:
        shape = (self.largest, *self._engine.get_tensor_shape(name)[1:])
        return Buffer(self._driver, shape, trt.nptype(self._engine.get_tensor_dtype(name)))

    def _fitting(self, batch: int) -> Any:
        """Return the context of the narrowest profile that takes this batch."""
        ranges = [
            (most - least, index) for index in range(len(self._contexts)) for least, most in (self._range(index),)
        ]
        for _, index in sorted(ranges):
            least, most = self._range(index)
            if least <= batch <= most:
                return self._contexts[index]
        raise ValueError(f"no profile of the engine takes a batch of {batch}")

    def _enqueue(self, batch: int) -> None:
        context = self._fitting(batch)
        for name in self.inputs:
            context.set_input_shape(name, (batch, *self._buffers[name].host.shape[1:]))
        if not context.execute_async_v3(self._driver.stream.value):
            raise RuntimeError("TensorRT did not take the batch")

    def _graph(self, batch: int) -> ctypes.c_void_p:
        """Take a graph of one batch, after TensorRT has set itself up for its shape."""
        for _ in range(WARM_UP):
            self._enqueue(batch)
        self._driver.call("cuStreamSynchronize", self._driver.stream)
        recorded, graph = ctypes.c_void_p(), ctypes.c_void_p()
        self._driver.call("cuStreamBeginCapture_v2", self._driver.stream, THIS_THREAD)
        try:
            self._enqueue(batch)
        finally:
            self._driver.call("cuStreamEndCapture", self._driver.stream, ctypes.byref(recorded))
        self._driver.call("cuGraphInstantiateWithFlags", ctypes.byref(graph), recorded, ctypes.c_ulonglong(0))
        self._driver.call("cuGraphDestroy", recorded)
        return graph

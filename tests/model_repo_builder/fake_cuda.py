"""CUDA's driver over ordinary memory: addresses are real, so that what is copied where shows."""

from __future__ import annotations

import ctypes
from typing import Any


class FakeDriver:
    """What `cuda_memory` calls; `fails` names functions that give an error."""

    def __init__(self) -> None:
        self.held: dict[int, Any] = {}
        self.streams: set[int] = set()
        self.fails: dict[str, int] = {}
        self.most = 0

    def __getattr__(self, name: str) -> Any:
        if not name.startswith("cu"):
            raise AttributeError(name)
        return lambda *arguments: self.fails.get(name) or getattr(self, f"_{name.partition('_')[0]}")(*arguments)

    def _cuInit(self, _flags: int) -> int:  # noqa: N802
        return 0

    def _cuDeviceGet(self, device: Any, number: int) -> int:  # noqa: N802
        device._obj.value = number
        return 0

    def _cuDevicePrimaryCtxRetain(self, context: Any, _device: Any) -> int:  # noqa: N802
        context._obj.value = 1
        return 0

    def _cuCtxSetCurrent(self, context: Any) -> int:  # noqa: N802
        return 0 if context.value else 201

    def _cuStreamCreate(self, stream: Any, _flags: int) -> int:  # noqa: N802
        stream._obj.value = 7
        self.streams.add(7)
        return 0

    def _cuStreamDestroy(self, stream: Any) -> int:  # noqa: N802
        self.streams.discard(stream.value)
        return 0

    def _cuStreamSynchronize(self, stream: Any) -> int:  # noqa: N802
        return 0 if stream.value in self.streams else 400

    def _cuMemAlloc(self, pointer: Any, size: Any) -> int:  # noqa: N802
        block = ctypes.create_string_buffer(size.value)
        pointer._obj.value = ctypes.addressof(block)
        self.held[ctypes.addressof(block)] = block
        self.most = max(self.most, len(self.held))
        return 0

    def _cuMemFree(self, pointer: Any) -> int:  # noqa: N802
        del self.held[pointer.value]
        return 0

    def _cuMemAllocHost(self, pointer: Any, size: Any) -> int:  # noqa: N802
        return self._cuMemAlloc(pointer, size)

    def _cuMemFreeHost(self, pointer: Any) -> int:  # noqa: N802
        return self._cuMemFree(pointer)

    def _cuMemcpyHtoDAsync(self, target: Any, source: Any, size: Any, _stream: Any) -> int:  # noqa: N802
        return self._cuMemcpyHtoD(target, source, size)

    def _cuMemcpyDtoHAsync(self, target: Any, source: Any, size: Any, _stream: Any) -> int:  # noqa: N802
        return self._cuMemcpyDtoH(target, source, size)

    def _cuMemcpyHtoD(self, target: Any, source: Any, size: Any) -> int:  # noqa: N802
        return self._copied(target.value, source.value, target.value, size.value)

    def _cuMemcpyDtoH(self, target: Any, source: Any, size: Any) -> int:  # noqa: N802
        return self._copied(target.value, source.value, source.value, size.value)

    def _copied(self, target: int, source: int, own: int, size: int) -> int:
        if own not in self.held or size > len(self.held[own]):
            return 1
        ctypes.memmove(target, source, size)
        return 0


class GraphDriver(FakeDriver):
    """Takes graphs too: what TensorRT's double runs between begin and end is run when the graph is launched."""

    def __init__(self, tensorrt: Any) -> None:
        super().__init__()
        self.tensorrt, self.graphs = tensorrt, dict[int, list[Any]]()
        self.launches = 0

    def _cuStreamBeginCapture(self, _stream: Any, _mode: int) -> int:  # noqa: N802
        self.tensorrt.capture = []
        return 0

    def _cuStreamEndCapture(self, _stream: Any, graph: Any) -> int:  # noqa: N802
        graph._obj.value = len(self.graphs) + 1
        self.graphs[graph._obj.value] = self.tensorrt.capture
        self.tensorrt.capture = None
        return 0

    def _cuGraphInstantiateWithFlags(self, made: Any, graph: Any, _flags: Any) -> int:  # noqa: N802
        made._obj.value = graph.value
        return 0

    def _cuGraphDestroy(self, _graph: Any) -> int:  # noqa: N802
        return 0

    def _cuGraphExecDestroy(self, graph: Any) -> int:  # noqa: N802
        del self.graphs[graph.value]
        return 0

    def _cuGraphLaunch(self, graph: Any, _stream: Any) -> int:  # noqa: N802
        self.launches += 1
        for step in self.graphs[graph.value]:
            step()
        return 0

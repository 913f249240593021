"""Device memory and a stream, asked of the driver itself: the builder's torch knows no GPU."""

from __future__ import annotations

import ctypes
from typing import TYPE_CHECKING, Any

import numpy as np

from model_repo_builder.cuda_device import DRIVER
from model_repo_builder.errors import Failed

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from model_repo_builder.onnx_graph import Array

NON_BLOCKING = 1
"""CU_STREAM_NON_BLOCKING."""


class DeviceMemory:
    """Buffers on the first device, in the context that TensorRT uses too, and one stream; all freed at the end."""

    def __init__(self, driver: str = DRIVER) -> None:
        self._cuda = ctypes.CDLL(driver)
        self._buffers: list[ctypes.c_uint64] = []
        device, context = ctypes.c_int(), ctypes.c_void_p()
        self._call("cuInit", 0)
        self._call("cuDeviceGet", ctypes.byref(device), 0)
        self._call("cuDevicePrimaryCtxRetain", ctypes.byref(context), device)
        self._call("cuCtxSetCurrent", context)
        self._stream = ctypes.c_void_p()
        self._call("cuStreamCreate", ctypes.byref(self._stream), NON_BLOCKING)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for buffer in self._buffers:
            self._cuda.cuMemFree_v2(buffer)
        self._buffers.clear()
        self._cuda.cuStreamDestroy_v2(self._stream)

    @property
    def stream(self) -> int:
        """Return the stream's handle."""
        return int(self._stream.value or 0)

    def allocate(self, size: int) -> int:
        """Return the address of so many bytes."""
        buffer = ctypes.c_uint64()
        self._call("cuMemAlloc_v2", ctypes.byref(buffer), ctypes.c_size_t(max(size, 1)))
        self._buffers.append(buffer)
        return buffer.value

    def write(self, address: int, values: Array) -> None:
        """Copy values to the device."""
        whole = np.ascontiguousarray(values)
        self._call("cuMemcpyHtoD_v2", ctypes.c_uint64(address), _pointer(whole), ctypes.c_size_t(whole.nbytes))

    def read(self, address: int, values: Array) -> None:
        """Copy from the device into `values`."""
        self._call("cuMemcpyDtoH_v2", _pointer(values), ctypes.c_uint64(address), ctypes.c_size_t(values.nbytes))

    def wait(self) -> None:
        """Wait for all that the stream was given."""
        self._call("cuStreamSynchronize", self._stream)

    def _call(self, name: str, *arguments: Any) -> None:
        code = getattr(self._cuda, name)(*arguments)
        if code:
            raise Failed(
                message=f"CUDA's driver: {name} gave error {code}",
                remedy="check the GPU (nvidia-smi, dmesg), and that nothing else fills its memory",
            )


def _pointer(values: Array) -> ctypes.c_void_p:
    return ctypes.c_void_p(values.ctypes.data)

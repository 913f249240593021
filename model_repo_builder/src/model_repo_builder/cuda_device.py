"""The GPU, or the MIG slice, that this process sees, asked of the driver itself.

TensorRT's builder ends the process where there is no GPU, so that this must be known before it is touched.
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass

DRIVER = "libcuda.so.1"
SM_COUNT, CAPABILITY_MAJOR, CAPABILITY_MINOR = 16, 75, 76
"""Of CUDA's CUdevice_attribute."""
NAME_BYTES = 128
MIB = 1024**2


@dataclass(frozen=True)
class CudaDevice:
    """A device as CUDA numbers it; on a MIG slice SMs and memory are the slice's own."""

    name: str
    compute_capability: str
    sm_count: int
    memory_mib: int

    def __str__(self) -> str:
        return f"{self.name} ({self.sm_count} SMs, {self.memory_mib} MiB, compute capability {self.compute_capability})"


def look(driver: str = DRIVER) -> CudaDevice | None:
    """Return the first device that this process sees; None without a driver or without a device."""
    try:
        cuda = ctypes.CDLL(driver)
    except OSError:
        return None
    count = ctypes.c_int()
    if cuda.cuInit(0) or cuda.cuDeviceGetCount(ctypes.byref(count)) or count.value < 1:
        return None
    device, name, memory = ctypes.c_int(), ctypes.create_string_buffer(NAME_BYTES), ctypes.c_size_t()
    cuda.cuDeviceGet(ctypes.byref(device), 0)
    cuda.cuDeviceGetName(name, NAME_BYTES, device)
    cuda.cuDeviceTotalMem_v2(ctypes.byref(memory), device)
    sms, major, minor = (_attribute(cuda, number, device) for number in (SM_COUNT, CAPABILITY_MAJOR, CAPABILITY_MINOR))
    return CudaDevice(name.value.decode(), f"{major}.{minor}", sms, memory.value // MIB)


def _attribute(cuda: ctypes.CDLL, number: int, device: ctypes.c_int) -> int:
    value = ctypes.c_int()
    cuda.cuDeviceGetAttribute(ctypes.byref(value), number, device)
    return value.value

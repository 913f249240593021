"""Stands in for a MIG slice in the bench's builder: the doubles of the unit tests, loaded by a .pth file."""

from __future__ import annotations

import ctypes
import importlib
from typing import Any

from model_repo_builder import cuda_device, cuda_memory
from model_repo_builder.cuda_device import CudaDevice

SLICE = CudaDevice("the bench's", "9.0", 16, 9984)


class _Ctypes:
    """ctypes, but for the driver that it opens."""

    def __getattr__(self, name: str) -> Any:
        return getattr(ctypes, name)

    def CDLL(self, _name: str) -> Any:  # noqa: N802 - ctypes' word
        """Return a driver over ordinary memory."""
        return importlib.import_module("fake_cuda").FakeDriver()


vars(cuda_memory)["ctypes"] = _Ctypes()
vars(cuda_device)["look"] = lambda _driver="": SLICE

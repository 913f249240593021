"""Gives TensorRT's bindings the name that programs import; NVIDIA's package of that name brings the libraries too."""

from tensorrt_bindings import *  # noqa: F403
from tensorrt_bindings import __version__

__all__ = ["__version__"]

"""Triton's protobufs without its client, whose gRPC and numpy cost a serving pod's init container half a second."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tritonclient.grpc import model_config_pb2

NAME = "tritonclient.grpc.model_config_pb2"


def _loaded() -> Any:
    """Load the module by its file; under its own name, so that whoever imports the client later gets the same one."""
    if (known := sys.modules.get(NAME)) is not None:
        return known
    client = importlib.util.find_spec("tritonclient")
    folders = client.submodule_search_locations if client is not None else None
    file = Path(next(iter(folders or ())), "grpc", "model_config_pb2.py")
    spec = importlib.util.spec_from_file_location(NAME, file)
    if spec is None or spec.loader is None:
        raise ImportError(f"{file}: Triton's client has no protobufs there", name=NAME)
    module = importlib.util.module_from_spec(spec)
    sys.modules[NAME] = module
    spec.loader.exec_module(module)
    return module


if not TYPE_CHECKING:
    model_config_pb2 = _loaded()

__all__ = ["model_config_pb2"]

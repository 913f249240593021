"""The manifest of a published engine: what files there are, how they are called, and what they were made from."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from yolofleet.api.base import ApiModel, text
from yolofleet.api.build import Gate
from yolofleet.api.recipe import Backend, BatchSize, Recipe
from yolofleet.api.store import MANIFEST, MAX_MANIFEST_BYTES, METADATA, Contents, StoredFile

__all__ = [
    "FRAMES_FILE",
    "MANIFEST",
    "METADATA",
    "MODEL_FILE",
    "FramesGraph",
    "Manifest",
    "StoredFile",
    "TensorSpec",
    "decode",
    "digest",
    "encode",
]

MODEL_FILE: dict[Backend, str] = {"ONNXRuntime": "model.onnx", "TensorRT": "model.plan"}
"""Triton's default file names."""
FRAMES_FILE: dict[Backend, str] = {"ONNXRuntime": "frames.onnx", "TensorRT": "frames.plan"}
"""The graph of the endpoints of frames; it bears Triton's default name where it is served."""


class TensorSpec(ApiModel):
    """An input or output with all its axes, the batch first (-1: any up to the maximum)."""

    name: Annotated[str, text(256, min_length=1)]
    data_type: Annotated[str, text(8, r"^[A-Z]+[0-9]*$")]
    dims: Annotated[list[int], Field(min_length=1, max_length=8)]


class FramesGraph(ApiModel):
    """The graph from frames to boxes; what is optional has a default where it is served."""

    inputs: Annotated[list[TensorSpec], Field(min_length=1, max_length=16)]
    optional_inputs: Annotated[list[TensorSpec], Field(max_length=16)]
    outputs: Annotated[list[TensorSpec], Field(min_length=1, max_length=16)]


class Manifest(Contents):
    """What lies under a key. `max_batch_size` may be 1 where the recipe asked for more: the graph can't do it."""

    version: Literal[1] = 1
    backend: Backend
    max_batch_size: BatchSize
    inputs: Annotated[list[TensorSpec], Field(min_length=1, max_length=16)]
    outputs: Annotated[list[TensorSpec], Field(min_length=1, max_length=16)]
    metadata: dict[str, Any]
    recipe: Recipe
    provenance: dict[str, str]
    frames: FramesGraph | None = None
    gate: Gate | None = None


def encode(manifest: Manifest) -> bytes:
    """Write a manifest: the same one always gives the same bytes."""
    return json.dumps(manifest.wire(), indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def decode(content: bytes) -> Manifest:
    """Read a manifest; raises ValueError where it is none."""
    if len(content) > MAX_MANIFEST_BYTES:
        raise ValueError(f"the manifest has {len(content)} bytes, more than {MAX_MANIFEST_BYTES}")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"the manifest is not readable: {place}: {first['msg']}") from None


def digest(content: bytes) -> str:
    """Return the sha256 of a manifest's bytes."""
    return hashlib.sha256(content).hexdigest()

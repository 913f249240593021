"""The manifest of a published engine: what files there are, how they are called, and what they were made from."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from yolofleet.api.base import SHA256, ApiModel, text
from yolofleet.api.recipe import Backend, BatchSize, Recipe

MANIFEST = "manifest.json"
METADATA = "metadata.json"
MODEL_FILE: dict[Backend, str] = {"ONNXRuntime": "model.onnx", "TensorRT": "model.plan"}
"""Triton's default file names."""
MAX_BYTES = 16 * 1024**2


class StoredFile(ApiModel):
    """One file beside the manifest; the name is flat, so it can't lead anywhere else."""

    path: Annotated[str, text(64, r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")]
    sha256: SHA256
    size_bytes: Annotated[int, Field(ge=0)]


class TensorSpec(ApiModel):
    """An input or output with all its axes, the batch first (-1: any up to the maximum)."""

    name: Annotated[str, text(256, min_length=1)]
    data_type: Annotated[str, text(8, r"^[A-Z]+[0-9]*$")]
    dims: Annotated[list[int], Field(min_length=1, max_length=8)]


class Manifest(ApiModel):
    """What lies under a key. `max_batch_size` may be 1 where the recipe asked for more: the graph can't do it."""

    version: Literal[1] = 1
    key: SHA256
    backend: Backend
    max_batch_size: BatchSize
    files: Annotated[list[StoredFile], Field(min_length=1, max_length=16)]
    inputs: Annotated[list[TensorSpec], Field(min_length=1, max_length=16)]
    outputs: Annotated[list[TensorSpec], Field(min_length=1, max_length=16)]
    metadata: dict[str, Any]
    recipe: Recipe
    provenance: dict[str, str]

    def file(self, name: str) -> StoredFile | None:
        """Return the entry of a file, or None."""
        return next((file for file in self.files if file.path == name), None)

    def size_bytes(self) -> int:
        """Return the size of all files together."""
        return sum(file.size_bytes for file in self.files)


def encode(manifest: Manifest) -> bytes:
    """Write a manifest: the same one always gives the same bytes."""
    return json.dumps(manifest.wire(), indent=1, sort_keys=True, ensure_ascii=False).encode() + b"\n"


def decode(content: bytes) -> Manifest:
    """Read a manifest; raises ValueError where it is none."""
    if len(content) > MAX_BYTES:
        raise ValueError(f"the manifest has {len(content)} bytes, more than {MAX_BYTES}")
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"]))
        raise ValueError(f"the manifest is not readable: {place}: {first['msg']}") from None


def digest(content: bytes) -> str:
    """Return the sha256 of a manifest's bytes."""
    return hashlib.sha256(content).hexdigest()

"""What an engine is made from, where it is to run, and the content key that follows."""

from __future__ import annotations

import hashlib
import json
from typing import Annotated, Literal

from pydantic import Field

from yolofleet.api.base import ApiModel, Unique, as_set, text

Task = Literal["Detect", "Segment", "Pose", "OBB", "Classify"]
Backend = Literal["TensorRT", "ONNXRuntime"]
Precision = Literal["FP32", "TF32", "FP16", "BF16", "INT8", "FP8"]
Endpoint = Literal["Ultralytics", "Frames", "JPEG"]
HardwareCompatibility = Literal["SameComputeCapability", "AmperePlus"]
"""TensorRT's levels of hardware compatibility, in our spelling."""

Dimension = Annotated[int, Field(ge=32, le=4096, multiple_of=32)]
BatchSize = Annotated[int, Field(ge=1, le=1024)]
FrameLength = Annotated[int, Field(ge=32, le=8192, multiple_of=2)]


class ImageSize(ApiModel):
    """The fixed input size of an engine, in pixels; YOLO's strides ask for multiples of 32."""

    height: Dimension = 640
    """Height of the network's input, in pixels."""
    width: Dimension = 640
    """Width of the network's input, in pixels."""


class FrameSize(ApiModel):
    """The size of a camera's pictures, in pixels; NV12 asks for even numbers."""

    height: FrameLength
    """Height of the pictures, in pixels."""
    width: FrameLength
    """Width of the pictures, in pixels."""


class Frames(ApiModel):
    """What cameras send to the endpoint Frames."""

    format: Literal["RGB", "NV12"] = "RGB"
    """How pixels are written: three bytes each, or as cameras' decoders leave them, one and a half."""
    source_size: FrameSize | None = None
    """Size of the pictures, scaled to the network's input by the graph; absent: they have that size already."""


class Recipe(ApiModel):
    """All that decides what an engine computes, but not where it runs.

    `weights` is the identity of the weights: `sha256:<hex>` where the digest is known before the fetch, else the
    place they come from (`builtin:yolo26n`, `pvc:claim/path`).
    """

    weights: Annotated[str, text(4096, min_length=1)]
    """Identity of the weights."""
    task: Task
    """What the model was trained for."""
    backend: Backend
    """Backend of Triton that serves it."""
    precision: Precision
    """Number format of the engine."""
    image_size: ImageSize
    """Size of the network's input, in pixels."""
    max_batch_size: BatchSize
    """Largest batch, in frames."""
    endpoints: Annotated[list[Endpoint], Unique, as_set(min_items=1, max_items=3)]
    """Graphs that are made."""
    calibration: Annotated[str, text(4096)] | None = None
    """Identity of the pictures that scales are taken from."""
    dataset: Annotated[str, text(4096)] | None = None
    """Identity of the labelled set that accuracy is measured on."""
    frames: Frames | None = None
    """What cameras send to the endpoint Frames; absent: RGB of the network's size."""


class Target(ApiModel):
    """The hardware that an engine is compiled for; absent where the backend does not care (ONNXRuntime).

    A portable engine is compiled on these slices, and runs on others too.
    """

    compute_capability: Annotated[str, text(8, r"^[0-9]{1,2}\.[0-9]$")]
    """CUDA compute capability, `9.0`."""
    sm_count: Annotated[int, Field(ge=1, le=1024)]
    """Streaming multiprocessors of the slice."""
    memory_mib: Annotated[int, Field(ge=1, le=4_194_304, alias="memoryMiB")]
    """Memory of the slice, in MiB."""
    hardware_compatibility: HardwareCompatibility | None = None
    """On which other GPUs it runs too, as TensorRT calls it; absent: on none."""

    @property
    def hardware(self) -> Target:
        """Return the slices that it is compiled on."""
        return self.model_copy(update={"hardware_compatibility": None})


class Builder(ApiModel):
    """Who builds: `version` and `tensorrt_version` are in the key, the image's name is not."""

    image: Annotated[str, text(512, min_length=1)]
    """Image of the build pod."""
    version: Annotated[str, text(64, min_length=1)]
    """Version of what the builder makes; another one builds every engine anew."""
    tensorrt_version: Annotated[str, text(64)] | None = None
    """Version of TensorRT in the image; absent where the backend does not care."""


def engine_key(*, recipe: Recipe, target: Target | None, builder: Builder) -> str:
    """Return the content key, 64 hex digits: same inputs, same engine."""
    told = {
        "recipe": recipe.wire() | {"endpoints": sorted(recipe.endpoints)},
        "target": target.wire() if target else None,
        "builder": {"version": builder.version, "tensorrtVersion": builder.tensorrt_version},
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def engine_name(key: str) -> str:
    """Return the name of a key's YoloEngine and Job: `e-` and the key's first 20 hex digits."""
    return f"e-{key[:20]}"

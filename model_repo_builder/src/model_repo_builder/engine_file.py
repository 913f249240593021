"""Reads an `.engine` as Ultralytics writes it: four bytes of length, JSON metadata, then the plan that Triton wants."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from model_repo_builder import metadata

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.errors import Origin
    from model_repo_builder.metadata import Facts

LENGTH_BYTES = 4
MAX_HEADER = 4 * 1024**2
PLAN_MAGIC = (b"ftrt", b"ptrt")
"""How a serialized plan begins."""
ASK = "export it again with ultralytics, or give the .pt or .onnx it was made from"


@dataclass(frozen=True, kw_only=True)
class EngineFile:
    """An engine's metadata, what follows from it, and where in the file the plan begins."""

    told: dict[str, Any]
    facts: Facts
    height: int
    width: int
    batch: int
    plan_offset: int

    def sentence(self) -> str:
        """Return what it says of itself."""
        head = self.facts.head
        return f"{head.task} of {head.classes} classes, {self.height}x{self.width}, batch {self.batch}"


def read(path: Path, origin: Origin) -> EngineFile:
    """Read the header; refuses what is cut short, no JSON, no YOLO's metadata, or followed by no plan."""
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(LENGTH_BYTES), "little")
        if not 1 < length <= MAX_HEADER or length + LENGTH_BYTES >= size:
            raise origin.refused(f"the engine's header claims {length} bytes of a file of {size}", ASK)
        header, magic = file.read(length), file.read(LENGTH_BYTES)
    if magic not in PLAN_MAGIC:
        raise origin.refused(f"no TensorRT plan follows the engine's header, but {magic.hex(' ')}", ASK)
    return _understood(header, length + LENGTH_BYTES, origin)


def _understood(header: bytes, offset: int, origin: Origin) -> EngineFile:
    try:
        told = json.loads(header)
    except (ValueError, RecursionError):
        raise origin.refused("the engine's header is no JSON", ASK) from None
    if not isinstance(told, dict):
        raise origin.refused("the engine's header is no JSON object", ASK)
    try:
        facts = metadata.facts_from(told)
        height, width = _size(told.get("imgsz"))
    except metadata.BadMetadataError as error:
        raise origin.refused(f"the engine's metadata is wrong: {error}", ASK) from None
    batch = told.get("batch", 1)
    if isinstance(batch, bool) or not isinstance(batch, int) or batch < 1:
        raise origin.refused(f"the engine's metadata is wrong: batch must be a positive number, it is {batch!r}", ASK)
    return EngineFile(told=told, facts=facts, height=height, width=width, batch=batch, plan_offset=offset)


def _size(given: Any) -> tuple[int, int]:
    match given:
        case [int(height), int(width)] if min(height, width) > 0:
            return height, width
        case _:
            raise metadata.BadMetadataError(f"imgsz must be [height, width], it is {given!r}")


def write_plan(path: Path, engine: EngineFile, target: Path) -> None:
    """Write the bare plan, without the header that Triton stumbles over."""
    with path.open("rb") as source, target.open("wb") as plan:
        source.seek(engine.plan_offset)
        shutil.copyfileobj(source, plan)

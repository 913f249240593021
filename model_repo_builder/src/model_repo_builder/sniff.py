"""Tells by content, never by name, what a fetched file is."""

from __future__ import annotations

import re
import zipfile
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

Format = Literal["PyTorch", "ONNX"]
HEAD_BYTES = 4096
ONNX_FIELDS = frozenset({*range(1, 9), 14, 20, 25, 26})
"""Field numbers of onnx.ModelProto (onnx.proto)."""
ONNX_GRAPH = 7

ASK_PT_OR_ONNX = "give the .pt that training wrote, or an .onnx"
ULTRALYTICS_ENGINE = "a TensorRT engine with Ultralytics' header"
LOOKS = (
    (rb"\s*<(!doctype html|html|head|\?xml)", "a web page", "name the file itself, not the page that links to it"),
    (rb"version https://git-lfs", "a Git LFS pointer", "fetch the file itself (git lfs pull), not its pointer"),
    (rb"\x1f\x8b", "a gzip archive", "give the file that is in it"),
    (
        rb"ftrt|ptrt",
        "a TensorRT engine",
        "engines fit one TensorRT and one GPU; give the .pt or .onnx it was made from",
    ),
    (
        rb"....\s*\{\s*[\"}]",
        ULTRALYTICS_ENGINE,
        "engines of others are not served yet: give the .pt or .onnx it was made from",
    ),
    (rb"\x80[\x02-\x05]", "a pickle without torch's archive (torch < 1.6)", "load and save it with a newer torch"),
    (rb"\s*[\{\[]", "a JSON text", ASK_PT_OR_ONNX),
)
"""What people give by mistake: the beginning, its name, and what to do."""


@dataclass(frozen=True)
class Look:
    """What a file looks like: a format that is read, or None and why it isn't."""

    format: Format | None
    what: str
    remedy: str = ASK_PT_OR_ONNX


def glance(path: Path) -> str:
    """Return what the first bytes of `path` say it is; nothing is unpacked or parsed."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if head.startswith(b"PK"):
        return "a zip archive (as a .pt is)"
    known = (what for pattern, what, _ in LOOKS if re.match(pattern, head, re.IGNORECASE | re.DOTALL))
    return next(known, "a file" if head else "an empty file")


def look(path: Path) -> Look:
    """Return what `path` holds."""
    with path.open("rb") as file:
        head = file.read(HEAD_BYTES)
    if not head:
        return Look(None, "an empty file")
    if head.startswith(b"PK"):
        return _look_into_zip(path)
    for pattern, what, remedy in LOOKS:
        if re.match(pattern, head, re.IGNORECASE | re.DOTALL):
            return Look(None, what, remedy)
    return _look_at_fields(path)


def _look_into_zip(path: Path) -> Look:
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
            damaged = archive.testzip()
    except (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError) as error:
        return Look(None, f"a truncated or damaged .pt ({error})", "fetch it again; compare its size and digest")
    if damaged:
        return Look(None, f"a damaged .pt (checksum of {damaged} is wrong)", "fetch it again; compare its digest")
    if any(name.endswith("/constants.pkl") for name in names):
        return Look(None, "a TorchScript archive", ASK_PT_OR_ONNX)
    if any(name.endswith("/data.pkl") for name in names):
        return Look("PyTorch", "a PyTorch checkpoint")
    return Look(None, "a zip archive that no torch wrote")


def _look_at_fields(path: Path) -> Look:
    fields, complete = _top_fields(path)
    if 1 not in fields or not set(fields) <= ONNX_FIELDS:
        return Look(None, "neither a PyTorch checkpoint nor an ONNX model")
    if not complete or ONNX_GRAPH not in fields:
        return Look(None, "a truncated ONNX model", "fetch it again; compare its size and digest")
    return Look("ONNX", "an ONNX model")


def _top_fields(path: Path) -> tuple[list[int], bool]:
    """Walk a protobuf's top level without reading its payloads; return the field numbers, and if it ends cleanly."""
    size, fields = path.stat().st_size, list[int]()
    with path.open("rb") as file:
        while file.tell() < size:
            tag = _varint(file.read)
            if tag is None or tag >> 3 not in ONNX_FIELDS or tag & 7 not in {0, 2}:
                return [*fields, -1] if tag is not None else fields, False
            fields.append(tag >> 3)
            value = _varint(file.read)
            if value is None:
                return fields, False
            if tag & 7 == 2:  # noqa: PLR2004 - wire type 2: length and payload
                if file.tell() + value > size:
                    return fields, False
                file.seek(value, 1)
    return fields, True


def _varint(read: Callable[[int], bytes]) -> int | None:
    value = 0
    for shift in range(0, 64, 7):
        byte = read(1)
        if not byte:
            return None
        value |= (byte[0] & 0x7F) << shift
        if byte[0] < 0x80:  # noqa: PLR2004 - the top bit says that more follow
            return value
    return None

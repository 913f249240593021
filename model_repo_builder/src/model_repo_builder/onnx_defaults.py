"""Gives a graph's inputs defaults by appending bytes: no ONNX library is where models are assembled.

Two protobuf messages written one after the other are read as one, their fields merged. So a ModelProto that holds
nothing but initialisers, appended to a model whose inputs bear these names, makes the inputs optional (ONNX, IR ≥ 4).
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MODEL_GRAPH, GRAPH_INITIALIZER = 7, 5
TENSOR_DIMS, TENSOR_TYPE, TENSOR_NAME, TENSOR_RAW = 1, 2, 8, 9
"""Field numbers of onnx.proto."""
KINDS = {"FP32": (1, "f"), "INT32": (6, "i")}
"""Triton's names of element types: ONNX's number, and how a value is packed."""
VARINT, BYTES = 0, 2


def appendix(defaults: Mapping[str, tuple[str, Sequence[float]]]) -> bytes:
    """Return what to append to an ONNX file: for each input its element type and its default, one row."""
    tensors = b"".join(
        _field(GRAPH_INITIALIZER, _tensor(name, kind, values)) for name, (kind, values) in sorted(defaults.items())
    )
    return _field(MODEL_GRAPH, tensors) if tensors else b""


def _tensor(name: str, kind: str, values: Sequence[float]) -> bytes:
    number, code = KINDS[kind]
    exact = [int(value) if code == "i" else value for value in values]
    return b"".join(
        [
            _number(TENSOR_DIMS, 1),
            _number(TENSOR_DIMS, len(exact)),
            _number(TENSOR_TYPE, number),
            _field(TENSOR_NAME, name.encode()),
            _field(TENSOR_RAW, struct.pack(f"<{len(exact)}{code}", *exact)),
        ]
    )


def _field(number: int, content: bytes) -> bytes:
    return _varint(number << 3 | BYTES) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3 | VARINT) + _varint(value)


def _varint(value: int) -> bytes:
    told = bytearray()
    while value > 0x7F:  # noqa: PLR2004 - seven bits a byte, the eighth says that more follow
        told.append(value & 0x7F | 0x80)
        value >>= 7
    told.append(value)
    return bytes(told)

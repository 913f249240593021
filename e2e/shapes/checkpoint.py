"""What a PyTorch checkpoint would import and say, read without PyTorch and without unpickling it."""

from __future__ import annotations

import pickletools
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_UNREADABLE = {"STACK_GLOBAL", "EXT1", "EXT2", "EXT4", "INST"}  # name a class by other means than GLOBAL


def pickled_globals(checkpoint: Path) -> tuple[str, ...]:
    """Return every global that loading the checkpoint imports, sorted, as `module.name`."""
    found = set()
    for name, argument in _opcodes(checkpoint):
        if name in _UNREADABLE:
            raise ValueError(f"{checkpoint} holds the opcode {name}: save it with pickle protocol 2, torch's default")
        if name == "GLOBAL":
            found.add(str(argument).replace(" ", "."))
    return tuple(sorted(found))


def pickled_strings(checkpoint: Path) -> tuple[str, ...]:
    """Return every text in the checkpoint, sorted."""
    return tuple(sorted({argument for _, argument in _opcodes(checkpoint) if isinstance(argument, str)}))


def _opcodes(checkpoint: Path) -> Iterator[tuple[str, Any]]:
    with zipfile.ZipFile(checkpoint) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise ValueError(f"{checkpoint} holds {len(pickles)} pickles, one is expected: save it with torch.save")
        for opcode, argument, _ in pickletools.genops(archive.read(pickles[0])):
            yield opcode.name, argument

"""Judges the pickle in a .pt by an allow-list of the globals that it names, without running it.

A pickle is a program whose only way out into Python are those globals. `restricted_unpickler` then runs it under the
same list, so that what was judged is what is loaded.
"""

from __future__ import annotations

import pickletools
import re
import zipfile
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from model_repo_builder.errors import Origin

MAX_PICKLE_BYTES = 64 * 1024**2
CLASS = r"(v\d+)?[A-Z]\w*"
FAMILIES = tuple(
    (re.compile(module), re.compile(name))
    for module, name in (
        (r"ultralytics(\.yolo)?\.nn\.(tasks|distill_model|modules(\.\w+)?)", CLASS),
        (r"ultralytics(\.yolo)?\.utils\.(loss|tal)|ultralytics\.yolo\.v8\.\w+\.train", CLASS),
        (r"torch\.nn\.modules(\.\w+)?", CLASS),
        (r"torch(\.cuda)?", r"(Float|Double|Half|BFloat16|Byte|Char|Short|Int|Long|Bool)(Storage|Tensor)"),
        (r"torch", r"(float|bfloat|int|uint)\d+|half|double|long|bool|Size|device"),
        (r"torchvision\.transforms\.(transforms|functional)", CLASS),
    )
)
"""Families of classes that a training run leaves in a checkpoint: module and name must match wholly."""
BUILTINS = ("set", "frozenset", "dict", "list", "tuple", "int", "float", "bool", "str", "bytes", "bytearray", "complex")
EXACT = frozenset(
    {
        "torch._utils._rebuild_tensor",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch._utils._rebuild_parameter_with_state",
        "torch.nn.parameter.Parameter",
        "torch.storage.UntypedStorage",
        "ultralytics.utils.IterableSimpleNamespace",
        "ultralytics.yolo.utils.IterableSimpleNamespace",
        "_codecs.encode",
        "argparse.Namespace",
        "types.SimpleNamespace",
        "numpy.dtype",
        "numpy.ndarray",
        *(f"collections.{name}" for name in ("OrderedDict", "defaultdict", "Counter", "deque")),
        *(f"numpy.{core}.multiarray.{name}" for core in ("core", "_core") for name in ("scalar", "_reconstruct")),
        *(f"pathlib.{name}" for name in ("Path", "PosixPath", "WindowsPath", "PurePosixPath", "PureWindowsPath")),
        *(f"pathlib._local.{name}" for name in ("PosixPath", "WindowsPath")),
        *(f"{module}.{name}" for module in ("builtins", "__builtin__") for name in (*BUILTINS, "slice", "getattr")),
    }
)
"""Single globals; `getattr` is swapped for one that reaches methods of layers and members of enums only."""

STRINGS = frozenset(
    {"STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"}
)
MEMO_GETS = frozenset({"GET", "BINGET", "LONG_BINGET"})
MEMO_PUTS = frozenset({"PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE"})
REFUSED_OPCODES = frozenset({"INST", "OBJ", "EXT1", "EXT2", "EXT4"})
"""Ways to name or call a global that no checkpoint of today uses."""


def allowed(module: str, name: str) -> bool:
    """Return whether a checkpoint may name this global; dotted names reach through attributes and never may."""
    if f"{module}.{name}" in EXACT:
        return True
    return any(family.fullmatch(module) and names.fullmatch(name) for family, names in FAMILIES)


def callable_by_pickle(module: str, name: str) -> bool:
    """Return whether a pickle may call this global with its own arguments; layers are filled, never called."""
    return f"{module}.{name}" in EXACT or (module == "torch" and name in {"Size", "device"})


def check(path: Path, origin: Origin) -> None:
    """Refuse a .pt whose pickle names a global that is not on the list, or hides the name."""
    program = _program(path, origin)
    try:
        named = list(globals_of(program))
    except (ValueError, IndexError, UnicodeDecodeError) as error:
        raise origin.refused(f"the checkpoint's pickle is damaged ({error})", "fetch or save it again") from None
    foreign = sorted({name for name in named if not allowed(*_split(name))})
    if foreign:
        raise origin.refused(
            f"the checkpoint's pickle names {', '.join(map(_spoken, foreign[:5]))}, which no YOLO checkpoint needs;"
            " it was not opened",
            "export the model to ONNX on a machine where you trust it, and give the .onnx",
        )


def globals_of(program: bytes) -> Iterator[str]:
    """Yield every global that a pickle names, as `module name`; `? what` stands for one that can't be told for sure.

    Sound because a pickle has no jumps: the memo is followed exactly, and a name counts only if the two values on top
    of the stack were pushed by the two operations just before.
    """
    memo: dict[int, str | None] = {}
    pushed: list[str | None] = []
    for opcode, arg, _ in pickletools.genops(program):
        if opcode.name in MEMO_PUTS:
            memo[len(memo) if arg is None else int(arg)] = pushed[-1] if pushed else None
            continue
        if opcode.name == "GLOBAL":
            yield str(arg)
        elif opcode.name == "STACK_GLOBAL":
            module, name = [None, None, *pushed][-2:]
            yield f"{module} {name}" if module and name and " " not in module + name else "? a name made at run time"
        elif opcode.name in REFUSED_OPCODES:
            yield f"? opcode {opcode.name}"
        pushed = [*pushed[-1:], _pushed(opcode.name, arg, memo)] if opcode.name in STRINGS | MEMO_GETS else []


def _pushed(opcode: str, arg: Any, memo: dict[int, str | None]) -> str | None:
    return memo.get(int(arg)) if opcode in MEMO_GETS else str(arg)


def _split(named: str) -> tuple[str, str]:
    module, _, name = named.partition(" ")
    return module, name


def _spoken(named: str) -> str:
    return named.removeprefix("? ") if named.startswith("? ") else named.replace(" ", ".")


def _program(path: Path, origin: Origin) -> bytes:
    with zipfile.ZipFile(path) as archive:
        entries = [info for info in archive.infolist() if info.filename.endswith(".pkl")]
        inner = [info for info in entries if info.filename.count("/") == 1 and info.filename.endswith("/data.pkl")]
        if len(entries) != 1 or len(inner) != 1:
            raise origin.refused(
                "the checkpoint must hold exactly one pickle, NAME/data.pkl", "save it with torch.save"
            )
        if inner[0].file_size > MAX_PICKLE_BYTES:
            raise origin.refused(f"its pickle has more than {MAX_PICKLE_BYTES} bytes", "save the model without extras")
        return archive.read(inner[0])

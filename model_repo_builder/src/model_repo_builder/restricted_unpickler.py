"""Runs a checkpoint's pickle with nothing but the globals that `pickles` allows, in the place of torch.load's own."""

from __future__ import annotations

import enum
import importlib
import pickle
import re
import types
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, ClassVar, Self

from model_repo_builder.pickles import allowed, callable_by_pickle

INERT = re.compile(r"torchvision\..*|ultralytics(\.yolo)?\.utils\.(loss|tal)\..*|ultralytics\.yolo\.v8\..*")
"""Left over from training and not needed to export: loaded as empty shells, so their libraries need not be there."""
MOVED = (("__builtin__", "builtins"), ("pathlib._local", "pathlib"), ("ultralytics.yolo.", "ultralytics."))
RENAMED = {
    **{f"pathlib.{name}": "pathlib.PurePosixPath" for name in ("WindowsPath", "PosixPath", "Path")},
    "ultralytics.nn.modules.block.Silence": "torch.nn.modules.linear.Identity",
    "ultralytics.nn.tasks.YOLOv10DetectionModel": "ultralytics.nn.tasks.DetectionModel",
}
"""Where a checkpoint's names live today (as ultralytics' own torch_safe_load has it); paths become pure ones."""
METHODS = frozenset({"forward", "forward_fuse", "forward_split", "forward_chop"})


class Shell:
    """Stands in for an object that exporting does not need; takes any arguments and any state."""

    def __new__(cls, *_: Any, **__: Any) -> Self:
        """Ignore all arguments."""
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        """Ignore all arguments."""

    def __setstate__(self, state: Any) -> None:
        """Ignore the state."""


def layer_attribute(owner: Any, name: str) -> Any:
    """Return a layer's forward method or an enum's member: what checkpoints use `getattr` for; refuse the rest."""
    if owner is Shell or isinstance(owner, Shell):
        return Shell()
    kind = owner if isinstance(owner, type) else type(owner)
    if isinstance(owner, type) and issubclass(owner, enum.Enum) and name in owner.__members__:
        return owner[name]
    if allowed(kind.__module__, kind.__qualname__) and name in METHODS:
        return getattr(owner, name)
    raise pickle.UnpicklingError(f"the checkpoint's pickle reaches for {kind.__qualname__}.{name}")


def resolve(module: str, name: str) -> Any:
    """Return the object that an allowed global stands for in this process."""
    if INERT.fullmatch(f"{module}.{name}"):
        return Shell
    if name == "getattr":
        return layer_attribute
    for old, new in MOVED:
        if module == old or (old.endswith(".") and module.startswith(old)):
            module = new + module[len(old) :]
    module, _, name = RENAMED.get(f"{module}.{name}", f"{module}.{name}").rpartition(".")
    return getattr(_import(module), name)


def _import(module: str) -> types.ModuleType:
    """Import a module; numpy moved its core between 1 and 2, and either may have saved the checkpoint."""
    if module in {"numpy.core.multiarray", "numpy._core.multiarray"}:
        numpy = importlib.import_module("numpy")
        module = f"numpy.{'_core' if numpy.__version__.split('.')[0] != '1' else 'core'}.multiarray"
    return importlib.import_module(module)


_Machine: Any = pickle._Unpickler  # noqa: SLF001 - the C one has no hook for calls


class Unpickler(_Machine):  # type: ignore[misc]
    """A pickle machine that finds allowed globals only, calls plain data types only, and never patches a class."""

    dispatch: ClassVar[dict[int, Any]] = dict(_Machine.dispatch)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._callables: list[Any] = [Shell, layer_attribute]

    def find_class(self, module: str, name: str) -> Any:
        """Return an allowed global; note whether the pickle may call it."""
        if not allowed(module, name):
            raise pickle.UnpicklingError(f"the checkpoint's pickle names {module}.{name}, which is not allowed")
        found = resolve(module, name)
        if callable_by_pickle(module, name):
            self._callables.append(found)
        return found

    def load_reduce(self) -> None:
        """Call a function that the list says may be called."""
        function = self.stack[-2]
        if not any(function is known for known in self._callables):
            raise pickle.UnpicklingError(f"the checkpoint's pickle calls {function!r}, which is not allowed")
        super().load_reduce()

    def load_build(self) -> None:
        """Fill an object; never a class, a function or a module."""
        if isinstance(self.stack[-2], (type, types.FunctionType, types.BuiltinFunctionType, types.ModuleType)):
            raise pickle.UnpicklingError(f"the checkpoint's pickle patches {self.stack[-2]!r}")
        super().load_build()

    dispatch[pickle.REDUCE[0]] = load_reduce
    dispatch[pickle.BUILD[0]] = load_build


def _refuse_legacy(*_: Any, **__: Any) -> Any:
    raise pickle.UnpicklingError("only checkpoints in torch's zip format are read")


@contextmanager
def in_place_of_pickle(library: types.ModuleType) -> Iterator[types.SimpleNamespace]:
    """Put the restricted machine where a library (torch.serialization) has `pickle`; yields what stands there.

    torch 1.13 takes a `pickle_module` and then uses `pickle` all the same, so it must be told in both ways. Raises
    when the block ends without the restricted machine having run: then another one did.
    """
    ran: list[bool] = []

    class Seen(Unpickler):
        def load(self) -> Any:
            ran.append(True)
            return super().load()

    stand_in = types.SimpleNamespace(
        __name__="restricted_pickle",
        Unpickler=Seen,
        UnpicklingError=pickle.UnpicklingError,
        load=_refuse_legacy,
        loads=_refuse_legacy,
    )
    original = library.pickle
    library.pickle = stand_in  # type: ignore[attr-defined]
    try:
        yield stand_in
    finally:
        library.pickle = original  # type: ignore[attr-defined]
    if not ran:
        raise pickle.UnpicklingError(f"{library.__name__} did not read the checkpoint with the restricted unpickler")

"""No pickle gets past the list, however it spells a global, and what is allowed is loaded without calling layers."""

from __future__ import annotations

import io
import pickle
import pickletools
from collections import OrderedDict
from pathlib import PurePosixPath
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_repo_builder.errors import Origin, Refused
from model_repo_builder.pickles import allowed, check, globals_of
from model_repo_builder.restricted_unpickler import Shell, Unpickler
from tests.model_repo_builder.making import Bench, checkpoint, pickled

ORIGIN = Origin("spec.model.pvc.path", "best.pt")
SHORT = pickle.SHORT_BINUNICODE


def text(value: str) -> bytes:
    return SHORT + bytes([len(value)]) + value.encode()


SPELLINGS = {
    "plain": b"cos\nsystem\n",
    "stack": text("os") + text("system") + pickle.STACK_GLOBAL,
    "stack, memoized": text("os") + pickle.MEMOIZE + text("system") + pickle.MEMOIZE + pickle.STACK_GLOBAL,
    "stack, from the memo": text("os")
    + b"q\x01"
    + text("system")
    + b"q\x02"
    + b"00"
    + b"h\x01h\x02"
    + pickle.STACK_GLOBAL,
    "stack, memo written twice": text("torch._utils")
    + b"q\x01"
    + b"0"
    + text("os")
    + b"q\x01"
    + b"0h\x01"
    + text("system")
    + pickle.STACK_GLOBAL,
    "stack, swapped by a pop": text("os") + text("system") + text("set") + b"0" + pickle.STACK_GLOBAL,
    "stack, by dup": text("os") + pickle.DUP + pickle.STACK_GLOBAL,
    "stack, out of a tuple": text("os") + text("system") + pickle.TUPLE2 + pickle.STACK_GLOBAL,
    "inst": b"(ios\nsystem\n",
    "obj": b"(cos\nsystem\no",
    "extension": pickle.EXT1 + b"\x01",
    "dotted": text("torch.nn.modules.conv") + text("Conv2d.forward.__globals__") + pickle.STACK_GLOBAL,
    "attribute of an allowed module": b"ctorch.nn.modules.module\nwarnings\n",
    "a module inside an allowed one": b"cultralytics.nn.tasks\nos\n",
    "a function of ultralytics": b"cultralytics.utils.checks\ncheck_requirements\n",
    "torch.hub": b"ctorch.hub\nload\n",
    "torch.load": b"ctorch.serialization\nload\n",
    "nested torch.load": b"ctorch.storage\n_load_from_bytes\n",
    "eval": b"c__builtin__\neval\n",
    "exec": b"cbuiltins\nexec\n",
    "import": b"cbuiltins\n__import__\n",
    "a space in the name": b"ctorch._utils _rebuild_tensor_v2\nx\n",
    "a line break at the end": b"cbuiltins\nset\x0b\n",
}


@pytest.mark.parametrize("name", SPELLINGS)
def test_a_foreign_global_is_refused_however_it_is_spelled(name: str, bench: Bench) -> None:
    path = checkpoint(bench.root / "best.pt", b"\x80\x04" + SPELLINGS[name] + b".")
    with pytest.raises(Refused) as caught:
        check(path, ORIGIN)
    assert (caught.value.field, caught.value.value) == ("spec.model.pvc.path", "best.pt")
    assert "was not opened" in caught.value.message
    assert "ONNX" in caught.value.remedy


@pytest.mark.parametrize("name", [name for name in SPELLINGS if name not in {"extension", "stack, out of a tuple"}])
def test_the_loader_refuses_the_same_without_the_check(name: str) -> None:
    with pytest.raises((pickle.UnpicklingError, TypeError, AttributeError)):
        Unpickler(io.BytesIO(b"\x80\x04" + SPELLINGS[name] + b".")).load()


def test_what_a_real_checkpoint_names_is_allowed(bench: Bench) -> None:
    names = (
        "ultralytics.nn.tasks.DetectionModel",
        "ultralytics.nn.modules.head.v10Detect",
        "ultralytics.nn.modules.block.C3k2",
        "ultralytics.utils.loss.E2EDetectLoss",
        "ultralytics.utils.IterableSimpleNamespace",
        "torch.nn.modules.conv.Conv2d",
        "torch.nn.modules.activation.SiLU",
        "torch._utils._rebuild_tensor_v2",
        "torch._utils._rebuild_parameter",
        "torch.HalfStorage",
        "torch.float32",
        "torch.Size",
        "torchvision.transforms.transforms.Compose",
        "collections.OrderedDict",
        "numpy.core.multiarray.scalar",
        "numpy._core.multiarray.scalar",
        "numpy.dtype",
        "_codecs.encode",
        "__builtin__.set",
        "__builtin__.getattr",
        "pathlib.PosixPath",
    )
    check(checkpoint(bench.root / "best.pt", pickled(*names)), ORIGIN)


def test_the_bundled_weights_pass() -> None:
    from model_repo_builder.builtin import bundled

    for path in bundled().values():
        check(path, ORIGIN)


@given(st.sampled_from(sorted(SPELLINGS)), st.binary(max_size=40))
def test_no_ending_makes_a_foreign_global_invisible(name: str, ending: bytes) -> None:
    """What comes after a global can't take it back."""
    seen = []
    try:
        seen.extend(globals_of(b"\x80\x04" + SPELLINGS[name] + ending + b"."))
    except (ValueError, IndexError, UnicodeDecodeError):
        return  # damaged: refused as such
    assert any(not allowed(*found.split(" ", 1)) for found in seen)


PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
)


@given(PLAIN, st.integers(2, 5))
def test_plain_data_loads_as_python_loads_it(value: Any, protocol: int) -> None:
    """The restricted machine is a pickle machine."""
    program = pickle.dumps({"value": value, "names": OrderedDict(a={1, 2}), "path": PurePosixPath("/x")}, protocol)
    loaded = Unpickler(io.BytesIO(program)).load()
    assert loaded == pickle.loads(program)  # noqa: S301 - made above


def test_a_layer_may_be_filled_but_not_called() -> None:
    class_ = b"cargparse\nNamespace\n"
    assert Unpickler(io.BytesIO(b"\x80\x02" + class_ + b")\x81}X\x01\x00\x00\x00aK\x01sb.")).load().a == 1
    with pytest.raises(pickle.UnpicklingError, match="patches"):
        Unpickler(io.BytesIO(b"\x80\x02" + class_ + b"}X\x01\x00\x00\x00aK\x01sb.")).load()


def test_getattr_reaches_forward_methods_only() -> None:
    program = b"\x80\x02cbuiltins\ngetattr\ncargparse\nNamespace\nX\x08\x00\x00\x00__init__\x86R."
    assert "REDUCE" in {opcode.name for opcode, _, _ in pickletools.genops(program)}
    with pytest.raises(pickle.UnpicklingError, match=r"reaches for Namespace\.__init__"):
        Unpickler(io.BytesIO(program)).load()


def test_training_leftovers_load_as_empty_shells() -> None:
    program = b"\x80\x02ctorchvision.transforms.transforms\nCompose\n)\x81}X\x01\x00\x00\x00aK\x01sb."
    assert isinstance(Unpickler(io.BytesIO(program)).load(), Shell)


def test_a_damaged_program_is_told(bench: Bench) -> None:
    with pytest.raises(Refused, match="damaged"):
        check(checkpoint(bench.root / "best.pt", b"\x80\x04\x95\xff"), ORIGIN)

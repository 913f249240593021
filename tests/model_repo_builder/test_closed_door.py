"""What opens weights reaches neither the network nor other programs."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from model_repo_builder import onnx_from_yolo
from model_repo_builder.closed_door import ClosedDoorError, closed_door
from tests.model_repo_builder.making import Bench, request

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WAYS: dict[str, Callable[[], object]] = {
    "connect": lambda: socket.create_connection(("127.0.0.1", 1)),
    "resolve": lambda: socket.getaddrinfo("localhost", 80),
    "run": lambda: subprocess.run([sys.executable, "-V"], check=True),
    "shell": lambda: os.system("true"),  # noqa: S605
    "spawn": lambda: os.posix_spawn("/bin/true", ["true"], {}),
}


@pytest.mark.parametrize("name", WAYS)
def test_ways_out_are_closed_for_the_block_only(name: str) -> None:
    with closed_door(), pytest.raises(ClosedDoorError):
        WAYS[name]()
    if name in {"run", "shell"}:
        WAYS[name]()


def test_torch_may_start_a_program_while_it_is_imported_and_not_once_weights_are_open(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Newer torches look for CUDA's libraries by running ldconfig when they are imported."""
    for name in ("torch", "ultralytics"):
        source = f"import subprocess\nsubprocess.run(['true'], check=True)\n__version__ = '{name} 1'"
        (tmp_path / f"{name}.py").write_text(source)
        monkeypatch.setitem(sys.modules, name, sys)  # so that the one imported below is forgotten in the end
        del sys.modules[name]
    monkeypatch.syspath_prepend(tmp_path)
    seen = []

    def load(weights: object, versions: dict[str, str], **_: object) -> object:
        seen.append(versions)
        return WAYS["run"]()

    monkeypatch.setattr(onnx_from_yolo, "load", load)
    with pytest.raises(ClosedDoorError):
        bench.build(request({"builtin": "yolo26n-shapes"}))
    assert seen == [{"torch": "torch 1", "ultralytics": "ultralytics 1"}]

"""A .pt that reads tokens, writes outside, connects and forks: the build refuses each by name, and none ran."""

from __future__ import annotations

import io
import os
import pickle
import shutil
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.model_repo_builder.making import Bench, checkpoint, request

SECRET = "a token that nobody may have"


class Call:
    """Pickled, it is a call that the pickle's reader makes."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return self.call


def evil(token: Path, out: Path, port: int) -> dict[str, tuple[Call, str]]:
    shell = f"cat {token} > {out}; exec 3<>/dev/tcp/127.0.0.1/{port}"
    program = f"import os, socket; os.fork(); open({str(out)!r}, 'w'); socket.create_connection(('127.0.0.1', {port}))"
    return {
        "reads a token": (Call(shutil.copyfile, str(token), str(out)), "shutil.copyfile"),
        "opens a token": (Call(open, str(token)), "io.open"),
        "writes outside": (Call(os.makedirs, str(out)), "os.makedirs"),
        "connects": (Call(socket.create_connection, ("127.0.0.1", port)), "socket.create_connection"),
        "forks": (Call(os.fork), "posix.fork"),
        "runs a shell": (Call(os.system, shell), "posix.system"),
        "runs a program": (Call(subprocess.Popen, ["bash", "-c", shell]), "subprocess.Popen"),
        "runs Python": (Call(exec, program), "builtins.exec"),
        "evaluates": (Call(eval, f"__import__('os').system({shell!r})"), "builtins.eval"),
    }


def children() -> set[str]:
    """Return the processes that this one has started and not waited for; dead ones too."""
    return {pid for task in Path("/proc/self/task").iterdir() for pid in (task / "children").read_text().split()}


CASES = sorted(evil(Path("a"), Path("b"), 1))


@pytest.mark.parametrize("protocol", [2, 4])
@pytest.mark.parametrize("name", CASES)
def test_it_gets_nothing_and_is_refused_by_name(name: str, protocol: int, bench: Bench, tmp_path: Path) -> None:
    token, out, before = tmp_path / "token", tmp_path / "out", children()
    token.write_text(SECRET)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.05)
        call, named = evil(token, out, listener.getsockname()[1])[name]
        checkpoint(bench.source / "best.pt", pickle.dumps({"model": call}, protocol, fix_imports=False))
        result = bench.build(request({"pvc": {"claimName": "weights", "path": "best.pt"}}))
        with pytest.raises(TimeoutError):
            listener.accept()
    assert result.outcome == "Refused"
    assert result.failure is not None
    assert f"names {named}, which no YOLO checkpoint needs; it was not opened" in result.failure.message
    assert SECRET not in result.model_dump_json()
    assert not out.exists()
    assert bench.leftovers() == []
    assert children() <= before


@pytest.mark.parametrize("name", CASES)
def test_the_payloads_do_harm_where_nobody_stops_them(name: str, tmp_path: Path) -> None:
    """Else the test above could not fail: plain pickle calls what the payload names."""
    token, out = tmp_path / "token", tmp_path / "out"
    token.write_text(SECRET)
    call, _ = evil(token, out, 1)[name]
    function, arguments = call.call
    seen: list[tuple[Any, ...]] = []

    class Watching(pickle.Unpickler):
        def find_class(self, module: str, attribute: str) -> Any:
            found = super().find_class(module, attribute)
            assert found is function
            return lambda *given: seen.append(given)

    Watching(io.BytesIO(pickle.dumps({"model": call}))).load()
    assert seen == [arguments]

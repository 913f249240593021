"""The container that converts: weights are opened in a process without a network, and another one answers for it."""

from __future__ import annotations

import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.model_repo_builder.making import Bench, checkpoint, pvc, request
from tests.model_repo_builder.test_seccomp import PATH
from yolofleet.api.build import BUILD_ENV, BuildResult

if TYPE_CHECKING:
    from collections.abc import Iterator

TRACING = Path("/proc/sys/kernel/yama/ptrace_scope")
"""Where it is not 0, nobody may trace his parent anyway."""
AS_IN_A_POD = """
import ctypes
# A pod has no capabilities: with them one may trace anybody.
header, none = (ctypes.c_uint32 * 2)(0x20080522, 0), (ctypes.c_uint32 * 6)()
assert ctypes.CDLL(None).capset(header, none) == 0
"""
WITHOUT_A_LIST = (
    AS_IN_A_POD
    + """
import pickle, sys, zipfile
from model_repo_builder import __main__ as program, apart
from model_repo_builder.convert import Conversion

def opened(_conversion, weights):
    with zipfile.ZipFile(weights.path) as archive:
        pickle.loads(archive.read("best/data.pkl"))
    raise SystemExit(7)

Conversion.run = opened
if sys.argv[1] == "no wall":
    program.give_up_network = lambda: None
    apart.prctl = lambda *_: None
sys.exit(program.main(sys.argv[2:]))
"""
)
HARM = """
import ctypes, json, os, pathlib, socket
libc = ctypes.CDLL(None, use_errno=True)
def able(work):
    try:
        return bool(work())
    except OSError:
        return False
def connected():
    # Native calls, which no audit hook of Python sees.
    handle = libc.socket(2, 1, 0)
    address = (2).to_bytes(2, "little") + ({port}).to_bytes(2, "big") + bytes([127, 0, 0, 1]) + bytes(8)
    return handle >= 0 and libc.connect(handle, address, 16) == 0
def forked():
    if (child := os.fork()) == 0:
        os._exit(0 if connected() else 1)
    return os.waitpid(child, 0)[1] == 0
def taken():
    # The parent's listening socket, which could connect elsewhere once it is disconnected.
    parent = os.pidfd_open(os.getppid())
    return any(libc.syscall(438, parent, number, 0) >= 0 for number in range(64))
pathlib.Path({found!r}).write_text(json.dumps({{
    "connected": connected(),
    "forked": forked(),
    "parent's memory": able(lambda: os.open(f"/proc/{{os.getppid()}}/mem", os.O_RDWR)),
    "parent's sockets": able(taken),
}}))
"""


class Run:
    """Pickled, it is a call of `exec`."""

    def __init__(self, code: str) -> None:
        self.code = code

    def __reduce__(self) -> tuple[Any, ...]:
        return exec, (self.code, {})


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        made.settimeout(0)
        yield made


def converted(bench: Bench, wall: str, tmp_path: Path) -> tuple[int, dict[str, bool]]:
    """Run the container as a pod does; return its exit code and what the weights could do."""
    wanted = request(pvc("best.pt"))
    (bench.root / "weights/fetched.json").write_text(json.dumps({"sha256": "0" * 64, "sizeBytes": 1}))
    folders = [f"--{name}={bench.root / name}" for name in ("weights", "engine")]
    arguments = [sys.executable, "-c", WITHOUT_A_LIST, wall, "convert", *folders, "--progress-port", "0"]
    environment = os.environ | {BUILD_ENV: json.dumps(wanted.wire()), "PYTHONPATH": PATH}
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=120, check=False)
    found = tmp_path / "found.json"
    assert found.exists(), done.stderr
    return done.returncode, json.loads(found.read_text())


@pytest.mark.parametrize("wall", ["wall", "no wall"])
def test_a_pickle_that_gets_past_the_list_has_no_network(
    wall: str, bench: Bench, listener: socket.socket, tmp_path: Path
) -> None:
    """The list of allowed globals is away; without the wall the same pickle does all of it."""
    harm = HARM.format(port=listener.getsockname()[1], found=str(tmp_path / "found.json"))
    program = pickle.dumps({"model": Run(harm)}, 2, fix_imports=False)
    checkpoint(bench.root / "weights/weights", program)
    _, able = converted(bench, wall, tmp_path)
    if wall == "wall":
        assert not any(able.values()), able
        with pytest.raises(BlockingIOError):
            listener.accept()
    else:
        kept = {
            name for name in able if name.startswith("parent") and TRACING.exists() and TRACING.read_text() != "0\n"
        }
        assert all(able[name] for name in able.keys() - kept), able
        listener.accept()[0].close()


ANSWERING = """
import os, sys, time
from contextlib import contextmanager
from model_repo_builder import apart
from model_repo_builder.progress import Board
from yolofleet.api.build import Progress

serve = apart.serving

@contextmanager
def serving(board, *, port):
    with serve(board, port=port) as found:
        print(found, flush=True)
        yield found

def work(tell):
    tell(Progress(stage="Build", percent=60, message="compiling"))
    tell(Progress(stage="Export", percent=30, message="back"))
    pipe = max(int(name) for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}"))
    for number in range(3, pipe + 1):
        try:
            os.write(number, b"x" * 10000 + b"\\n{}\\n")
        except OSError:
            pass
    tell(Progress(stage="Compare", percent=80, message="after a lie"))
    time.sleep(60)
    return 3

apart.serving = serving
sys.exit(apart.run(work, Board.beginning("Export"), port=0))
"""


def test_progress_is_told_by_the_process_that_has_a_network() -> None:
    """What is no progress is left alone, none goes back, and a signal that ends the child ends the container."""
    with subprocess.Popen(
        [sys.executable, "-c", ANSWERING], env=os.environ | {"PYTHONPATH": PATH}, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        url = f"http://127.0.0.1:{int(process.stdout.readline())}/progress"
        told: dict[str, Any] = {}
        while told.get("message") != "after a lie":
            assert process.poll() is None
            with urllib.request.urlopen(url, timeout=30) as answer:
                told = json.load(answer)
        assert told["percent"] == 80
        process.terminate()
        assert process.wait(60) == 128 + signal.SIGTERM


def test_a_kernel_that_gives_no_wall_ends_the_build_with_the_reason(bench: Bench, tmp_path: Path) -> None:
    log = tmp_path / "termination-log"
    log.touch()
    code = "import sys; from model_repo_builder import __main__ as program, seccomp; seccomp.MACHINES.clear()"
    command = [sys.executable, "-c", f"{code}; sys.exit(program.main(sys.argv[1:]))", "convert"]
    wanted = request(pvc("best.pt"))
    environment = os.environ | {BUILD_ENV: json.dumps(wanted.wire()), "PYTHONPATH": PATH}
    arguments = [f"--engine={bench.root}/engine", "--progress-port=0", f"--termination-log={log}"]
    done = subprocess.run([*command, *arguments], env=environment, capture_output=True, timeout=120, check=False)
    told = BuildResult.model_validate_json(log.read_bytes())
    assert (done.returncode, told.outcome) == (1, "Failed")
    assert told.failure is not None
    assert "there is no filter for" in told.failure.message

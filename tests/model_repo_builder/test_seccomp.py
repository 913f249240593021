"""What opens weights gives up the network: a real process tries every way out, before and after."""

from __future__ import annotations

import json
import os
import platform
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from model_repo_builder import seccomp
from model_repo_builder.errors import Failed

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join(map(str, (ROOT, ROOT / "operator/src", ROOT / "model_repo_builder/src")))
FAMILIES = ("AF_INET", "AF_INET6", "AF_PACKET", "AF_NETLINK", "AF_VSOCK")
TRIES = """
import ctypes, errno, json, mmap, os, platform, socket, subprocess, sys, threading
from model_repo_builder.seccomp import give_up_network

libc = ctypes.CDLL(None, use_errno=True)
port, file = int(sys.argv[1]), sys.argv[2]
ways = {name: getattr(socket, name) for name in ("AF_INET", "AF_INET6", "AF_PACKET", "AF_NETLINK", "AF_VSOCK")}

def named(number):
    return errno.errorcode[number]

def tried(work):
    try:
        work()
    except OSError as error:
        return named(error.errno)
    return "open"

def called(number, *arguments):
    made = libc.syscall(number, *arguments)
    return "open" if made >= 0 else named(ctypes.get_errno())

def made(family):
    kind = socket.SOCK_RAW if family in (socket.AF_PACKET, socket.AF_NETLINK) else socket.SOCK_STREAM
    socket.socket(family, kind).close()

def in_thread(work):
    told = []
    thread = threading.Thread(target=lambda: told.append(tried(work)))
    thread.start()
    thread.join()
    return told[0]

def in_program():
    code = "import socket\\ntry: socket.socket()\\nexcept OSError as error: print(error.errno)\\nelse: print('open')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout.strip()
    return said if said == "open" else named(int(said))

def in_fork(work):
    if (child := os.fork()) == 0:
        os._exit(0 if tried(work) == "open" else 1)
    return "open" if os.waitpid(child, 0)[1] == 0 else "refused"

def by_interrupt():
    # socket(AF_INET, SOCK_STREAM, 0) as a 32-bit program asks for it: int 0x80, where 359 is its number
    if platform.machine() != "x86_64":
        return None
    if os.fork() == 0:  # a kernel without 32-bit programs kills who tries
        code = bytes.fromhex("53b867010000bb02000000b90100000031d2cd805bc3")
        page = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
        page.write(code)
        number = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(page)))()
        os._exit(0 if number >= 0 else -number)
    status = os.wait()[1]
    return None if os.WIFSIGNALED(status) else "open" if status == 0 else named(os.waitstatus_to_exitcode(status))

def unix():
    with socket.socket(socket.AF_UNIX) as one, socket.socket(socket.AF_UNIX) as other:
        if os.path.exists(file):
            os.unlink(file)
        one.bind(file)
        one.listen()
        other.connect(file)
    for pair in socket.socketpair():
        pair.close()

def all_ways():
    told = {name: tried(lambda: made(family)) for name, family in ways.items()}
    call = lambda: socket.create_connection(("127.0.0.1", port)).close()
    return told | {
        "connect": tried(call),
        "thread": in_thread(call),
        "fork": in_fork(call),
        "program": in_program(),
        "pair": called(53 if platform.machine() == "x86_64" else 199, 2, 1, 0, (ctypes.c_int * 2)()),
        "io_uring": called(425, 1, ctypes.create_string_buffer(120)),
        "x32": called(0x40000000 | 41, 2, 1, 0),
        "interrupt": by_interrupt(),
        "unix": tried(unix),
    }

before = all_ways()
give_up_network()
print(json.dumps([before, all_ways(), open("/proc/self/status").read()]))
"""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Any:
    file = tmp_path_factory.mktemp("unix") / "socket"
    with socket.create_server(("127.0.0.1", 0)) as listener:
        command = [sys.executable, "-c", TRIES, str(listener.getsockname()[1]), str(file)]
        done = subprocess.run(
            command, env=os.environ | {"PYTHONPATH": PATH}, capture_output=True, text=True, timeout=120, check=False
        )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_the_ways_out_are_ways_out(seen: Any) -> None:
    """Else a refusal proves nothing; kinds that this kernel or its privileges don't give are not among them."""
    before = seen[0]
    assert {before[name] for name in ("AF_INET", "connect", "thread", "fork", "program", "unix")} == {"open"}


@pytest.mark.parametrize("family", FAMILIES)
def test_no_socket_but_a_unix_socket(seen: Any, family: str) -> None:
    assert seen[1][family] == "EAFNOSUPPORT"


def test_threads_forks_and_other_programs_have_no_network_either(seen: Any) -> None:
    after = seen[1]
    assert [after[name] for name in ("connect", "thread", "program")] == ["EAFNOSUPPORT"] * 3
    assert (after["fork"], after["pair"]) == ("refused", "EAFNOSUPPORT")


def test_no_way_around_by_rings_and_calls_of_other_architectures(seen: Any) -> None:
    """A ring opens sockets by itself; 32-bit calls have other numbers. None: not of this machine, or its kernel."""
    before, after = seen[:2]
    assert after["io_uring"] == "EPERM"
    if platform.machine() == "x86_64":
        assert after["x32"] == "EPERM"
    assert after["interrupt"] == ("EPERM" if before["interrupt"] else None)


def test_what_compilers_and_drivers_need_stays(seen: Any) -> None:
    assert seen[1]["unix"] == "open"


def test_the_kernel_says_that_it_holds(seen: Any) -> None:
    told = dict(line.split(":\t", 1) for line in seen[2].splitlines() if ":\t" in line)
    assert (told["NoNewPrivs"], told["Seccomp"]) == ("1", "2")


def test_a_kernel_that_refuses_is_said_with_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(seccomp, "prctl", refuse)
    with pytest.raises(Failed, match=r"weights are not opened: .* \(Invalid argument\); build on nodes"):
        seccomp.give_up_network()
    monkeypatch.setattr(seccomp, "MACHINES", {})
    with pytest.raises(Failed, match=f"there is no filter for {os.uname().machine}"):
        seccomp.give_up_network()

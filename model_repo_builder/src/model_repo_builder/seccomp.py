"""A process gives up the network for good: a seccomp filter that lets it make Unix sockets and no others.

Own code, because it is one short program of the kernel's oldest kind: libseccomp would be a native library more in each
image that converts, for a dozen instructions (docs/adr/0016-no-network-for-weights.md).
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from dataclasses import dataclass

from model_repo_builder.errors import Failed

PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 38, 22
SECCOMP_MODE_FILTER = 2
ALLOW, REFUSE = 0x7FFF0000, 0x00050000
"""SECCOMP_RET_ALLOW, and SECCOMP_RET_ERRNO with an errno in its low bits."""
LOAD, IF_EQUAL, IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
"""BPF_LD|BPF_W|BPF_ABS, BPF_JMP|BPF_JEQ|BPF_K, BPF_JMP|BPF_JGE|BPF_K, BPF_RET|BPF_K."""
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16
"""Offsets in struct seccomp_data; of the first argument the low half, which is all that the kernel reads of an int."""
AF_UNIX = 1
X32 = 0x40000000
"""Calls of x86-64's 32-bit-pointer twin begin here; nothing that we run makes any."""
IO_URING_SETUP = 425
"""A ring opens sockets by itself, past any filter of calls."""


@dataclass(frozen=True)
class Machine:
    """What calls are named on a machine: AUDIT_ARCH_*, and the numbers of the two that make sockets."""

    architecture: int
    socket: int
    socketpair: int


MACHINES = {
    "x86_64": Machine(architecture=0xC000003E, socket=41, socketpair=53),
    "aarch64": Machine(architecture=0xC00000B7, socket=198, socketpair=199),
}


class _Program(ctypes.Structure):
    """The kernel's struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def prctl(option: int, value: int, pointer: object = None) -> None:
    """Change how the kernel treats this process."""
    call = ctypes.CDLL(None, use_errno=True).prctl
    call.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong)
    if call(option, value, pointer, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def give_up_network() -> None:
    """Leave this thread, and all threads and processes that it starts, with Unix sockets alone; Failed if it can't.

    There is no way back, no privilege is needed, and the kernel holds it also against native code.
    """
    name = os.uname().machine
    if name not in MACHINES:
        raise _refused(f"there is no filter for {name}")
    program = instructions(MACHINES[name])
    filled = _Program(len(program) // 8, program)
    try:
        prctl(PR_SET_NO_NEW_PRIVS, 1)
        prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(filled))
    except OSError as error:
        raise _refused(str(error.strerror)) from None


def instructions(machine: Machine) -> bytes:
    """Return the filter: calls of another architecture, rings and sockets but Unix sockets are refused."""
    denied, no_family = REFUSE | errno.EPERM, REFUSE | errno.EAFNOSUPPORT
    told = [
        (LOAD, 0, 0, ARCHITECTURE),
        (IF_EQUAL, 1, 0, machine.architecture),
        (RETURN, 0, 0, denied),
        (LOAD, 0, 0, NUMBER),
        (IF_AT_LEAST, 4, 0, X32),  # to "denied", below
        (IF_EQUAL, 3, 0, IO_URING_SETUP),  # likewise
        (IF_EQUAL, 3, 0, machine.socket),  # to the family, below
        (IF_EQUAL, 2, 0, machine.socketpair),  # likewise
        (RETURN, 0, 0, ALLOW),
        (RETURN, 0, 0, denied),
        (LOAD, 0, 0, FIRST_ARGUMENT),
        (IF_EQUAL, 1, 0, AF_UNIX),
        (RETURN, 0, 0, no_family),
        (RETURN, 0, 0, ALLOW),
    ]
    return b"".join(struct.pack("=HBBI", *one) for one in told)


def _refused(why: str) -> Failed:
    return Failed(
        message=f"weights are not opened: this process can't give up the network ({why})",
        remedy="build on nodes (builds.nodeSelector) whose kernel has seccomp filters and whose runtime allows prctl",
    )

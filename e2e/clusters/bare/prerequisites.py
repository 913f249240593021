"""What the bench needs on the machine: each missing tool is named with the Debian package that brings it."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Tool:
    """A program that must be on PATH, and where it comes from."""

    program: str
    source: str


CLUSTER_TOOLS = (
    Tool("runc", "apt: runc"),
    Tool("nft", "apt: nftables"),
    Tool("ip", "apt: iproute2"),
    Tool("sysctl", "apt: procps"),
    Tool("nsenter", "apt: util-linux"),
    Tool("unshare", "apt: util-linux"),
    Tool("mount", "apt: mount"),
    Tool("openssl", "apt: openssl"),
    Tool("go", "Go 1.26 or newer"),
)
IMAGE_TOOLS = (
    Tool("mmdebstrap", "apt: mmdebstrap"),
    Tool("uv", "uv 0.5 or newer (pip install uv)"),
)
SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class MissingPrerequisiteError(RuntimeError):
    """The machine lacks something that the bench needs; the message says what brings it."""


def search_path() -> str:
    """PATH with the folder of this Python (uv stands there) and the system folders, which a user's PATH may lack."""
    return f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}:{SYSTEM_PATH}"


def find_tool(program: str) -> str:
    """The full path of a program that `check` has seen."""
    if found := shutil.which(program, path=search_path()):
        return found
    raise MissingPrerequisiteError(f"{program} is not on PATH")


def check(*, tools: tuple[Tool, ...] = CLUSTER_TOOLS + IMAGE_TOOLS) -> None:
    """Refuse to start with anything missing, and name all of it at once."""
    if os.geteuid() != 0:
        raise MissingPrerequisiteError("the bare cluster makes namespaces, mounts and cgroups: run it as root")
    missing = [tool for tool in tools if shutil.which(tool.program, path=search_path()) is None]
    if missing:
        lines = "\n".join(f"  {tool.program}: {tool.source}" for tool in missing)
        packages = sorted({tool.source.removeprefix("apt: ") for tool in missing if tool.source.startswith("apt: ")})
        remedy = f"\nInstall with: apt-get install --no-install-recommends {' '.join(packages)}" if packages else ""
        raise MissingPrerequisiteError(f"missing on this machine:\n{lines}{remedy}")

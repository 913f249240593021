"""Fill root folders with Debian's packages, Python distributions and files; the host's own apt sources are used."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from e2e.clusters.bare.prerequisites import SYSTEM_PATH, MissingPrerequisiteError, find_tool

SUITE = "bookworm"
PYTHON = "3.11"
SITE = Path("usr/local/lib/python3.11/dist-packages")
_SOURCES = Path("/etc/apt")
_NOT_NEEDED = ("usr/share/man", "usr/share/locale", "usr/share/doc", "usr/share/info")
_IN_CHROOT = """
set -e
mount -t proc proc "$1/proc"
mount --rbind /dev "$1/dev"
mount --bind /etc/resolv.conf "$1/etc/resolv.conf"
export DEBIAN_FRONTEND=noninteractive
root="$1"; shift
chroot "$root" apt-get update -q
chroot "$root" apt-get install -y -q --no-install-recommends "$@"
chroot "$root" apt-get clean
"""


def debian_base(root: Path, *, packages: Sequence[str]) -> None:
    """A minimal Debian with some packages."""
    excluded = [f"--dpkgopt=path-exclude=/{folder}/*" for folder in _NOT_NEEDED]
    _run(
        [
            find_tool("mmdebstrap"),
            "--mode=root",
            "--variant=apt",
            "--aptopt=Apt::Install-Recommends 0",
            *excluded,
            f"--include={','.join(packages)}",
            SUITE,
            str(root),
            *(str(path) for path in _host_sources()),
        ]
    )


def add_debian_packages(root: Path, packages: Sequence[str]) -> None:
    """Install packages into a root folder that has apt."""
    resolver = root / "etc/resolv.conf"
    resolver.touch()
    shell = ["sh", "-c", _IN_CHROOT, "install", str(root), *packages]
    _run([find_tool("unshare"), "--mount", "--propagation", "private", *shell])
    for folder in ("var/lib/apt/lists", "var/cache/apt", *_NOT_NEEDED):
        shutil.rmtree(root / folder, ignore_errors=True)


def add_python_packages(site: Path, *, requirements: Path) -> None:
    """Unpack exactly what a hashed requirement file names, nothing else, for the images' Python."""
    _run(
        [
            *_pip_install(site),
            "--require-hashes",
            "--python-platform=x86_64-manylinux_2_35",
            "--only-binary=:all:",
            f"--requirement={requirements}",
        ]
    )


def add_wheel(site: Path, wheel: Path) -> None:
    """Unpack one wheel without what it depends on."""
    _run([*_pip_install(site), str(wheel)])


def build_wheel(project: Path, out: Path) -> Path:
    """The project's own wheel."""
    _run([find_tool("uv"), "build", "--quiet", "--wheel", "--out-dir", str(out), str(project)])
    return next(out.glob("*.whl"))


def compile_bytecode(root: Path) -> None:
    """Compile what was unpacked: the images' root is read-only, so nothing could be compiled at run time."""
    _run(["chroot", str(root), "python3", "-m", "compileall", "-q", "-j", "0", f"/{SITE}"])


def remove(root: Path, patterns: Sequence[str]) -> None:
    """Delete what the patterns match below the root."""
    for pattern in patterns:
        for path in root.glob(pattern):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


def _pip_install(site: Path) -> list[str]:
    flags = ["--quiet", "--no-deps", "--link-mode=copy", f"--python-version={PYTHON}"]
    return [find_tool("uv"), "pip", "install", *flags, f"--target={site}"]


def _host_sources() -> list[Path]:
    """The host's apt source files that serve the suite."""
    files = [_SOURCES / "sources.list", *sorted((_SOURCES / "sources.list.d").glob("*"))]
    readable = [path for path in files if path.suffix in {".list", ".sources"} and path.is_file()]
    found = [path for path in readable if _serves_suite(path)]
    if not found:
        raise MissingPrerequisiteError(
            f"no apt source under {_SOURCES} serves Debian {SUITE} main, from which the images are made: "
            f"run on Debian 12, or add a source of {SUITE}"
        )
    return found


def _serves_suite(path: Path) -> bool:
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    words = " ".join(lines).split()
    return (
        "main" in words
        and any(word == SUITE or word.startswith(f"{SUITE}-") for word in words)
        and "debian" in str(words)
    )


def _run(command: list[str]) -> None:
    environment = os.environ | {"PATH": f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"}
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, env=environment, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        said = (done.stdout + done.stderr).strip()[-3000:]
        raise RuntimeError(f"{' '.join(command)[:300]} failed (exit {done.returncode}):\n{said}")

"""Build the cluster's programs from the committed Go modules, once per content, into the cache."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from e2e.cache import cache_root, digest_of, files_below, locked
from e2e.clusters.bare.prerequisites import find_tool
from e2e.progress import step

_MODULES = Path(__file__).parent / "go"
KUBERNETES_VERSION = "v1.36.3"
_COMPONENTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubelet", "kube-proxy", "kubectl")
_STAMPED = ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version")


@dataclass(frozen=True)
class Program:
    """One Go module folder, what to build in it, and the names the results go by."""

    module: str
    packages: tuple[str, ...]
    built: tuple[str, ...]
    links: tuple[tuple[str, str], ...] = ()


_PROGRAMS = (
    Program("pause", (".",), ("pause",)),
    Program("containerd", ("tool",), ("containerd", "containerd-shim-runc-v2", "ctr", "host-local", "loopback", "ptp")),
    Program("etcd", ("go.etcd.io/etcd/server/v3",), ("server",), (("etcd", "server"),)),
    Program("kubernetes", (".",), ("kubernetes",), tuple((name, "kubernetes") for name in _COMPONENTS)),
    Program("coredns", (".",), ("coredns",)),
    Program("helm", ("tool",), ("helm", "helm-unittest", "kubeconform")),
)
_STORE = Program("versitygw", ("tool",), ("versitygw",))


@dataclass(frozen=True)
class Binaries:
    """The folder that holds every program under its usual name."""

    folder: Path

    def path(self, name: str) -> str:
        return str(self.folder / name)


def build_binaries() -> Binaries:
    """Build what the cache lacks; return the folder of links to all programs."""
    folders = {program.module: _build(program) for program in _PROGRAMS}
    everything = cache_root() / "bin" / f"all-{digest_of(texts=[str(path) for path in folders.values()])}"
    if not everything.exists():
        with locked(cache_root() / "locks" / "bin"):
            _link_all(everything, folders)
    return Binaries(everything)


def build_pause() -> Path:
    """The program that pods' sandboxes run, without waiting for the others."""
    return _build(_PROGRAMS[0]) / "pause"


def build_versitygw() -> Path:
    """The S3 server of the bench; only what needs an S3 store waits for it."""
    return _build(_STORE) / "versitygw"


def _link_all(target: Path, folders: dict[str, Path]) -> None:
    staged = Path(tempfile.mkdtemp(dir=target.parent))
    staged.chmod(0o755)
    for program in _PROGRAMS:
        names = [(name, name) for name in program.built] + list(program.links)
        for link, name in names:
            (staged / link).symlink_to(folders[program.module] / name)
    if target.exists():
        shutil.rmtree(staged)
    else:
        staged.rename(target)


def _build(program: Program) -> Path:
    """The folder with one module's programs; a second caller waits for the first and finds it made."""
    target = cache_root() / "bin" / f"{program.module}-{_key(program)}"
    if target.exists():
        return target
    with locked(cache_root() / "locks" / f"build-{program.module}"):
        if not target.exists():
            with step(f"build {program.module} from Go modules"):
                _compile(program, target)
    return target


def _key(program: Program) -> str:
    return digest_of(texts=[_go_version(), *_arguments(program)], files=files_below(_MODULES / program.module))


def _go_version() -> str:
    return subprocess.run([find_tool("go"), "env", "GOVERSION"], check=True, capture_output=True, text=True).stdout


def _arguments(program: Program) -> list[str]:
    major, minor, _ = KUBERNETES_VERSION.removeprefix("v").split(".")
    stamps = {"gitVersion": KUBERNETES_VERSION, "gitMajor": major, "gitMinor": minor, "gitTreeState": "clean"}
    flags = [f"-X {package}.{name}={value}" for package in _STAMPED for name, value in stamps.items()]
    linker = " ".join(["-s -w", *(flags if program.module == "kubernetes" else [])])
    return ["build", "-trimpath", "-buildvcs=false", "-ldflags", linker]


def _compile(program: Program, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    staged = Path(tempfile.mkdtemp(dir=target.parent))
    staged.chmod(0o755)
    command = [find_tool("go"), *_arguments(program), "-o", f"{staged}/", *program.packages]
    done = subprocess.run(
        command,
        cwd=_MODULES / program.module,
        env=os.environ | {"CGO_ENABLED": "0", "GOGC": "800"},  # the compiler itself: a quarter less CPU for more memory
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        shutil.rmtree(staged)
        raise RuntimeError(f"go build of {program.module} failed (exit {done.returncode}):\n{done.stderr[-3000:]}")
    for name in program.built:
        if not (staged / name).is_file():
            raise RuntimeError(
                f"go build of {program.module} made {sorted(path.name for path in staged.iterdir())}, not {name}"
            )
    staged.rename(target)

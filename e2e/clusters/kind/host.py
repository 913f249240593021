"""What this machine offers (Docker, GPUs, NVIDIA's container toolkit), and so which GPUs the cluster gets, and why."""

from __future__ import annotations

import json
import re
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from e2e.clusters.programs import NOT_FOUND, Answer, Run

GPU_CHOICES = ("auto", "real", "fake")
TOOLKIT_CONFIG = Path("/etc/nvidia-container-runtime/config.toml")
VOLUME_MOUNTS = "accept-nvidia-visible-devices-as-volume-mounts"
KIND_VERSION = "v0.33.0"
DOCKER_INFO = ("docker", "info", "--format", "{{json .}}")
LIST_GPUS = ("nvidia-smi", "-L")
TOOLKIT_VERSION = ("nvidia-ctk", "--version")
_WAYS = {
    "docker": "install Docker Engine: https://docs.docker.com/engine/install/",
    "kind": f"go install sigs.k8s.io/kind@{KIND_VERSION}, and put $(go env GOPATH)/bin on PATH",
    "kubectl": "https://kubernetes.io/docs/tasks/tools/",
    "helm": "https://helm.sh/docs/intro/install/",
}
_GPU = re.compile(r"^GPU \d+: (.+) \(UUID: GPU-[^)]+\)$", re.MULTILINE)
_MIG = re.compile(r"^\s+MIG \S+\s+Device\s+\d+: \(UUID: MIG-[^)]+\)$", re.MULTILINE)
_TOOLKIT = re.compile(r"^NVIDIA Container Toolkit CLI version (\d+\.\d+\.\d+)$", re.MULTILINE)


class KindError(RuntimeError):
    """The cluster cannot be made, or used, as asked; the message says what to do."""


@dataclass(frozen=True)
class Host:
    """What was seen on this machine."""

    default_runtime: str
    gpus: tuple[str, ...] = ()
    mig_devices: int = 0
    volume_mounts: bool = False
    toolkit: str = ""


@dataclass(frozen=True)
class Choice:
    """Real GPUs or fake ones, and why; `toolkit` is the version of NVIDIA's that goes into the nodes."""

    real: bool
    reason: str
    toolkit: str = ""


def look(run: Run, *, toolkit_config: Path = TOOLKIT_CONFIG) -> Host:
    """Ask Docker and NVIDIA's tools; a machine that cannot carry a kind cluster at all is refused with the remedy."""
    for program, arguments in (
        ("docker", "--version"),
        ("kind", "version"),
        ("kubectl", "version --client"),
        ("helm", "version"),
    ):
        _must_be_there(program, run([program, *arguments.split()]))
    info = run(DOCKER_INFO)
    if not info.good:
        raise KindError(
            f"Docker's daemon does not answer: {_last_line(info.stderr)}\nStart it (sudo systemctl start docker), "
            "and let your user use it (sudo usermod -aG docker $USER, then log in anew)"
        )
    names, mig_devices = gpus_in(run(LIST_GPUS).stdout)
    version = _TOOLKIT.search(run(TOOLKIT_VERSION).stdout)
    return Host(
        default_runtime=str(json.loads(info.stdout).get("DefaultRuntime", "")),
        gpus=names,
        mig_devices=mig_devices,
        volume_mounts=accepts_volume_mounts(toolkit_config),
        toolkit=version.group(1) if version else "",
    )


def gpus_in(listed: str) -> tuple[tuple[str, ...], int]:
    """The names of the GPUs, and the number of MIG devices, in the output of `nvidia-smi -L`."""
    return tuple(_GPU.findall(listed)), len(_MIG.findall(listed))


def accepts_volume_mounts(config: Path) -> bool:
    """Whether the container toolkit hands out GPUs by mounts: the only way that kind has to ask for them."""
    try:
        return tomllib.loads(config.read_text()).get(VOLUME_MOUNTS) is True
    except FileNotFoundError:
        return False


def choose(host: Host, wanted: str) -> Choice:
    """Real GPUs where all is ready for them and nobody asked for fake ones; what is missing is said with its remedy."""
    if wanted not in GPU_CHOICES:
        raise KindError(f"GPUs {wanted!r}: use one of {', '.join(GPU_CHOICES)}")
    if wanted == "fake":
        return Choice(real=False, reason="fake GPUs were asked for")
    missing = lacking(host)
    if not missing:
        return Choice(real=True, reason=_offered(host), toolkit=host.toolkit)
    if wanted == "real":
        raise KindError("real GPUs were asked for, and this machine is not ready for them:\n" + _list(missing))
    if not host.gpus:
        return Choice(real=False, reason="no GPU on this machine (nvidia-smi -L lists none)")
    return Choice(real=False, reason=f"{_offered(host)}, but not ready for kind:\n{_list(missing)}")


def lacking(host: Host) -> list[str]:
    """What stands between this machine and a kind cluster on its GPUs, each with the command that mends it."""
    restart = "sudo systemctl restart docker"
    default = f"sudo nvidia-ctk runtime configure --runtime=docker --set-as-default && {restart}"
    checks = [
        (not host.gpus, "nvidia-smi -L lists no GPU: install NVIDIA's driver"),
        (not host.toolkit, "nvidia-ctk is missing: install NVIDIA's container toolkit"),
        (host.default_runtime != "nvidia", f"Docker's default runtime is {host.default_runtime!r}: {default}"),
        (
            not host.volume_mounts,
            f"{VOLUME_MOUNTS} is off: sudo nvidia-ctk config --set {VOLUME_MOUNTS}=true --in-place && {restart}",
        ),
    ]
    return [text for missing, text in checks if missing]


def _offered(host: Host) -> str:
    cut = f"cut into {host.mig_devices} MIG devices" if host.mig_devices else "not cut: offered whole"
    return f"{len(host.gpus)} × {' and '.join(dict.fromkeys(host.gpus))}, {cut}"


def _must_be_there(program: str, answer: Answer) -> None:
    if answer.returncode == NOT_FOUND:
        raise KindError(f"{program} is not on PATH: {_WAYS[program]}")


def _list(lines: Sequence[str]) -> str:
    return "\n".join(f"  {line}" for line in lines)


def _last_line(text: str) -> str:
    lines = text.strip().splitlines()
    return lines[-1] if lines else "it said nothing"

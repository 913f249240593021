"""Fake GPUs of a node: devices by resource, health, and the labels that NVIDIA's feature discovery would write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PRODUCT = "NVIDIA-H100-80GB-HBM3"
WHOLE_GPU = "nvidia.com/gpu"
PREFIX = "nvidia.com/"
DEFAULT_LAYOUT: Mapping[str, int] = {"nvidia.com/mig-1g.10gb": 7}


@dataclass(frozen=True)
class Profile:
    """One MIG profile of an H100 80GB SXM5; memory in MiB."""

    sms: int
    memory_mib: int
    compute_slices: int
    copy: int
    decoders: int
    jpeg: int
    ofa: int = 0


PROFILES: Mapping[str, Profile] = {
    "1g.10gb": Profile(16, 9984, 1, 1, 1, 1),
    "1g.10gb.me": Profile(16, 9984, 1, 1, 1, 1, 1),
    "1g.20gb": Profile(26, 20096, 1, 1, 1, 1),
    "2g.20gb": Profile(32, 20096, 2, 2, 2, 2),
    "3g.40gb": Profile(60, 40448, 3, 3, 3, 3),
    "4g.40gb": Profile(64, 40448, 4, 4, 4, 4),
    "7g.80gb": Profile(132, 81152, 7, 8, 7, 7, 1),
}


class UnknownResourceError(ValueError):
    """A resource that no H100 offers."""


def profile_of(resource: str) -> Profile | None:
    """The profile behind a resource name; None for whole GPUs."""
    if resource == WHOLE_GPU:
        return None
    name = resource.removeprefix("nvidia.com/mig-")
    if name not in PROFILES:
        raise UnknownResourceError(
            f"resource {resource!r}: use {WHOLE_GPU} or nvidia.com/mig-<one of {sorted(PROFILES)}>"
        )
    return PROFILES[name]


def labels(layout: Mapping[str, int]) -> dict[str, str]:
    """Node labels under the mixed strategy for a layout (resource → count)."""
    whole = layout.get(WHOLE_GPU, 0)
    found = {
        "cuda.driver-version.major": "580",
        "cuda.driver-version.minor": "159",
        "cuda.driver-version.revision": "04",
        "cuda.driver-version.full": "580.159.04",
        "gpu.present": "true",
        "gpu.product": PRODUCT,
        "gpu.family": "hopper",
        "gpu.machine": "yolofleet-bench",
        "gpu.mode": "compute",
        "gpu.memory": "81559",
        "gpu.compute.major": "9",
        "gpu.compute.minor": "0",
        "gpu.count": str(max(1, whole)),
        "gpu.replicas": "1" if whole else "0",
        "gpu.sharing-strategy": "none",
        "mps.capable": "false",
        "mig.capable": "true",
        "mig.strategy": "mixed",
        "mig.config.state": "success",
    }
    for resource, count in sorted(layout.items()):
        profile = profile_of(resource)
        if profile is not None and count:
            found |= _profile_labels(resource.removeprefix(PREFIX), profile, count)
    return {f"{PREFIX}{key}": value for key, value in found.items()}


def _profile_labels(prefix: str, profile: Profile, count: int) -> dict[str, str]:
    values = {
        "count": str(count),
        "replicas": "1",
        "sharing-strategy": "none",
        "product": f"{PRODUCT}-MIG-{prefix.removeprefix('mig-')}",
        "memory": str(profile.memory_mib),
        "multiprocessors": str(profile.sms),
        "slices.gi": str(profile.compute_slices),
        "slices.ci": str(profile.compute_slices),
        "engines.copy": str(profile.copy),
        "engines.decoder": str(profile.decoders),
        "engines.encoder": "0",
        "engines.jpeg": str(profile.jpeg),
        "engines.ofa": str(profile.ofa),
    }
    return {f"{prefix}.{key}": value for key, value in values.items()}


@dataclass(frozen=True)
class Device:
    """One fake device."""

    uuid: str
    healthy: bool = True


@dataclass(frozen=True)
class GpuState:
    """The file that the device plugin reads: devices by resource."""

    path: Path

    def read(self) -> dict[str, list[Device]]:
        """The devices as they stand; nothing when the file is not there yet."""
        try:
            found = json.loads(self.path.read_text())
        except FileNotFoundError:
            return {}
        return {resource: [Device(**device) for device in devices] for resource, devices in found.items()}

    def write(self, devices: Mapping[str, list[Device]]) -> None:
        """Replace the file whole, so that a reader never sees a part of it."""
        plain = {name: [vars(device) for device in group] for name, group in sorted(devices.items())}
        staged = self.path.with_suffix(".new")
        staged.write_text(json.dumps(plain, indent=1))
        staged.replace(self.path)

    def set_layout(self, layout: Mapping[str, int], *, node: str) -> None:
        """Repartition: healthy devices with fresh names; resources that are gone offer none."""
        for resource in layout:
            profile_of(resource)
        devices = {
            resource: [Device(_uuid(node, resource, index)) for index in range(count)]
            for resource, count in layout.items()
        }
        gone: dict[str, list[Device]] = {resource: [] for resource in self.read() if resource not in devices}
        self.write(devices | gone)

    def set_health(self, resource: str, index: int, *, healthy: bool) -> None:
        """Make one device of a resource healthy or not."""
        devices = self.read()
        if resource not in devices or not 0 <= index < len(devices[resource]):
            raise UnknownResourceError(
                f"{resource} #{index}: the layout has { ({k: len(v) for k, v in devices.items()}) }"
            )
        devices[resource][index] = Device(devices[resource][index].uuid, healthy=healthy)
        self.write(devices)


def _uuid(node: str, resource: str, index: int) -> str:
    kind = "GPU" if resource == WHOLE_GPU else "MIG"
    return f"{kind}-{node}-{resource.removeprefix(PREFIX)}-{index}"

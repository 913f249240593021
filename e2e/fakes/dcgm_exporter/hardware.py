"""The physical GPUs behind a node's fake devices: which GPU instance of which GPU each device is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from e2e.fakes.gpus import PREFIX, PRODUCT, WHOLE_GPU, Device, profile_of

MODEL = PRODUCT.replace("-", " ")
_SLICES = 7
_WHOLE_MEMORY_MIB = 81_559
_FIRST_INSTANCE_ID = {"1g.10gb": 7, "1g.10gb.me": 7, "1g.20gb": 15, "2g.20gb": 3, "3g.40gb": 1, "4g.40gb": 1}
"""Where the driver of an H100 begins to count the GPU instances of a profile; 7g.80gb is instance 0."""


@dataclass(frozen=True)
class Entity:
    """What one row is about: a GPU instance, or a GPU that is not cut (no profile)."""

    device_id: str
    gpu: int
    node: str
    profile: str = ""
    instance_id: int | None = None
    memory_mib: int = _WHOLE_MEMORY_MIB
    share: float = 1.0

    @property
    def uuid(self) -> str:
        """The GPU's own UUID, the same for all of its instances."""
        text = hashlib.sha256(f"{self.node}/{self.gpu}".encode()).hexdigest()
        return f"GPU-{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:32]}"

    @property
    def pci_bus_id(self) -> str:
        return f"00000000:{0x18 + 0x10 * self.gpu:02X}:00.0"


@dataclass
class _Gpu:
    index: int
    free: int = _SLICES
    taken: set[int] = field(default_factory=set)

    def next_id(self, profile: str) -> int:
        instance = _FIRST_INSTANCE_ID.get(profile, 0)
        while instance in self.taken:
            instance += 1
        self.taken.add(instance)
        return instance


def entities(devices: Mapping[str, Sequence[Device]], *, node: str) -> list[Entity]:
    """Lay the MIG devices out on as few GPUs as hold them, the largest first; whole GPUs come after them."""
    gpus: list[_Gpu] = []
    cut = [resource for resource in devices if resource != WHOLE_GPU]
    found = []
    for resource in sorted(cut, key=lambda name: (-_slices(name), name)):
        for device in devices[resource]:
            gpu = next((gpu for gpu in gpus if gpu.free >= _slices(resource)), None)
            if gpu is None:
                gpu = _Gpu(len(gpus))
                gpus.append(gpu)
            gpu.free -= _slices(resource)
            found.append(_instance(device, gpu, resource, node))
    whole = [Entity(device.uuid, len(gpus) + i, node) for i, device in enumerate(devices.get(WHOLE_GPU, ()))]
    return sorted(found, key=lambda entity: (entity.gpu, entity.instance_id)) + whole


def _slices(resource: str) -> int:
    profile = profile_of(resource)
    return _SLICES if profile is None else profile.compute_slices


def _instance(device: Device, gpu: _Gpu, resource: str, node: str) -> Entity:
    name = resource.removeprefix(f"{PREFIX}mig-")
    profile = profile_of(resource)
    memory = _WHOLE_MEMORY_MIB if profile is None else profile.memory_mib
    share = _slices(resource) / _SLICES
    return Entity(device.uuid, gpu.index, node, name, gpu.next_id(name), memory, share)

"""From what a node or a ResourceSlice says to a capability: by parts of the name, tolerant of a gigabyte.

Drivers do not agree on names (`7g.79gb` and `7g.80gb`, `3g.39gb` and `3g.40gb`): slices, memory and attributes
count, not the string. What the hardware itself says goes before the tables; what neither knows is refused, with
what was seen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from yolofleet.planning.capabilities.model import Capability, Gpu, parse_profile
from yolofleet.planning.capabilities.tables import GPUS

DRIFT_GB = 1
MEMORY_LABEL = "nvidia.com/gpu.memory"
_MEMORY_TOLERANCE = 0.03  # what a driver keeps for itself, and ECC
_LABELS = {
    "sm_count": "multiprocessors",
    "memory_mib": "memory",
    "decoders": "engines.decoder",
    "jpeg": "engines.jpeg",
    "ofa": "engines.ofa",
    "copy_engines": "engines.copy",
}
_CAPACITIES = {
    "sm_count": "multiprocessors",
    "decoders": "decoders",
    "jpeg": "jpegEngines",
    "ofa": "ofaEngines",
    "copy_engines": "copyEngines",
}


@dataclass(frozen=True)
class Unknown:
    """A product or profile that nobody vouches for; `message` says what was seen, and what would help."""

    message: str


def gpu_of(product: str, *, memory_mib: int | None = None) -> Gpu | Unknown:
    """Find a product by its label `nvidia.com/gpu.product`, else by family and memory of the whole GPU."""
    exact = [gpu for gpu in GPUS if product in gpu.labels]
    if exact:
        return exact[0]
    near = [gpu for gpu in GPUS if memory_mib is not None and _alike(gpu, product, memory_mib)]
    if len(near) == 1:
        return near[0]
    seen = f"GPU product {product!r}" + (f" with {memory_mib} MiB" if memory_mib is not None else "")
    known = ", ".join(label for gpu in GPUS for label in gpu.labels)
    meant = f" could be {' or '.join(gpu.key for gpu in near)}" if near else " is in no table"
    return Unknown(f"{seen}{meant}; known: {known}; add a row to planning/capabilities/tables.py")


def _alike(gpu: Gpu, product: str, memory_mib: int) -> bool:
    return gpu.family in product.split("-") and abs(gpu.memory_mib - memory_mib) <= _MEMORY_TOLERANCE * gpu.memory_mib


def resolve(gpu: Gpu, profile: str) -> Capability | Unknown:
    """Find a profile of a product: same compute slices and attributes, memory within a gigabyte."""
    name = parse_profile(profile)
    near = (
        [
            one
            for one in gpu.profiles
            if (one.name.compute, one.name.attributes) == (name.compute, name.attributes)
            and abs(one.name.memory_gb - name.memory_gb) <= DRIFT_GB
        ]
        if name
        else []
    )
    if name and near:
        return min(near, key=lambda one: abs(one.name.memory_gb - name.memory_gb))
    offered = ", ".join(one.profile for one in gpu.profiles)
    return Unknown(f"profile {profile!r} is none of {gpu.key}: it has {offered} (memory ± {DRIFT_GB} GB)")


def capability(product: str, profile: str, labels: Mapping[str, str]) -> Capability | Unknown:
    """Return what a slice is worth on a node with these labels; its own labels go before the tables.

    Both strategies of NVIDIA's device plugin are read: *mixed* has labels per profile, *single* plain ones.
    """
    whole, _, sliced = product.partition("-MIG-")
    gpu = gpu_of(whole, memory_mib=None if sliced else _number(labels.get(MEMORY_LABEL)))
    if isinstance(gpu, Unknown):
        return gpu
    found = resolve(gpu, profile)
    if isinstance(found, Unknown):
        return found
    prefix = "nvidia.com/gpu." if sliced else f"nvidia.com/mig-{profile.replace('+', '.')}."
    return _corrected(found, {field: labels.get(prefix + word) for field, word in _LABELS.items()}, "node labels")


def from_device(attributes: Mapping[str, str], capacities: Mapping[str, int | str]) -> Capability | Unknown:
    """Return what a MIG device of a ResourceSlice is worth; attributes and capacities without their domain.

    Memory is in bytes there; counts are plain numbers.
    """
    product, profile = attributes.get("productName", ""), attributes.get("profile", "")
    gpu = gpu_of(product.replace(" ", "-"))
    found = gpu if isinstance(gpu, Unknown) else resolve(gpu, profile)
    if isinstance(found, Unknown):
        return found
    told = {field: capacities.get(word) for field, word in _CAPACITIES.items()}
    memory = _number(capacities.get("memory"))
    told["memory_mib"] = None if memory is None else memory // 2**20
    return _corrected(found, told, "ResourceSlice")


def _corrected(table: Capability, told: Mapping[str, int | str | None], origin: str) -> Capability:
    numbers: dict[str, Any] = {field: number for field, value in told.items() if (number := _number(value)) is not None}
    if not numbers:
        return table
    return replace(table, source=f"{origin} ({', '.join(sorted(numbers))}); else {table.source}", **numbers)


def _number(value: int | str | None) -> int | None:
    return int(value) if value is not None and str(value).isdecimal() else None

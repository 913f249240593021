"""Slice profiles as nodes offer them: from resource names and labels to offers, in order of size.

Strategies of NVIDIA's device plugin: *mixed* has one resource per profile (`nvidia.com/mig-1g.10gb`); *single*
calls every slice `nvidia.com/gpu` and names the profile in the product label (`…-MIG-1g.10gb`); *none* has whole
GPUs as `nvidia.com/gpu`, which is profile `gpu` here. Names that the API does not know (`1c.3g.20gb`, renamed or
shared resources) are left alone, not guessed at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pydantic import TypeAdapter, ValidationError

from yolofleet.api.base import Profile

if TYPE_CHECKING:
    from yolofleet.planning.snapshot import NodeView

WHOLE = "gpu"
GPU_RESOURCE = "nvidia.com/gpu"
MIG_PREFIX = "nvidia.com/mig-"
PRODUCT_LABEL = "nvidia.com/gpu.product"
_SINGLE = re.compile(r"^(?P<product>.+)-MIG-(?P<profile>[1-9][0-9]?g\..+)$")
_PROFILE: TypeAdapter[str] = TypeAdapter(Profile)
_SIZE = re.compile(r"^(?P<compute>[0-9]+)g\.(?P<memory>[0-9]+)gb(?P<attributes>.*)$")


@dataclass(frozen=True)
class Offer:
    """Devices of one profile on one node; `product` is None where no label tells it."""

    node: str
    profile: str
    resource: str
    product: str | None
    product_label: str | None
    allocatable: int
    labels: tuple[tuple[str, str], ...] = ()


def size_of(profile: str) -> tuple[int, int, str]:
    """Return the sort key of a profile: compute slices, memory in GB, attributes; a whole GPU comes last."""
    match = _SIZE.match(profile)
    if not match:
        return (1000, 0, profile)
    return (int(match["compute"]), int(match["memory"]), match["attributes"])


def slug(profile: str) -> str:
    """Return the profile as a part of object names: `1g.10gb+me` → `1g-10gb-me`, `1g.10gb-me` → `1g-10gb-no-me`."""
    return re.sub(r"[^a-z0-9]+", "-", profile.lower().replace("-", "-no-")).strip("-")


def offers(nodes: Iterable[NodeView]) -> tuple[Offer, ...]:
    """Return what Ready, schedulable nodes offer, smallest profile first, ties by node name."""
    found = [
        offer
        for node in nodes
        if node.ready and node.schedulable
        for resource, count in node.devices.items()
        if count > 0 and (offer := _offer(node, resource, count))
    ]
    return tuple(sorted(found, key=lambda o: (*size_of(o.profile), o.node)))


def _offer(node: NodeView, resource: str, count: int) -> Offer | None:
    profile = profile_behind(resource, node.labels)
    if profile is None or not known(profile):
        return None
    label = node.labels.get(PRODUCT_LABEL)
    single = _SINGLE.match(label) if label else None
    product = single["product"] if single else label
    return Offer(node.name, profile, resource, product, label, count, tuple(sorted(node.labels.items())))


def profile_behind(resource: str, labels: Mapping[str, str]) -> str | None:
    """Return the profile that a node means by a resource: strategy *single* calls slices `nvidia.com/gpu`, too."""
    if resource.startswith(MIG_PREFIX):
        return resource.removeprefix(MIG_PREFIX)
    if resource != GPU_RESOURCE:
        return None
    single = _SINGLE.match(labels.get(PRODUCT_LABEL, ""))
    return single["profile"] if single else WHOLE


def known(profile: str) -> bool:
    """Tell whether the API has a word for this profile."""
    try:
        return bool(_PROFILE.validate_python(profile))
    except ValidationError:
        return False


def same_profile(asked: str, offered: str) -> bool:
    """Tell whether two names mean one profile; `+me` is `.me` in resource names."""
    return asked.replace("+", ".") == offered.replace("+", ".")

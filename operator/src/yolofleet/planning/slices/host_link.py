"""What a slice may take of its GPU's link to the host: frames travel there, and MIG shares the link out to nobody.

Every slice is planned with its share of the link by memory slices, so whatever lies beside it, a GPU's slices together
never take more than the link carries.
"""

from __future__ import annotations

from functools import cache

from yolofleet.planning.capabilities import Gpu, Unknown, gpu_of, resolve
from yolofleet.planning.slices.profiles import WHOLE, size_of

USABLE = 0.8
"""The part of a link that is planned with: the rest is for the protocol, for answers, and for what is not frames."""
GB = 1e9


@cache
def share_of(product: str, profile: str) -> float:
    """Return how much of a GPU a slice takes, by memory slices; what no table knows by its name's compute slices."""
    if profile == WHOLE:
        return 1.0
    gpu = gpu_of(product)
    worth = resolve(gpu, profile) if isinstance(gpu, Gpu) else gpu
    if isinstance(gpu, Unknown) or isinstance(worth, Unknown):
        return min(1.0, size_of(profile)[0] / 7)
    return worth.memory_slices / gpu.memory_slices


@cache
def link_of(product: str) -> float | None:
    """Return the bytes per second that a GPU's link to the host may be planned with, by the tables; None: unknown."""
    gpu = gpu_of(product)
    told = gpu.host_gb_s if isinstance(gpu, Gpu) else None
    return None if told is None else told * GB * USABLE

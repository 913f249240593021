"""What a slice profile is worth on a GPU product: SMs, memory, decoders, JPEG engines, and where it may lie."""

from yolofleet.planning.capabilities.lookup import (
    Unknown,
    capability,
    from_device,
    gpu_of,
    resolve,
)
from yolofleet.planning.capabilities.model import Capability, Gpu, ProfileName, parse_profile
from yolofleet.planning.capabilities.tables import GPUS

__all__ = [
    "GPUS",
    "Capability",
    "Gpu",
    "ProfileName",
    "Unknown",
    "capability",
    "from_device",
    "gpu_of",
    "parse_profile",
    "resolve",
]

"""The words for what a slice is: its name taken apart, and what hardware stands behind it."""

from __future__ import annotations

import re
from dataclasses import dataclass

_NAME = re.compile(r"^(?P<compute>[1-9][0-9]?)g\.(?P<memory>[1-9][0-9]{0,3})gb(?P<extra>[.+-][a-z]{2,4}(?:\.all)?)?$")


@dataclass(frozen=True, order=True)
class ProfileName:
    """A MIG profile by what its name says: compute slices, memory in GB, attributes (`+me`, `-me`, …)."""

    compute: int
    memory_gb: int
    attributes: str = ""


def parse_profile(name: str) -> ProfileName | None:
    """Take a profile's name apart; `.me` of resource names is `+me`; None for what is no MIG profile."""
    match = _NAME.match(name)
    if not match:
        return None
    return ProfileName(int(match["compute"]), int(match["memory"]), (match["extra"] or "").replace(".", "+", 1))


@dataclass(frozen=True)
class Capability:
    """One profile on one product; what no source tells is None, never zero.

    `starts` and `memory_slices` say where a slice may lie, in memory slices; `limit` how many fit on one GPU.
    """

    profile: str
    compute_slices: int
    memory_slices: int
    starts: tuple[int, ...]
    limit: int
    sm_count: int | None
    memory_mib: int | None
    decoders: int | None
    jpeg: int | None
    ofa: int | None
    copy_engines: int | None
    source: str

    @property
    def name(self) -> ProfileName:
        """Return the profile's name, taken apart."""
        parsed = parse_profile(self.profile)
        if parsed is None:
            raise ValueError(f"{self.profile!r} is no MIG profile")
        return parsed


@dataclass(frozen=True)
class Gpu:
    """A product: the labels that NVIDIA's feature discovery gives it, its SMs, and its profiles.

    `family` and `memory_mib` recognise a label that is not in `labels`: the family is a word of it. `host_gb_s` is what
    its link to the host carries towards the GPU, in 10⁹ bytes per second by the standard of the link, None: unknown.
    """

    key: str
    labels: tuple[str, ...]
    family: str
    memory_mib: int
    sm_count: int
    memory_slices: int
    profiles: tuple[Capability, ...]
    host_gb_s: float | None = None

"""Engine activity of pods from the page of NVIDIA's DCGM exporter, whose rows lack now this and now that."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from yolofleet.observe import text_format

ENERGY = "DEV_TOTAL_ENERGY_CONSUMPTION"
ENGINE, TENSOR, DRAM = "PROF_GR_ENGINE_ACTIVE", "PROF_PIPE_TENSOR_ACTIVE", "PROF_DRAM_ACTIVE"
_WANTED = text_format.chosen("DCGM_FI_", ENGINE, TENSOR, DRAM, ENERGY)
LITTLE_MORE_THAN_ALL = 1.05


@dataclass(frozen=True)
class Activity:
    """Shares from 0 to 1 of a pod's slice; None where the exporter does not say it."""

    engine: float | None = None
    tensor: float | None = None
    dram: float | None = None


@dataclass(frozen=True)
class Page:
    """Activity by (namespace, pod); `unnamed` counts rows that name none, `energy` tells whether the page moves."""

    pods: dict[tuple[str, str], Activity] = field(default_factory=dict)
    rows: int = 0
    unnamed: int = 0
    energy: float = 0.0

    def why_not(self, namespace: str, pod: str) -> str:
        """Say why a pod's engine activity is not known."""
        if self.rows == 0:
            return "DCGM does not tell DCGM_FI_PROF_GR_ENGINE_ACTIVE; add it to the exporter's metrics"
        if self.unnamed == self.rows:
            return "DCGM names no pods; upgrade dcgm-exporter, and let it map pods to devices"
        return f"DCGM has no row for pod {namespace}/{pod}"


def extract(page: bytes) -> Page:
    """Read a page; a pod with several devices counts by its busiest."""
    found: dict[tuple[str, str], dict[str, float]] = {}
    rows = unnamed = 0
    energy = 0.0
    for family, told, figure in text_format.series(page, _WANTED):
        value = text_format.number(figure)
        if family == ENERGY:
            energy += value if math.isfinite(value) else 0.0
            continue
        namespace, pod = (told.get(name, b"").decode(errors="replace") for name in (b"namespace", b"pod"))
        holder = (namespace, pod)
        if family == ENGINE:
            rows += 1
            unnamed += not all(holder)
        if all(holder) and 0 <= value <= LITTLE_MORE_THAN_ALL:
            known = found.setdefault(holder, {})
            known[family] = max(known.get(family, 0.0), min(1.0, value))
    pods = {key: Activity(told.get(ENGINE), told.get(TENSOR), told.get(DRAM)) for key, told in found.items()}
    return Page(pods, rows, unnamed, energy)

"""The page as dcgm-exporter 4 prints it with NVIDIA's dcp-metrics-included.csv and one line for persistence mode.

By default (`--devices f`) a GPU that is cut has rows for its GPU instances only: what belongs to the whole GPU, such as
its temperature, stands in the row of each instance; DCGM_FI_DEV_GPU_UTIL is not there for instances at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from e2e.fakes.dcgm_exporter.defects import Defects, without
from e2e.fakes.dcgm_exporter.hardware import MODEL, Entity

DRIVER = "580.159.04"
_IDLE_MIB, _HELD_MIB, _RESERVED_SHARE = 13, 1_150, 0.006


@dataclass(frozen=True)
class Holder:
    """The container that holds a device."""

    container: str
    namespace: str
    pod: str


@dataclass(frozen=True)
class Row:
    """One entity at one moment; `gpu_active` is of the whole GPU, `energy_j` since the exporter began."""

    entity: Entity
    holder: Holder | None
    active: float
    gpu_active: float
    energy_j: float = 0.0

    @property
    def used_mib(self) -> int:
        return _IDLE_MIB if self.holder is None else _IDLE_MIB + _HELD_MIB

    @property
    def reserved_mib(self) -> int:
        return round(self.entity.memory_mib * _RESERVED_SHARE)

    @property
    def watts(self) -> float:
        return watts(self.gpu_active)


def watts(active: float) -> float:
    """Return the power that a GPU draws, made up between idle and its limit."""
    return 72.0 + 560.0 * active


@dataclass(frozen=True)
class Family:
    """One line of the exporter's CSV, and where the double's figure comes from."""

    name: str
    kind: str
    help: str
    value: Callable[[Row, Defects], str]
    on_instances: bool = True


def _gauge(name: str, told: str, value: Callable[[Row, Defects], float], digits: int = 0) -> Family:
    return Family(name, "gauge", told, lambda row, defects: f"{value(row, defects):.{digits}f}")


FAMILIES: tuple[Family, ...] = (
    _gauge(
        "DCGM_FI_DEV_SM_CLOCK", "SM clock frequency (in MHz).", lambda row, _: 1980 if row.gpu_active > 0.001 else 345
    ),
    _gauge("DCGM_FI_DEV_MEM_CLOCK", "Memory clock frequency (in MHz).", lambda _row, _: 2619),
    _gauge("DCGM_FI_DEV_MEMORY_TEMP", "Memory temperature (in C).", lambda row, _: 38 + 30 * row.gpu_active),
    _gauge(
        "DCGM_FI_DEV_GPU_TEMP",
        "GPU temperature (in C).",
        lambda row, d: 93 if row.entity.gpu in d.hot_gpus else 31 + 35 * row.gpu_active,
    ),
    _gauge("DCGM_FI_DEV_POWER_USAGE", "Power draw (in W).", lambda row, _: row.watts, digits=6),
    Family(
        "DCGM_FI_DEV_TOTAL_ENERGY_CONSUMPTION",
        "counter",
        "Total energy consumption since boot (in mJ).",
        lambda row, _: f"{row.energy_j * 1000:.0f}",
    ),
    Family("DCGM_FI_DEV_PCIE_REPLAY_COUNTER", "counter", "Total number of PCIe retries.", lambda _row, _: "0"),
    Family(
        "DCGM_FI_DEV_GPU_UTIL",
        "gauge",
        "GPU utilization (in %).",
        lambda row, _: f"{100 * row.active:.0f}",
        on_instances=False,
    ),
    _gauge(
        "DCGM_FI_DEV_XID_ERRORS",
        "Value of the last XID error encountered.",
        lambda row, d: 79 if row.entity.gpu in d.fallen_gpus else 0,
    ),
    _gauge(
        "DCGM_FI_DEV_FB_FREE",
        "Framebuffer memory free (in MiB).",
        lambda row, _: row.entity.memory_mib - row.used_mib - row.reserved_mib,
    ),
    _gauge("DCGM_FI_DEV_FB_USED", "Framebuffer memory used (in MiB).", lambda row, _: row.used_mib),
    _gauge("DCGM_FI_DEV_FB_RESERVED", "Framebuffer memory reserved (in MiB).", lambda row, _: row.reserved_mib),
    _gauge(
        "DCGM_FI_DEV_PERSISTENCE_MODE",
        "Persistence mode of the driver (0: off, 1: on).",
        lambda row, d: 0 if row.entity.gpu in d.without_persistence else 1,
    ),
    _gauge(
        "DCGM_FI_PROF_GR_ENGINE_ACTIVE",
        "Ratio of time the graphics engine is active.",
        lambda row, _: row.active,
        digits=6,
    ),
    _gauge(
        "DCGM_FI_PROF_PIPE_TENSOR_ACTIVE",
        "Ratio of cycles the tensor (HMMA) pipe is active.",
        lambda row, _: 0.4 * row.active,
        digits=6,
    ),
    _gauge(
        "DCGM_FI_PROF_DRAM_ACTIVE",
        "Ratio of cycles the device memory interface is active sending or receiving data.",
        lambda row, _: 0.3 * row.active,
        digits=6,
    ),
    _gauge(
        "DCGM_FI_PROF_PCIE_TX_BYTES",
        "The rate of data transmitted over the PCIe bus - including both protocol headers and data payloads - in bytes "
        "per second.",
        lambda row, _: 2e6 + 1e9 * row.gpu_active,
    ),
    _gauge(
        "DCGM_FI_PROF_PCIE_RX_BYTES",
        "The rate of data received over the PCIe bus - including both protocol headers and data payloads - in bytes "
        "per second.",
        lambda row, _: 3e6 + 4e9 * row.gpu_active,
    ),
)


def page(rows: Sequence[Row], defects: Defects, *, hostname: str) -> str:
    """Return the whole page."""
    printed = set(without([family.name for family in FAMILIES], defects))
    told = [_family(family, rows, defects, hostname) for family in FAMILIES if family.name in printed]
    return "".join(told)


def _family(family: Family, rows: Sequence[Row], defects: Defects, hostname: str) -> str:
    wanted = [row for row in rows if family.on_instances or not row.entity.profile]
    if not wanted:
        return ""
    head = f"# HELP {family.name} {family.help}\n# TYPE {family.name} {family.kind}\n"
    lines = [f"{family.name}{{{_labels(row, defects, hostname)}}} {family.value(row, defects)}\n" for row in wanted]
    return head + "".join(lines)


def _labels(row: Row, defects: Defects, hostname: str) -> str:
    """Return the labels in the exporter's own order: those of a holder are absent where there is none."""
    entity = row.entity
    told: dict[str, str] = {
        "gpu": str(entity.gpu),
        "UUID": entity.uuid,
        "pci_bus_id": entity.pci_bus_id,
        "device": f"nvidia{entity.gpu}",
        "modelName": MODEL,
    }
    if entity.profile:
        told |= {"GPU_I_PROFILE": entity.profile, "GPU_I_ID": str(entity.instance_id)}
    told |= {"Hostname": hostname, "DCGM_FI_DRIVER_VERSION": DRIVER}
    if row.holder is not None and not defects.lost_pod_labels:
        holder: Mapping[str, str] = vars(row.holder)
        told |= {key: holder[key] for key in ("container", "namespace", "pod")}
    return ",".join(f'{key}="{value}"' for key, value in told.items())

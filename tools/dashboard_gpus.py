"""The dashboard of GPU instances, and of the GPUs that hold them."""

from __future__ import annotations

from dashboard_queries import BAD_ABOVE_ZERO, CARD, FPS, FULL, GPU, INSTANCE, NODE, RATIO, TO_DEPLOYMENT, G
from grafana import Dashboard, Panel, Query, Section, column, joined, lines, stat, table


def gpus() -> Dashboard:
    """Return the dashboard of GPU instances and of the GPUs that hold them."""
    return Dashboard(
        "yolofleet-gpus",
        "yolofleet / GPU instances",
        "What each GPU instance does and for whom; temperature, power, clocks and persistence mode of each GPU.",
        (NODE, GPU),
        (
            Section("GPU instances", _instances()),
            Section("GPUs", _cards()),
        ),
    )


def _instances() -> tuple[Panel, ...]:
    used = f"gpu_instance:dcgm_memory_used:bytes{{{G}}}"
    free = f"gpu_instance:dcgm_memory_free:bytes{{{G}}}"
    active = f"gpu_instance:yolofleet_engine_active:ratio{{{G}}}"
    keys = "Hostname, gpu, GPU_I_PROFILE, GPU_I_ID, namespace, pod, yolodeployment"
    frames = f"{active} * 0 + on (namespace, pod) group_left () pod:yolofleet_frames:rate3m"
    tensor, dram = (f"gpu_instance:dcgm_{part}_active:ratio{{{G}}}" for part in ("tensor", "dram"))
    return (
        lines("Engine active", Query(f"gpu_instance:dcgm_engine_active:ratio{{{G}}}", INSTANCE), unit=RATIO, most=1),
        lines("Tensor cores active", Query(tensor, INSTANCE), unit=RATIO, most=1),
        lines(
            "Memory interface active",
            Query(dram, INSTANCE),
            unit=RATIO,
            most=1,
        ),
        table(
            "Who works on which GPU instance",
            Query(f"max by ({keys}) ({active})", name="active"),
            Query(f"max by ({keys}) ({frames})", name="frames"),
            width=16,
            told="The pod's labels come from the DCGM exporter; a row is missing where it has lost them.",
            overrides=(
                column("Engine active", ("unit", RATIO), ("decimals", 0)),
                column("Frames", ("unit", FPS), ("decimals", 1)),
                column("yolodeployment", ("links", TO_DEPLOYMENT)),
            ),
            transformations=joined(
                hidden=(), names={"Value #active": "Engine active", "Value #frames": "Frames", "Hostname": "node"}
            ),
        ),
        lines("Memory used", Query(used, INSTANCE), unit="bytes"),
        lines(
            "Memory used of the instance",
            Query(f"{used} / ({used} + {free})", INSTANCE),
            unit=RATIO,
            most=1,
            bounds=FULL,
        ),
    )


def _cards() -> tuple[Panel, ...]:
    switch = [{"type": "value", "options": {"0": {"text": "off", "color": "orange"}, "1": {"text": "on"}}}]
    return (
        lines(
            "Temperature",
            Query(f"gpu:dcgm_temperature:celsius{{{G}}}", CARD),
            unit="celsius",
            bounds=((None, "green"), (85, "red")),
        ),
        lines("Power", Query(f"gpu:dcgm_power:watts{{{G}}}", CARD), unit="watt"),
        lines("SM clock", Query(f"gpu:dcgm_sm_clock:hertz{{{G}}}", CARD), unit="hertz"),
        lines("Memory clock", Query(f"gpu:dcgm_memory_clock:hertz{{{G}}}", CARD), unit="hertz"),
        lines(
            "PCIe",
            Query(f"gpu:dcgm_pcie_received:bytes_per_second{{{G}}}", f"received {CARD}"),
            Query(f"gpu:dcgm_pcie_transmitted:bytes_per_second{{{G}}}", f"sent {CARD}"),
            unit="Bps",
        ),
        stat(
            "Persistence mode",
            Query(f"gpu:dcgm_persistence_mode:bool{{{G}}}", CARD),
            height=8,
            defaults={"mappings": switch},
            bounds=((None, "orange"), (1, "green")),
            told="Needs DCGM_FI_DEV_PERSISTENCE_MODE in the exporter's list of counters: docs/observability.md.",
        ),
        stat(
            "Last XID",
            Query(f"gpu:dcgm_xid:last{{{G}}}", CARD),
            height=8,
            decimals=0,
            bounds=BAD_ABOVE_ZERO,
            told="0: the driver has told of no fault since it was loaded.",
        ),
    )

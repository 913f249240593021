"""What is known of each product's profiles, a source beside every row; None where no source tells."""

from __future__ import annotations

from yolofleet.planning.capabilities.model import Capability, Gpu, parse_profile

_GUIDE = "NVIDIA MIG User Guide, Supported MIG Profiles"
_LGIP = "nvidia-smi mig -lgip, as printed in the NVIDIA MIG User Guide, Getting Started"
_A30 = f"{_GUIDE}, A30-24GB; memory and SMs: go-nvml, pkg/nvml/mock/gpus/a30.go"
_A100 = f"{_GUIDE}, A100-SXM4-40GB; memory, SMs and placements: go-nvml, pkg/nvml/mock/gpus/a100.go"
_A100_80 = (
    f"{_LGIP}, A100-SXM4-80GB: memory; engines: {_GUIDE}, whose table of the A100 holds for 80 GB under other names"
)
_H100 = f"{_LGIP}, H100-SXM5-80GB"
_H100_PCIE = f"{_GUIDE}, H100-PCIe-80GB"
_H100_NVL = (
    "nvidia-smi mig -lgip and -lgipp of an H100 NVL (Azure NC40ads_H100_v5, driver 560.35.03), as printed in a public "
    "walk-through; labels: NVIDIA/dcgm-exporter issue 397"
)
_H100_96 = (
    "nvidia-smi mig -lgip of a GH200 with 96 GB, as printed in kf-cuanschutz/NVIDIA_Grace_Hopper_benchmarking_logs_; "
    "that an H100 with 96 GB is alike: mig-parted's default config has one entry for both; label "
    "NVIDIA-H100-SXM5-96GB was seen on no node, but made up: others are recognised by family and memory"
)
_H200 = "read from an H200 SXM: nvidia-smi mig -lgip and -lgipp, driver 580.159.04"
_GH200_144 = (
    f"{_GUIDE}, GH200-144GB HBM3e: names and counts; no source for SMs or memory; engines as on the H100 (assumed)"
)
_B200 = (
    f"{_GUIDE}, B200-180GB: names, counts, copy engines; SMs known for 1g only; link to the host: hosts of DGX B200 "
    "have PCIe Gen5 (its user guide)"
)

_PCIE4 = 31.5  # 16 lanes of PCIe 4.0; datasheets of A30 and A100: "PCIe Gen4: 64GB/s", both directions together
_PCIE5 = 63.0  # 16 lanes of PCIe 5.0; datasheets of H100 and H200: "PCIe Gen5: 128GB/s", both directions together
_C2C = 450.0  # NVLink-C2C; datasheet of GH200: "900GB/s", both directions together

_Lattice = dict[tuple[int, int], tuple[int, tuple[int, ...], int]]
# (compute slices, 1 = the larger memory of two profiles alike) → memory slices, starts, how many fit.
_SEVEN: _Lattice = {
    (1, 0): (1, (0, 1, 2, 3, 4, 5, 6), 7),
    (1, 1): (2, (0, 2, 4, 6), 4),
    (2, 0): (2, (0, 2, 4), 3),
    (3, 0): (4, (0, 4), 2),
    (4, 0): (4, (0,), 1),
    (7, 0): (8, (0,), 1),
}
_FOUR: _Lattice = {(1, 0): (1, (0, 1, 2, 3), 4), (2, 0): (2, (0, 2), 2), (4, 0): (4, (0,), 1)}

# profile, SMs, memory in MiB, decoders, JPEG, OFA, copy engines
_Row = tuple[str, int | None, int | None, int | None, int | None, int | None, int | None]


def _gib(gib: float) -> int:
    return round(gib * 1024)


def _profiles(rows: tuple[_Row, ...], lattice: _Lattice, source: str) -> tuple[Capability, ...]:
    made: list[Capability] = []
    smallest: dict[int, int] = {}
    for profile, sms, mib, decoders, jpeg, ofa, copies in rows:
        name = parse_profile(profile)
        if name is None:
            raise ValueError(f"{profile!r} is no MIG profile")
        large = int(name.memory_gb > smallest.setdefault(name.compute, name.memory_gb))
        size, starts, limit = lattice[name.compute, large]
        # One slice of a GPU at most has the media extensions (MIG User Guide, same tables).
        limit = 1 if name.attributes == "+me" else limit
        made.append(
            Capability(profile, name.compute, size, starts, limit, sms, mib, decoders, jpeg, ofa, copies, source)
        )
    return tuple(made)


def _hopper(names: tuple[str, ...], sms: tuple[int | None, ...], gib: tuple[float | None, ...]) -> tuple[_Row, ...]:
    """Lay out Hopper's rows: 1g, 1g+me, 1g double, 2g, 3g, 4g, 7g; engines grow with the compute slices."""
    engines = ((1, 0, 1), (1, 1, 1), (1, 0, 1), (2, 0, 2), (3, 0, 3), (4, 0, 4), (7, 1, 8))
    return tuple(
        (name, sm, None if memory is None else _gib(memory), media, media, ofa, copies)
        for name, sm, memory, (media, ofa, copies) in zip(names, sms, gib, engines, strict=True)
    )


_SXM_SMS = (16, 16, 26, 32, 60, 64, 132)
_UNTOLD = (None,) * 7

GPUS: tuple[Gpu, ...] = (
    Gpu("A30", ("NVIDIA-A30",), "A30", 24576, 56, 4, _profiles((
        ("1g.6gb", 14, 5836, 0, 0, 0, 1),
        ("1g.6gb+me", 14, 5836, 1, 1, 1, 1),
        ("2g.12gb", 28, 11672, 2, 0, 0, 2),
        ("2g.12gb+me", 28, 11672, 2, 1, 1, 2),
        ("4g.24gb", 56, 23344, 4, 1, 1, 4),
    ), _FOUR, _A30), _PCIE4),
    Gpu("A100-40GB", ("NVIDIA-A100-SXM4-40GB", "NVIDIA-A100-PCIE-40GB"), "A100", 40960, 108, 8, _profiles((
        ("1g.5gb", 14, 4864, 0, 0, 0, 1),
        ("1g.5gb+me", 14, 4864, 1, 1, 1, 1),
        ("1g.10gb", 14, 9856, 1, 0, 0, 1),
        ("2g.10gb", 28, 9856, 1, 0, 0, 2),
        ("3g.20gb", 42, 19968, 2, 0, 0, 3),
        ("4g.20gb", 56, 19968, 2, 0, 0, 4),
        ("7g.40gb", 98, 40192, 5, 1, 1, 7),
    ), _SEVEN, _A100), _PCIE4),
    Gpu("A100-80GB", ("NVIDIA-A100-SXM4-80GB", "NVIDIA-A100-80GB-PCIe"), "A100", 81920, 108, 8, _profiles((
        ("1g.10gb", 14, _gib(9.50), 0, 0, 0, 1),
        ("1g.10gb+me", 14, _gib(9.50), 1, 1, 1, 1),
        ("1g.20gb", 14, _gib(19.50), 1, 0, 0, 1),
        ("2g.20gb", 28, _gib(19.50), 1, 0, 0, 2),
        ("3g.40gb", 42, _gib(39.25), 2, 0, 0, 3),
        ("4g.40gb", 56, _gib(39.25), 2, 0, 0, 4),
        ("7g.80gb", 98, _gib(79.00), 5, 1, 1, 7),
    ), _SEVEN, _A100_80), _PCIE4),
    Gpu("H100-SXM-80GB", ("NVIDIA-H100-80GB-HBM3",), "H100", 81559, 132, 8, _profiles(_hopper(
        ("1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
        _SXM_SMS, (9.75, 9.75, 19.62, 19.62, 39.50, 39.50, 79.2)), _SEVEN, _H100), _PCIE5),
    Gpu("H100-PCIe-80GB", ("NVIDIA-H100-PCIe",), "H100", 81559, 114, 8, _profiles(_hopper(
        ("1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"),
        (14, 14, 14, 30, 46, 62, 114), (9.75, 9.75, 19.62, 19.62, 39.50, 39.50, 79.25)), _SEVEN, _H100_PCIE), _PCIE5),
    Gpu("H100-NVL-94GB", ("NVIDIA-H100-NVL",), "H100", 95830, 132, 8, _profiles(_hopper(
        ("1g.12gb", "1g.12gb+me", "1g.24gb", "2g.24gb", "3g.47gb", "4g.47gb", "7g.94gb"),
        _SXM_SMS, (10.75, 10.75, 21.62, 21.62, 46.38, 46.38, 93.12)), _SEVEN, _H100_NVL), _PCIE5),
    Gpu("H100-96GB", ("NVIDIA-H100-SXM5-96GB", "NVIDIA-GH200-480GB"), "H100", 97871, 132, 8, _profiles(_hopper(
        ("1g.12gb", "1g.12gb+me", "1g.24gb", "2g.24gb", "3g.48gb", "4g.48gb", "7g.96gb"),
        _SXM_SMS, (11.00, 11.00, 23.00, 23.00, 46.50, 46.50, 93.00)), _SEVEN, _H100_96), _PCIE5),
    Gpu("H200-141GB", ("NVIDIA-H200", "NVIDIA-H200-NVL"), "H200", 143771, 132, 8, _profiles(_hopper(
        ("1g.18gb", "1g.18gb+me", "1g.35gb", "2g.35gb", "3g.71gb", "4g.71gb", "7g.141gb"),
        _SXM_SMS, (16.00, 16.00, 32.50, 32.50, 69.75, 69.75, 140.00)), _SEVEN, _H200), _PCIE5),
    Gpu("GH200-144GB", ("NVIDIA-GH200-144G-HBM3e",), "GH200", 147456, 132, 8, _profiles(_hopper(
        ("1g.18gb", "1g.18gb+me", "1g.36gb", "2g.36gb", "3g.72gb", "4g.72gb", "7g.144gb"),
        _UNTOLD, _UNTOLD), _SEVEN, _GH200_144), _C2C),
    Gpu("B200-180GB", ("NVIDIA-B200",), "B200", 183359, 148, 8, _profiles((
        ("1g.23gb", 18, None, None, None, None, 2),
        ("1g.23gb+me", 18, None, None, None, None, 2),
        ("1g.45gb", None, None, None, None, None, 2),
        ("2g.45gb", None, None, None, None, None, 3),
        ("3g.90gb", None, None, None, None, None, 6),
        ("4g.90gb", None, None, None, None, None, 8),
        ("7g.180gb", None, None, None, None, None, 16),
    ), _SEVEN, _B200), _PCIE5),
)  # fmt: skip
"""Products in order of age; the labels are those of NVIDIA's GPU feature discovery."""

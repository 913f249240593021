"""What a slice is worth: tables against what vendors print, names that drift, words of nodes before the tables."""

from __future__ import annotations

import pytest

from yolofleet.planning.capabilities import GPUS, Capability, Gpu, Unknown, capability, from_device, gpu_of, resolve

H100, A100 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB"


def known(found: Gpu | Unknown) -> Gpu:
    assert isinstance(found, Gpu), found
    return found


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.key)
def test_every_row_has_a_source_and_lies_on_the_gpu(gpu: Gpu) -> None:
    for one in gpu.profiles:
        assert one.source
        assert all(start + one.memory_slices <= gpu.memory_slices for start in one.starts)
        assert one.limit <= len(one.starts)
        assert one.sm_count is None or one.sm_count <= gpu.sm_count
        assert one.memory_mib is None or one.memory_mib <= gpu.memory_mib


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.key)
def test_a_full_gpu_of_any_profile_has_no_more_than_the_gpu(gpu: Gpu) -> None:
    for one in gpu.profiles:
        assert one.limit * one.memory_slices <= gpu.memory_slices
        if one.sm_count is not None:
            assert one.limit * one.sm_count <= gpu.sm_count


def test_on_hopper_a_3g_is_worth_more_than_three_quarters_of_a_4g_and_a_double_1g_more_than_a_1g() -> None:
    sms = {one.profile: one.sm_count for one in known(gpu_of(H100)).profiles}
    assert (sms["1g.10gb"], sms["1g.20gb"], sms["3g.40gb"], sms["4g.40gb"]) == (16, 26, 60, 64)


@pytest.mark.parametrize(
    ("label", "profile", "row"),
    [
        (A100, "7g.79gb", "7g.80gb"),
        (A100, "3g.39gb", "3g.40gb"),
        (A100, "1g.10gb.me", "1g.10gb+me"),
        ("NVIDIA-H200", "4g.70gb", "4g.71gb"),
    ],
)
def test_a_name_may_drift_by_a_gigabyte(label: str, profile: str, row: str) -> None:
    found = resolve(known(gpu_of(label)), profile)
    assert isinstance(found, Capability)
    assert found.profile == row


@pytest.mark.parametrize("profile", ["1g.12gb", "5g.40gb", "1g.10gb-me", "gpu", "1c.3g.40gb"])
def test_an_unknown_profile_is_refused_with_what_was_seen(profile: str) -> None:
    found = resolve(known(gpu_of(A100)), profile)
    assert isinstance(found, Unknown)
    assert repr(profile) in found.message
    assert "1g.10gb+me" in found.message


def test_an_unknown_product_is_found_by_family_and_memory_or_refused() -> None:
    assert known(gpu_of("NVIDIA-A100-SXM4-80GB-Rev2", memory_mib=81251)).key == "A100-80GB"
    for found in (gpu_of("NVIDIA-X900", memory_mib=81920), gpu_of("NVIDIA-H100-OEM", memory_mib=81559)):
        assert isinstance(found, Unknown)
        assert "MiB" in found.message
    assert "H100-SXM-80GB or H100-PCIe-80GB" in gpu_of("NVIDIA-H100-OEM", memory_mib=81559).message  # type: ignore[union-attr]


def test_what_a_node_says_goes_before_the_tables() -> None:
    labels = {"nvidia.com/mig-1g.10gb.multiprocessors": "18", "nvidia.com/mig-1g.10gb.memory": "oops"}
    found = capability(H100, "1g.10gb", labels)
    assert isinstance(found, Capability)
    assert (found.sm_count, found.memory_mib) == (18, 9984)
    assert found.source.startswith("node labels (sm_count); else ")
    single = capability(f"{H100}-MIG-1g.10gb", "1g.10gb", {"nvidia.com/gpu.engines.jpeg": "2"})
    assert isinstance(single, Capability)
    assert single.jpeg == 2


def test_a_resource_slice_speaks_bytes() -> None:
    told = {"memory": 9728 * 2**20, "multiprocessors": "14", "jpegEngines": 1}
    found = from_device({"productName": "NVIDIA A100-SXM4-80GB", "profile": "1g.10gb+me"}, told)
    assert isinstance(found, Capability)
    assert (found.memory_mib, found.sm_count, found.jpeg, found.decoders) == (9728, 14, 1, 1)


def test_what_no_source_tells_is_none() -> None:
    found = resolve(known(gpu_of("NVIDIA-B200")), "3g.90gb")
    assert isinstance(found, Capability)
    assert found.sm_count is None
    assert found.starts == (0, 4)


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.key)
def test_every_profile_of_every_product_is_found_by_a_name_that_drifts_by_a_gigabyte(gpu: Gpu) -> None:
    for one in gpu.profiles:
        name = one.name
        for drift in (-1, 0, 1):
            memory = name.memory_gb + drift
            alike = [o.name.memory_gb for o in gpu.profiles if (o.name.compute, o.name.attributes) == name_parts(one)]
            found = resolve(gpu, f"{name.compute}g.{memory}gb{name.attributes}")
            assert isinstance(found, Capability)
            assert abs(found.name.memory_gb - memory) == min(abs(told - memory) for told in alike)


def name_parts(one: Capability) -> tuple[int, str]:
    return one.name.compute, one.name.attributes


def test_the_products_that_are_asked_for_are_all_there_and_say_what_their_link_carries() -> None:
    keys = {gpu.key for gpu in GPUS}
    hopper = {"H100-SXM-80GB", "H100-PCIe-80GB", "H100-NVL-94GB", "H100-96GB", "H200-141GB", "GH200-144GB"}
    assert keys == {"A30", "A100-40GB", "A100-80GB", "B200-180GB"} | hopper
    assert {gpu.host_gb_s for gpu in GPUS} == {31.5, 63.0, 450.0}

"""What an engine is compiled with, decided without TensorRT: for 10.6, for 10.9, for 11, each precision by itself."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_repo_builder.engine_settings import FLAGS, TYPED, BatchRange, EngineOptions, Known, settled, shapes
from model_repo_builder.errors import Refused
from yolofleet.api.recipe import HardwareCompatibility, ImageSize, Precision, Target

OLD = Known(
    version="10.6.0",
    flags=frozenset({"TF32", "FP16", "BF16", "INT8", "FP8"}),
    strongly_typed=True,
    levels=frozenset({"NONE", "AMPERE_PLUS"}),
)
NEW = Known(
    version="11.2.0",
    flags=frozenset({"TF32"}),
    strongly_typed=True,
    levels=frozenset({"NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"}),
)
SIZE = ImageSize(height=384, width=640)


def options(precision: Precision = "FP16", **changed: Any) -> EngineOptions:
    target = Target(compute_capability="9.0", sm_count=132, memory_mib=143771)
    told = {"precision": precision, "image_size": SIZE, "batches": (BatchRange(1, 8, 8),), "target": target}
    return EngineOptions(**{**told, **changed})


@pytest.mark.parametrize(
    ("precision", "typed", "flags", "cleared"),
    [
        ("FP32", False, (), ("TF32",)),
        ("TF32", False, ("TF32",), ()),
        ("BF16", False, ("BF16",), ()),
        ("FP16", True, (), ()),
        ("INT8", True, (), ()),
        ("FP8", True, (), ()),
    ],
)
def test_each_precision_is_said_in_one_way(precision: Precision, typed: bool, flags: Any, cleared: Any) -> None:
    told = settled(options(precision), OLD)
    assert (told.strongly_typed, told.flags, told.cleared) == (typed, flags, cleared)


def test_flags_over_an_fp32_graph_are_a_choice_where_the_version_has_them() -> None:
    told = settled(options("INT8", typed=False, half_io=True), OLD)
    assert (told.strongly_typed, told.flags, told.halve_io) == (False, ("INT8", "FP16"), True)
    with pytest.raises(Refused, match=r"11\.2\.0 builds no INT8 engine from an FP32 graph: it has no flag INT8"):
        settled(options("INT8", typed=False), NEW)
    with pytest.raises(Refused, match="it has no flag BF16"):
        settled(options("BF16"), NEW)


def test_a_typed_graph_says_its_inputs_itself() -> None:
    assert not settled(options(half_io=True), OLD).halve_io
    assert settled(options("TF32", half_io=True), OLD).halve_io


def test_portable_is_as_narrow_as_the_version_knows() -> None:
    assert settled(options(), OLD).compatibility is None
    assert settled(options(portable=True), OLD).compatibility == "AMPERE_PLUS"
    assert settled(options(portable=True), NEW).compatibility == "SAME_COMPUTE_CAPABILITY"


def portable_on(level: HardwareCompatibility) -> EngineOptions:
    """Return options for a target that names how portable its engine is to be."""
    asked = options()
    return replace(asked, target=asked.target.model_copy(update={"hardware_compatibility": level}))


def test_a_target_gets_the_hardware_compatibility_that_it_names() -> None:
    assert settled(portable_on("AmperePlus"), OLD).compatibility == "AMPERE_PLUS"
    assert settled(portable_on("AmperePlus"), NEW).compatibility == "AMPERE_PLUS"
    assert settled(portable_on("SameComputeCapability"), NEW).compatibility == "SAME_COMPUTE_CAPABILITY"


def test_a_hardware_compatibility_that_this_tensorrt_knows_not_is_refused_with_what_to_do() -> None:
    with pytest.raises(Refused, match="it has no level SAME_COMPUTE_CAPABILITY") as refused:
        settled(portable_on("SameComputeCapability"), OLD)
    assert refused.value.field == "spec.engine.portable"
    assert "builds.tensorrtVersion" in refused.value.remedy


def test_workspace_is_told_in_bytes() -> None:
    assert settled(options(workspace_mib=3), OLD).workspace_bytes == 3 * 1024**2


@pytest.mark.parametrize(
    ("dims", "least", "largest"),
    [
        ((-1, 3, -1, -1), (1, 3, 384, 640), (8, 3, 384, 640)),
        ((-1, 3, 64, 96), (1, 3, 64, 96), (8, 3, 64, 96)),
        ((-1, 1), (1, 1), (8, 1)),
    ],
)
def test_free_sizes_are_the_images(dims: Any, least: Any, largest: Any) -> None:
    assert shapes(dims, BatchRange(1, 8, 8), SIZE) == (least, largest, largest)


@given(st.sampled_from(get_args(Precision)), st.booleans(), st.booleans(), st.sampled_from([OLD, NEW]))
def test_only_what_a_version_knows_is_told_to_it(precision: Any, typed: bool, half_io: bool, known: Known) -> None:
    try:
        told = settled(options(precision, typed=typed, half_io=half_io), known)
    except Refused:
        assert not known.flags.issuperset(FLAGS[precision])
        return
    assert known.flags.issuperset((*told.flags, *told.cleared))
    assert told.strongly_typed == (typed and precision in TYPED)
    assert not (told.strongly_typed and told.flags), "a typed graph and flags contradict each other"

"""Laws of layouts, and the counts that NVIDIA and others print for A100 and A30."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from yolofleet.planning.capabilities import GPUS, Gpu
from yolofleet.planning.layouts.geometry import (
    Lattice,
    Layout,
    Slice,
    completions,
    conflict,
    counts_of,
    free_starts,
    lattice_of,
    layouts,
    maximal,
    worthwhile,
)

BASE = ("1g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb")
A100 = next(gpu for gpu in GPUS if gpu.key == "A100-80GB")
A30 = next(gpu for gpu in GPUS if gpu.key == "A30")
SIX = lattice_of(A100, (*BASE, "1g.20gb"))


@pytest.mark.parametrize(
    ("lattice", "legal", "full", "kinds_of_full", "worth"),
    [
        (lattice_of(A100, BASE), 298, 19, 14, 12),
        (SIX, 723, 78, 38, 28),
        (lattice_of(A30, ("1g.6gb", "2g.12gb", "4g.24gb")), 26, 5, 4, 4),
    ],
)
def test_there_are_as_many_layouts_as_others_count(
    lattice: Lattice, legal: int, full: int, kinds_of_full: int, worth: int
) -> None:
    assert len(layouts(lattice)) == legal
    assert len(maximal(lattice)) == full
    assert len({counts_of(lattice, one) for one in maximal(lattice)}) == kinds_of_full
    assert len(worthwhile(lattice)) == worth


@pytest.mark.parametrize("gpu", GPUS, ids=lambda gpu: gpu.key)
def test_no_layout_takes_more_compute_than_the_gpu_has(gpu: Gpu) -> None:
    compute = {one.profile: one.compute_slices for one in gpu.profiles}
    largest = max(compute.values())
    assert all(sum(compute[one.profile] for one in layout) <= largest for layout in layouts(lattice_of(gpu)))


def test_where_a_3g_lies_decides_whether_a_4g_fits() -> None:
    assert free_starts(SIX, (Slice(4, "3g.40gb"),), "4g.40gb") == (0,)
    assert free_starts(SIX, (Slice(0, "3g.40gb"),), "4g.40gb") == ()


def test_one_small_slice_at_the_left_forbids_4g_and_7g_until_it_goes() -> None:
    left = {one.profile for layout in completions(SIX, (Slice(0, "1g.10gb"),)) for one in layout}
    assert not left & {"4g.40gb", "7g.80gb"}
    assert "3g.40gb" in left


@pytest.mark.parametrize(
    ("layout", "told"),
    [
        ((Slice(1, "2g.20gb"),), "2g.20gb cannot start at 1: it may at [0, 2, 4]"),
        ((Slice(0, "4g.40gb"), Slice(3, "1g.10gb")), "1g.10gb at 3 overlaps 4g.40gb at 0"),
    ],
)
def test_a_conflict_is_told_in_words(layout: Layout, told: str) -> None:
    assert conflict(SIX, layout) == told


def test_one_slice_of_a_gpu_has_media_extensions() -> None:
    lattice = lattice_of(A100)
    assert conflict(lattice, (Slice(0, "1g.10gb+me"), Slice(1, "1g.10gb+me"))) == ("2 of +me: a GPU has 1 at most")


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_what_busy_slices_allow_keeps_them_and_is_legal(data: st.DataObject) -> None:
    lattice = lattice_of(data.draw(st.sampled_from([A100, A30])))
    busy = data.draw(st.sampled_from(layouts(lattice)))
    for counts, layout in worthwhile(lattice, busy):
        assert set(busy) <= set(layout)
        assert conflict(lattice, layout) is None
        assert counts_of(lattice, layout) == counts


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_every_legal_layout_is_contained_in_a_worthwhile_one(data: st.DataObject) -> None:
    mine = counts_of(SIX, data.draw(st.sampled_from(layouts(SIX))))
    assert any(all(a <= b for a, b in zip(mine, counts, strict=True)) for counts, _ in worthwhile(SIX))

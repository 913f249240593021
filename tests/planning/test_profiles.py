"""Profiles as NVIDIA's device plugin names them, under its three strategies."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planning.worlds import H100, labelled, node
from yolofleet.api.base import Profile
from yolofleet.planning.slices.profiles import known, offers, same_profile, size_of, slug
from yolofleet.render.meta import group_name

profiles = st.from_regex(r"\A(gpu|[1-9][0-9]?g\.[1-9][0-9]{0,3}gb([.+-][a-z]{2,4}(\.all)?)?)\Z")


@pytest.mark.parametrize(
    ("strategy", "devices", "product", "expected"),
    [
        ("none", {"nvidia.com/gpu": 8}, H100, [("gpu", H100, 8)]),
        ("single", {"nvidia.com/gpu": 14}, f"{H100}-MIG-1g.10gb", [("1g.10gb", H100, 14)]),
        ("single, +me", {"nvidia.com/gpu": 2}, f"{H100}-MIG-1g.10gb.me", [("1g.10gb.me", H100, 2)]),
        (
            "mixed",
            {"nvidia.com/mig-3g.40gb": 1, "nvidia.com/mig-1g.10gb": 4, "nvidia.com/mig-1g.10gb.me": 1},
            H100,
            [("1g.10gb", H100, 4), ("1g.10gb.me", H100, 1), ("3g.40gb", H100, 1)],
        ),
        (
            "mixed beside whole ones",
            {"nvidia.com/gpu": 1, "nvidia.com/mig-7g.80gb": 1},
            H100,
            [("7g.80gb", H100, 1), ("gpu", H100, 1)],
        ),
        ("invalid single", {"nvidia.com/gpu": 0}, f"{H100}-MIG-INVALID", []),
        ("compute instances are left alone", {"nvidia.com/mig-1c.3g.40gb": 3}, H100, []),
        ("shared slices are left alone", {"nvidia.com/mig-1g.10gb.shared": 28, "nvidia.com/gpu.shared": 8}, H100, []),
        ("another vendor", {"amd.com/gpu": 8}, H100, []),
    ],
)
def test_strategies_of_the_device_plugin(strategy, devices, product, expected) -> None:
    found = offers([node(devices=devices, labels=labelled(product))])
    assert [(o.profile, o.product, o.allocatable) for o in found] == expected, strategy


def test_without_gpu_feature_discovery_the_product_is_unknown() -> None:
    (offer,) = offers([node()])
    assert (offer.profile, offer.product) == ("gpu", None)


@pytest.mark.parametrize("lacks", ["ready", "schedulable"])
def test_nodes_that_take_no_pods_offer_nothing(lacks) -> None:
    assert offers([node(**{lacks: False})]) == ()


def test_sizes_in_order() -> None:
    ordered = ["1g.5gb", "1g.10gb", "1g.10gb.me", "2g.10gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb", "gpu"]
    assert sorted(set(ordered), key=size_of) == ordered


@pytest.mark.parametrize(
    ("asked", "offered", "same"),
    [
        ("1g.10gb+me", "1g.10gb.me", True),
        ("1g.10gb.me", "1g.10gb.me", True),
        ("1g.24gb+me.all", "1g.24gb.me.all", True),
        ("1g.10gb", "1g.10gb.me", False),
        ("1g.24gb-me", "1g.24gb.me", False),
    ],
)
def test_plus_me_is_dot_me_in_resource_names_and_minus_me_is_not(asked, offered, same) -> None:
    assert same_profile(asked, offered) is same


@given(profiles, profiles)
def test_different_profiles_have_different_object_names(one: str, other: str) -> None:
    assert (slug(one) == slug(other)) == same_profile(one, other)


@given(profiles)
def test_a_slug_is_a_label_and_the_longest_deployment_with_it_a_name(profile: str) -> None:
    name = group_name("a" * 40, profile)
    assert known(profile)
    assert len(name) <= 63
    assert name.replace("-", "").isalnum()
    assert name == name.lower()
    assert not name.endswith("-")


@given(st.text(max_size=30))
def test_what_is_known_is_what_the_api_can_hold(word: str) -> None:
    pattern = Profile.__metadata__[0].pattern
    assert known(word) == bool(re.fullmatch(pattern.removeprefix("^").removesuffix("$"), word))


def test_all_pairs_of_common_profiles_have_their_own_name() -> None:
    common = ["gpu", "1g.5gb", "1g.5gb.me", "1g.24gb-me", "1g.24gb.me", "1g.24gb.me.all", "1g.24gb.gfx", "2g.10gb"]
    assert all(slug(a) != slug(b) for a, b in itertools.combinations(common, 2))

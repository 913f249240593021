"""Where a deployment goes: pools, products, and whether there is room for a surge."""

from __future__ import annotations

import pytest

from tests.planning.worlds import (
    A100,
    H100,
    NS,
    PUBLISHED,
    deployment,
    engine,
    group,
    labelled,
    node,
    pod,
    pool,
    snapshot,
    spec,
)
from yolofleet.api.conditions import Reason
from yolofleet.api.recipe import Target
from yolofleet.api.yolodeployment import Group, YoloDeploymentStatus
from yolofleet.planning.engines import target_of, wish
from yolofleet.planning.placing.choice import Choice, NoChoice, choose, market
from yolofleet.planning.plan import plan
from yolofleet.planning.slices.pools import pool_plans

MIG = "nvidia.com/mig-1g.10gb"
TENSORRT = {"backend": "TensorRT"}


def chosen(*nodes, pools=(), **given) -> Choice:
    choice = choose(deployment(**given), market(nodes, pools))
    assert isinstance(choice, Choice), choice
    return choice


def test_a_pool_selects_by_labels_and_its_pods_find_its_nodes_by_them() -> None:
    east = pool("east", nodeSelector={"matchLabels": {"zone": "e"}})
    nodes = (node("n1", {MIG: 7}, labels={"zone": "w"}), node("n2", labels={"zone": "e"}))
    choice = chosen(*nodes, pools=(east,), asked=spec(placement={"poolRef": {"name": "east"}}))
    assert (choice.profile, choice.nodes, choice.node_selector) == ("gpu", ("n2",), (("zone", "e"),))


def test_without_any_pool_the_default_one_is_every_node() -> None:
    assert chosen(node("n1"), node("n2")).nodes == ("n1", "n2")


def test_a_default_pool_that_exists_is_obeyed() -> None:
    default = pool("default", nodeSelector={"matchLabels": {"zone": "e"}})
    choice = choose(deployment(), market((node("n1"),), (default,)))
    assert isinstance(choice, NoChoice)
    assert choice.reason == Reason.NO_MATCHING_PROFILE


def test_two_pools_that_claim_one_node_the_older_has_it_and_the_other_says_so() -> None:
    older = pool("z-older", "2026-01-01T00:00:00Z", nodeSelector={"matchLabels": {"zone": "e"}})
    younger = pool("a-younger", "2026-01-02T00:00:00Z")
    nodes = (node("n1", labels={"zone": "e"}), node("n2"), node("n3", {}))
    first, second = pool_plans((younger, older), nodes, {})
    assert (first.view.name, first.nodes, first.contested) == ("z-older", 1, ())
    assert (second.view.name, second.nodes, second.contested) == ("a-younger", 1, (("n1", "z-older"),))


def test_pools_of_one_age_go_by_name() -> None:
    first, second = pool_plans((pool("b"), pool("a")), (node(),), {})
    assert (first.view.name, first.nodes) == ("a", 1)
    assert second.contested == (("n1", "a"),)


def test_a_pool_counts_what_its_own_nodes_hold() -> None:
    east = pool("east", nodeSelector={"matchLabels": {"zone": "e"}})
    west = pool("west", nodeSelector={"matchLabels": {"zone": "w"}})
    nodes = (
        node("n1", {MIG: 7, "nvidia.com/gpu": 1}, labels={"zone": "e"}),
        node("n2", {MIG: 4}, labels={"zone": "w"}),
    )
    used = {("n1", MIG): 3, ("n2", MIG): 9}
    first, second = pool_plans((east, west), nodes, used)
    assert first.slices == (("1g.10gb", 7, 3), ("gpu", 1, 0))
    assert second.slices == (("1g.10gb", 4, 4),)


def test_nodes_that_take_no_pods_belong_to_the_pool_and_offer_nothing() -> None:
    (made,) = pool_plans((pool(),), (node(ready=False), node("n2", schedulable=False)), {})
    assert (made.nodes, made.slices) == (2, ())


def test_a_tensorrt_engine_serves_on_one_product_and_onnx_on_all() -> None:
    nodes = (
        node("n1", {MIG: 7}, labels=labelled(A100, resource=MIG, sms=14, mib=9728)),
        node("n2", {MIG: 7}, labels=labelled(H100, resource=MIG, sms=16, mib=9984)),
    )
    exact = chosen(*nodes, asked=spec(engine=TENSORRT))
    assert (exact.nodes, exact.product, exact.product_labels, exact.offered) == (("n1",), A100, (A100,), 7)
    loose = chosen(*nodes)
    assert (loose.nodes, loose.product_labels, loose.offered) == (("n1", "n2"), (A100, H100), 14)


def test_who_serves_on_a_product_stays_on_it() -> None:
    nodes = (node("n1", labels=labelled(A100)), node("n2", labels=labelled(H100)))
    status = YoloDeploymentStatus(groups=[Group(profile="gpu", product=H100)])
    choice = chosen(*nodes, asked=spec(engine=TENSORRT), status=status, groups=(group(),))
    assert choice.product == H100


@pytest.mark.parametrize("asked", [MIG, "nvidia.com/gpu"])
def test_the_target_is_that_of_the_slice(asked: str) -> None:
    labels = labelled(H100, resource=asked, sms=16, mib=9984)
    choice = chosen(node("n1", {asked: 1}, labels=labels), asked=spec(engine=TENSORRT))
    target = target_of(spec(engine=TENSORRT), choice, dict(choice.labels))
    assert target == Target(compute_capability="9.0", sm_count=16, memory_mib=9984)


def test_the_target_is_read_from_a_node_of_the_pool_that_takes_pods() -> None:
    east = pool("east", nodeSelector={"matchLabels": {"zone": "e"}})
    nodes = (
        node("n1", labels=labelled(A100, sms=108)),
        node("n2", labels=labelled(H100) | {"zone": "e"}, ready=False),
        node("n3", labels=labelled(H100, sms=132) | {"zone": "e"}),
    )
    view = deployment(asked=spec(engine=TENSORRT, placement={"poolRef": {"name": "east"}}))
    (planned,) = plan(snapshot(view, nodes=nodes, pools=(east,))).deployments
    assert planned.wish is not None
    assert planned.wish.spec.target == Target(compute_capability="9.0", sm_count=132, memory_mib=81559)


def test_another_builder_or_target_is_another_engine_and_another_threshold_is_not() -> None:
    world = snapshot()
    one = wish(spec(), builder=world.policy.builder, target=None)
    assert one == wish(spec(postprocess={"confidence": "0.5"}), builder=world.policy.builder, target=None)
    assert one.name == wish(spec(), builder=world.policy.builder.model_copy(update={"image": "x"}), target=None).name
    newer = world.policy.builder.model_copy(update={"version": "2"})
    there = Target(compute_capability="9.0", sm_count=16, memory_mib=9984)
    names = {one.name, wish(spec(), builder=newer, target=None).name, wish(spec(), builder=newer, target=there).name}
    assert len(names) == 3


# Surge or in place


def rolled(*, strategy: str = "Auto", used: int = 0, surge: bool = True, serving: str = "", **given) -> bool:
    """Return whether the planned group surges, on one node with two devices."""
    asked = spec(rollout={"strategy": strategy, "canaryPercent": 0})
    made = engine(asked, status=PUBLISHED)
    old = engine(asked, name="e-old", status=PUBLISHED)
    current = group("gpu", serving or made.name, surge=surge)
    view = deployment(asked=asked, groups=(current,), **given)
    (planned,) = plan(snapshot(view, engines=(made, old), devices_used={("n1", "nvidia.com/gpu"): used})).deployments
    (result,) = planned.groups
    return result.surge


@pytest.mark.parametrize(
    ("what", "given", "surges"),
    [
        ("a new engine with room", {"serving": "e-old", "used": 1}, True),
        ("a new engine on a full node", {"serving": "e-old", "used": 2}, False),
        ("a new engine with room, in place before", {"serving": "e-old", "used": 1, "surge": False}, True),
        ("in mid-rollout nothing flips for room", {"used": 2, "surge": True}, True),
        ("in mid-rollout nothing flips back", {"used": 0, "surge": False}, False),
        ("a surge that finds no slice", {"pods": (pod(ready=False, unschedulable="full"),)}, False),
        ("a pod that goes finds no slice", {"pods": (pod(unschedulable="full", terminating=True),)}, True),
        ("asked to surge on a full node", {"serving": "e-old", "used": 2, "strategy": "Surge"}, True),
        ("asked to stay in place", {"serving": "e-old", "used": 0, "strategy": "InPlace"}, False),
    ],
)
def test_surge_or_in_place(what, given, surges) -> None:
    assert rolled(**given) is surges, what


def test_devices_on_nodes_of_others_leave_no_room_here() -> None:
    asked = spec()
    made = engine(asked, status=PUBLISHED)
    used = {("n1", "nvidia.com/gpu"): 2, ("n9", "nvidia.com/gpu"): 0}
    (planned,) = plan(snapshot(deployment(asked=asked), engines=(made,), devices_used=used)).deployments
    assert planned.groups[0].surge is False


def test_an_engine_on_its_way_out_is_asked_for_anew() -> None:
    """The observer leaves it out; the plan wants it back."""
    view = deployment()
    (made,) = plan(snapshot(view)).owners
    assert (made.namespace, made.exists, made.askers) == (NS, False, ("gate",))

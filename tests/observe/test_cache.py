"""The cache: newest wins, deletions go by uid, and every change brings the right one's turn."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.raw_objects import Object, migpool, node, yolodeployment
from yolofleet.observe.cache import Cache, DirtySet, Key
from yolofleet.render.meta import DEPLOYMENT_LABEL, ENGINE_LABEL

GATE, YARD = Key("YoloDeployment", "cams", "gate"), Key("YoloDeployment", "cams", "yard")
ENGINE = Key("YoloEngine", "cams", "e-1")
POOL = Key("MigPool", "", "default")


def at(version: int, obj: Object, uid: str = "u1", **meta: Any) -> Object:
    return obj | {"metadata": obj["metadata"] | {"resourceVersion": str(version), "uid": uid} | meta}


def child(kind: str, name: str = "c", version: int = 5, **labels: str) -> Object:
    named = {"deployment": DEPLOYMENT_LABEL, "engine": ENGINE_LABEL}
    meta = {"name": name, "namespace": "cams", "labels": {named[key]: value for key, value in labels.items()}}
    return at(version, {"kind": kind, "metadata": meta, "spec": {}, "status": {}})


def engine(*owners: str, version: int = 5) -> Object:
    references = [{"kind": "YoloDeployment", "name": owner, "uid": f"uid-{owner}"} for owner in owners]
    meta = {"name": "e-1", "namespace": "cams", "ownerReferences": references}
    return at(version, {"kind": "YoloEngine", "metadata": meta, "spec": {}})


def turns(cache: Cache) -> set[Key]:
    return set(cache.dirty.take(1000))


@pytest.fixture
def cache() -> Cache:
    return Cache()


@given(st.permutations([7, 8, 9, 10]))
def test_whatever_the_order_of_events_the_newest_stays(order: list[int]) -> None:
    cache = Cache()
    for version in order:
        cache.put("YoloDeployment", at(version, yolodeployment(suspend=version == 10)))
    known = cache.get(GATE)
    assert known is not None
    assert known["metadata"]["resourceVersion"] == "10"
    assert known["spec"]["suspend"] is True


def test_versions_are_numbers_not_words(cache) -> None:
    cache.put("YoloDeployment", at(9, yolodeployment()))
    assert cache.put("YoloDeployment", at(10, yolodeployment()))


def test_a_late_event_cannot_undo_our_own_write(cache) -> None:
    cache.put("YoloDeployment", at(20, yolodeployment(suspend=True)))
    turns(cache)
    assert not cache.put("YoloDeployment", at(15, yolodeployment(suspend=False)))
    assert cache.get(GATE)["spec"]["suspend"] is True
    assert turns(cache) == set()


def test_a_late_event_of_a_former_object_cannot_replace_its_successor(cache) -> None:
    cache.put("YoloDeployment", at(20, yolodeployment(suspend=True), uid="new"))
    assert not cache.put("YoloDeployment", at(15, yolodeployment(), uid="old"))
    assert cache.get(GATE)["metadata"]["uid"] == "new"


def test_a_successor_replaces_a_former_object_whose_end_nobody_told(cache) -> None:
    cache.put("YoloDeployment", at(15, yolodeployment(), uid="old"))
    assert cache.put("YoloDeployment", at(20, yolodeployment(), uid="new"))
    assert cache.get(GATE)["metadata"]["uid"] == "new"


def test_the_end_of_a_former_object_does_not_end_its_successor(cache) -> None:
    cache.put("YoloDeployment", at(20, yolodeployment(), uid="new"))
    cache.remove("YoloDeployment", at(19, yolodeployment(), uid="old"))
    assert cache.get(GATE) is not None
    cache.remove("YoloDeployment", at(21, yolodeployment(), uid="new"))
    assert cache.get(GATE) is None


def test_an_end_that_is_told_twice_is_one_end(cache) -> None:
    cache.put("YoloDeployment", at(5, yolodeployment()))
    cache.remove("YoloDeployment", at(6, yolodeployment()))
    turns(cache)
    cache.remove("YoloDeployment", at(6, yolodeployment()))
    assert turns(cache) == set()


@pytest.mark.parametrize(
    ("kind", "obj", "expected"),
    [
        ("YoloDeployment", at(5, yolodeployment()), {GATE}),
        ("YoloEngine", engine("gate", "yard"), {ENGINE, GATE, YARD}),
        ("Deployment", child("Deployment", deployment="gate", engine="e-1"), {GATE}),
        ("Service", child("Service", deployment="gate"), {GATE}),
        ("PodDisruptionBudget", child("PodDisruptionBudget", deployment="gate"), {GATE}),
        ("Pod", child("Pod", deployment="gate", engine="e-1"), {GATE}),
        ("Pod", child("Pod", engine="e-1"), {ENGINE}),
        ("Job", child("Job", engine="e-1"), {ENGINE}),
        ("PersistentVolumeClaim", child("PersistentVolumeClaim"), set()),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_each_kind_brings_the_turn_of_those_it_belongs_to(cache, kind, obj, expected) -> None:
    cache.put(kind, obj)
    assert turns(cache) == expected
    cache.put(kind, at(6, obj))
    assert turns(cache) == expected
    cache.remove(kind, at(7, obj))
    assert turns(cache) == expected


@pytest.mark.parametrize(("kind", "obj"), [("Node", node()), ("MigPool", migpool())])
def test_nodes_and_pools_bring_everybodys_turn(cache, kind, obj) -> None:
    cache.put("MigPool", at(2, migpool()))
    cache.put("YoloDeployment", at(3, yolodeployment()))
    cache.put("YoloEngine", engine())
    turns(cache)
    cache.put(kind, at(8, obj | {"spec": {"unschedulable": True}}))
    assert turns(cache) == {GATE, POOL}


def test_a_nodes_heartbeat_is_no_news(cache) -> None:
    cache.put("YoloDeployment", at(3, yolodeployment()))
    cache.put("Node", at(5, node()))
    turns(cache)
    later = node()
    later["status"]["conditions"][1]["lastHeartbeatTime"] = "2026-01-01T00:05:00Z"
    later["status"]["images"] = []
    generation = cache.generation
    assert cache.put("Node", at(6, later))
    assert turns(cache) == set()
    assert cache.generation == generation


@pytest.mark.parametrize("change", [{"ready": "False"}, {"devices": {"nvidia.com/gpu": "1"}}, {"gpu__product": "x"}])
def test_what_a_node_offers_is_news(cache, change) -> None:
    cache.put("YoloDeployment", at(3, yolodeployment()))
    cache.put("Node", at(5, node()))
    turns(cache)
    cache.put("Node", at(6, node(**change)))
    assert turns(cache) == {GATE}


def test_who_loses_a_child_or_an_engine_is_told_too(cache) -> None:
    cache.put("Deployment", child("Deployment", deployment="gate"))
    cache.put("YoloEngine", engine("gate", "yard"))
    turns(cache)
    cache.put("Deployment", child("Deployment", version=6, deployment="yard"))
    assert turns(cache) == {GATE, YARD}
    cache.put("YoloEngine", engine("yard", version=6))
    assert turns(cache) == {ENGINE, GATE, YARD}


def test_children_are_found_by_label_in_order_and_forgotten(cache) -> None:
    def names(value: str) -> list[str]:
        return [obj["metadata"]["name"] for obj in cache.labelled("Pod", "cams", DEPLOYMENT_LABEL, value)]

    for name in ("b", "a", "c"):
        cache.put("Pod", child("Pod", name, deployment="gate"))
    assert names("gate") == ["a", "b", "c"]
    cache.put("Pod", child("Pod", "b", version=6, deployment="yard"))
    assert (names("gate"), names("yard")) == (["a", "c"], ["b"])
    cache.remove("Pod", child("Pod", "a", version=7, deployment="gate"))
    assert names("gate") == ["c"]
    assert list(cache.labelled("Pod", "others", DEPLOYMENT_LABEL, "gate")) == []


def test_engines_are_found_by_owner_and_forgotten(cache) -> None:
    cache.put("YoloEngine", engine("gate", "yard"))
    assert cache.owned("uid-gate") == (ENGINE,)
    cache.put("YoloEngine", engine("yard", version=6))
    assert (cache.owned("uid-gate"), cache.owned("uid-yard")) == ((), (ENGINE,))
    cache.remove("YoloEngine", engine("yard", version=7))
    assert cache.owned("uid-yard") == ()


def test_serving_pods_are_their_deployments_and_not_their_engines(cache) -> None:
    cache.put("Pod", child("Pod", "serving", deployment="gate", engine="e-1"))
    cache.put("Pod", child("Pod", "building", engine="e-1"))
    assert [p["metadata"]["name"] for p in cache.labelled("Pod", "cams", ENGINE_LABEL, "e-1")] == ["building"]
    assert [p["metadata"]["name"] for p in cache.labelled("Pod", "cams", DEPLOYMENT_LABEL, "gate")] == ["serving"]


def test_nothing_is_left_of_what_is_gone(cache) -> None:
    for n in range(3):
        cache.put("Pod", child("Pod", f"pod-{n}", deployment=f"gate-{n}"))
    cache.put("YoloEngine", engine("gate", "yard"))
    for n in range(3):
        cache.remove("Pod", child("Pod", f"pod-{n}", version=6, deployment=f"gate-{n}"))
    cache.remove("YoloEngine", engine("gate", "yard", version=6))
    assert (cache._by_mark, cache._by_owner) == ({}, {})


def test_what_kubectl_applied_last_is_not_kept_twice(cache) -> None:
    obj = at(5, yolodeployment())
    obj["metadata"]["annotations"] = {"kubectl.kubernetes.io/last-applied-configuration": "{}", "team": "gates"}
    cache.put("YoloDeployment", obj)
    assert cache.get(GATE)["metadata"]["annotations"] == {"team": "gates"}


def test_only_engines_of_which_something_changed_are_stale(cache) -> None:
    cache.put("Job", child("Job", engine="e-1"))
    assert cache.stale_engines == {ENGINE}
    cache.stale_engines = set()
    cache.put("Pod", child("Pod", deployment="gate", engine="e-1"))
    cache.put("Node", at(5, node()))
    assert cache.stale_engines == set()


def test_what_nobody_reads_is_not_kept(cache) -> None:
    pod = child("Pod", deployment="gate")
    pod["metadata"]["managedFields"] = [{"manager": "kubelet"}]
    pod["spec"] = {
        "nodeName": "n1",
        "volumes": [{}] * 9,
        "containers": [{"name": "x", "resources": {"limits": {"a": "1"}}}],
    }
    cache.put("Pod", pod)
    known = cache.get(Key("Pod", "cams", "c"))
    assert known["spec"] == {"nodeName": "n1", "limits": [{"a": "1"}]}
    assert "managedFields" not in known["metadata"]


async def test_the_dirty_set_takes_bites_first_come_first_served() -> None:
    dirty = DirtySet()
    keys = [Key("YoloDeployment", "cams", f"d{i}") for i in range(5)]
    dirty.add(*keys)
    dirty.add(keys[0])
    assert dirty.take(2) == set(keys[:2])
    dirty.add(keys[0])
    assert dirty.take(4) == {*keys[2:], keys[0]}
    assert len(dirty) == 0
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(dirty.wait(), 0.01)
    dirty.add()
    assert len(dirty) == 0
    dirty.add(keys[0])
    await asyncio.wait_for(dirty.wait(), 1)

"""The running count of held devices is what a count of all pods would be, whatever came and went."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from yolofleet.observe.cache import Cache
from yolofleet.observe.devices import Devices, held

SLICE = "nvidia.com/mig-1g.10gb"


def pod(name: str, version: int, node: str | None, phase: str) -> dict[str, Any]:
    meta = {"name": name, "namespace": "cams", "uid": f"u-{name}", "resourceVersion": str(version)}
    containers = [{"resources": {"limits": {SLICE: 1, "cpu": "1"}}}, {}]
    return {"metadata": meta, "spec": {"nodeName": node, "containers": containers}, "status": {"phase": phase}}


STEPS = st.tuples(
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([None, "n1", "n2"]),
    st.sampled_from(["Pending", "Running", "Succeeded", "Failed", "gone"]),
    st.booleans(),
)


@given(st.lists(STEPS, max_size=30))
def test_the_running_count_is_the_count_of_all(steps: list[tuple[str, str | None, str, bool]]) -> None:
    cache = Cache()
    devices = Devices(cache)
    for version, (name, node, phase, looked) in enumerate(steps, 10):
        if phase == "gone":
            cache.remove("Pod", pod(name, version, node, phase))
        else:
            cache.put("Pod", pod(name, version, node, phase))
        if looked:
            devices.used()
    everything: Counter[tuple[str, str]] = Counter()
    for kept in cache.all("Pod").values():
        everything.update(dict(held(kept)))
    assert devices.used() == everything


def test_only_pods_that_changed_are_looked_at() -> None:
    cache = Cache()
    devices = Devices(cache)
    cache.put("Pod", pod("a", 5, "n1", "Running"))
    assert devices.used() == {("n1", SLICE): 1}
    assert cache.changed_pods == set()
    cache.put("Pod", pod("b", 6, "n1", "Running"))
    assert [key.name for key in cache.changed_pods] == ["b"]
    assert devices.used() == {("n1", SLICE): 2}


def test_init_containers_take_what_the_most_of_them_needs_not_what_all_need() -> None:
    build = pod("build", 5, "n1", "Pending")
    build["spec"]["containers"] = [{}]
    build["spec"]["initContainers"] = [{}, {"resources": {"limits": {SLICE: "1"}}}, {"resources": {}}]
    both = pod("both", 6, "n1", "Running")
    both["spec"]["initContainers"] = [{"resources": {"limits": {SLICE: "1"}}}]
    cache = Cache()
    devices = Devices(cache)
    cache.put("Pod", build)
    assert devices.used() == {("n1", SLICE): 1}
    cache.put("Pod", both)
    assert devices.used() == {("n1", SLICE): 2}, "its containers' own, not one more"

"""From the cache to a snapshot: whose turn it is, what is kept, what is read anew."""

from __future__ import annotations

import pytest

from tests.planning.worlds import NOW, POLICY
from tests.raw_objects import FAILED, Object, build_pod, migpool, node, yolodeployment
from yolofleet.api.build import Progress
from yolofleet.observe.cache import Cache, Key
from yolofleet.observe.snapshot import Observer
from yolofleet.planning.plan import plan
from yolofleet.planning.snapshot import EngineView, Refusal, Snapshot
from yolofleet.render.engines import engine as rendered

GATE = Key("YoloDeployment", "cams", "gate")


class World:
    """A cache that is fed in order of versions, and its observer."""

    def __init__(self) -> None:
        self.cache = Cache()
        self.observer = Observer(self.cache, POLICY)
        self.version = 10

    def put(self, obj: Object, **meta: object) -> Key:
        self.version += 1
        kind, told = obj["kind"], {"resourceVersion": str(self.version), "uid": f"uid-{obj['metadata']['name']}"}
        made = obj | {"metadata": told | obj["metadata"] | meta | {"resourceVersion": str(self.version)}}
        self.cache.put(kind, made)
        return Key(kind, made["metadata"].get("namespace", ""), made["metadata"]["name"])

    def remove(self, key: Key) -> None:
        self.cache.remove(key.kind, self.cache.get(key))

    def look(self, *keys: Key) -> Snapshot:
        return self.observer.look(frozenset(keys), NOW)[0]

    def engine(self) -> Key:
        """Put the engine that the gate asks for."""
        self.put(node())
        self.put(yolodeployment(), generation=1)
        (owners,) = plan(self.look(GATE)).owners
        return self.put(rendered(owners), generation=1)

    def view(self, key: Key) -> EngineView:
        return self.look().engines[(key.namespace, key.name)]


@pytest.fixture
def world() -> World:
    return World()


def job_of(key: Key, uid: str = "job-1") -> Object:
    labels = {"yolofleet.dev/engine": key.name, "app.kubernetes.io/managed-by": "yolofleet"}
    meta = {"name": key.name, "namespace": key.namespace, "uid": uid, "labels": labels}
    return {"kind": "Job", "metadata": meta | {"ownerReferences": [{"uid": f"uid-{key.name}"}]}}


def test_only_those_whose_turn_it_is_are_seen_and_all_engines_nodes_and_pools(world):
    engine = world.engine()
    world.put(yolodeployment("yard"))
    seen = world.look(GATE)
    assert [view.name for view in seen.deployments] == ["gate"]
    assert seen.engines.keys() == {(engine.namespace, engine.name)}
    assert [view.name for view in seen.nodes] == ["n1"]
    assert seen.engines_due == ()
    assert world.look(engine).engines_due == ((engine.namespace, engine.name),)


def test_who_is_gone_or_on_the_way_out_has_no_turn(world):
    key = world.put(yolodeployment(), deletionTimestamp="2026-01-01T00:00:00Z")
    assert world.look(key, Key("YoloDeployment", "cams", "never")).deployments == ()


def test_an_engine_on_its_way_out_is_not_seen(world):
    engine = world.engine()
    assert world.look().engines
    world.put(world.cache.get(engine), deletionTimestamp="2026-01-01T00:00:00Z")
    assert not world.look().engines


def test_an_engine_that_did_not_change_is_not_read_again(world):
    engine = world.engine()
    first = world.view(engine)
    world.put(yolodeployment(suspend=True))
    assert world.view(engine) is first


def test_an_engine_is_read_again_when_its_job_pods_progress_or_refusal_change(world):
    engine = world.engine()
    views = [world.view(engine)]
    job = world.put(job_of(engine))
    views.append(world.view(engine))
    pod = world.put(build_pod(world.cache.get(job)))
    views.append(world.view(engine))
    assert world.observer.hear(engine, Progress(stage="Export", percent=40))
    views.append(world.view(engine))
    assert world.observer.refused(engine, (Refusal("Forbidden", 403, "quota"),))
    views.append(world.view(engine))
    world.remove(pod)
    views.append(world.view(engine))
    world.remove(job)
    views.append(world.view(engine))
    assert [view.job is not None for view in views] == [False, True, True, True, True, True, False]
    assert [bool(view.job and view.job.pod_ip) for view in views] == [False, False, True, True, True, False, False]
    assert [view.progress is not None for view in views] == [False, False, False, True, True, True, True]
    assert [view.refused for view in views[4:]] == ["quota"] * 3


def test_the_same_news_twice_is_no_news(world):
    engine = world.engine()
    told = Progress(stage="Export", percent=40)
    assert world.observer.hear(engine, told)
    assert not world.observer.hear(engine, told)
    refusal = (Refusal("Forbidden", 403, "quota"),)
    assert world.observer.refused(engine, refusal)
    assert not world.observer.refused(engine, refusal)
    assert world.observer.refused(engine, ())
    assert not world.observer.refused(engine, ())


def test_an_engine_that_was_made_anew_is_another(world):
    engine = world.engine()
    first = world.view(engine)
    obj = world.cache.get(engine)
    world.remove(engine)
    assert not world.look().engines
    world.put(obj, uid="uid-second")
    assert world.view(engine).uid == "uid-second"
    assert first.uid != "uid-second"


def test_the_pod_of_a_former_job_does_not_speak_for_this_one(world):
    engine = world.engine()
    world.put(build_pod(job_of(engine, "job-0"), result=FAILED, exit_code=1))
    world.put(job_of(engine, "job-1"))
    assert world.view(engine).job.result is None


def test_serving_pods_do_not_speak_for_a_build(world):
    engine = world.engine()
    job = world.put(job_of(engine))
    pod = build_pod(world.cache.get(job), result=FAILED, exit_code=1)
    pod["metadata"]["labels"]["yolofleet.dev/deployment"] = "gate"
    world.put(pod)
    assert world.view(engine).job.result is None


def test_running_builds_count_and_are_asked_for_their_progress(world):
    engine = world.engine()
    assert (world.look().builds_running, world.observer.builds()) == (0, [])
    job = world.put(job_of(engine))
    assert (world.look().builds_running, world.observer.builds()) == (1, [])
    world.put(build_pod(world.cache.get(job)))
    assert world.observer.builds() == [(engine, "10.0.0.7")]


def test_devices_are_counted_by_node_while_their_pods_hold_them(world):
    def pod(name: str, node_name: str | None, phase: str = "Running", device: str = "nvidia.com/gpu") -> Object:
        return {
            "kind": "Pod",
            "metadata": {"name": name, "namespace": "cams"},
            "spec": {
                "nodeName": node_name,
                "containers": [{"name": "t", "resources": {"limits": {device: "1", "memory": "4Gi"}}}],
            },
            "status": {"phase": phase},
        }

    world.put(node())
    world.put(pod("a", "n1"))
    world.put(pod("b", "n1", "Pending"))
    world.put(pod("c", "n2", device="nvidia.com/mig-1g.10gb"))
    world.put(pod("d", None))
    world.put(pod("e", "n1", "Succeeded"))
    last = world.put(pod("f", "n1", "Failed"))
    assert world.look().devices_used == {("n1", "nvidia.com/gpu"): 2, ("n2", "nvidia.com/mig-1g.10gb"): 1}
    world.remove(Key("Pod", "cams", "a"))
    world.remove(last)
    assert world.look().devices_used == {("n1", "nvidia.com/gpu"): 1, ("n2", "nvidia.com/mig-1g.10gb"): 1}


@pytest.mark.parametrize("key", [GATE, Key("MigPool", "", "default")])
def test_pools_have_their_turn_with_nodes_and_deployments(world, key):
    world.put(yolodeployment())
    assert not world.look(key).pools_due
    world.put(migpool())
    assert world.look(key).pools_due
    assert not world.look(Key("YoloEngine", "cams", "e-1")).pools_due


def test_nodes_are_read_again_only_when_what_they_offer_changes(world):
    world.put(node())
    first = world.look().nodes
    world.put(yolodeployment())
    assert world.look().nodes is first
    world.put(node(devices={"nvidia.com/gpu": "1"}))
    assert world.look().nodes[0].devices == {"nvidia.com/gpu": 1}


def unreadable(world: World, *keys: Key) -> dict[str, str]:
    return {view.name: view.message for view in world.observer.look(frozenset(keys), NOW)[1]}


def test_what_cannot_be_read_is_told_with_field_value_and_remedy_until_it_can(world):
    odd = world.put(yolodeployment("odd", scaling={"minReplicas": 9, "maxReplicas": 2}))
    worse = world.put(yolodeployment("worse", model={"builtin": "UPPER"}))
    told = unreadable(world, odd, worse)
    assert "spec.scaling" in told["odd"]
    assert "scaling.minReplicas must not be above scaling.maxReplicas" in told["odd"]
    assert "spec.model.builtin" in told["worse"]
    assert "'UPPER'" in told["worse"]
    assert "mend the field, or upgrade the operator" in told["worse"]
    world.put(yolodeployment("odd"))
    assert unreadable(world, odd, worse).keys() == {"worse"}
    world.remove(worse)
    assert unreadable(world, odd, worse) == {}


def test_an_unreadable_engine_is_left_out_once_and_for_each_look(world):
    engine = world.engine()
    obj = world.cache.get(engine)
    world.put(obj | {"spec": obj["spec"] | {"key": "short"}})
    assert not world.look().engines
    assert "spec.key" in unreadable(world, engine)[engine.name]
    assert "spec.key" in unreadable(world, engine)[engine.name]
    world.put(obj)
    assert world.look().engines
    assert unreadable(world, engine) == {}


def test_an_unreadable_pool_is_left_out_and_told(world):
    key = world.put(migpool(overflow="Explode"))
    assert world.look().pools == ()
    assert "spec.overflow" in unreadable(world, key)["default"]
    world.remove(key)
    assert unreadable(world, key) == {}


def test_an_object_of_an_unknown_shape_is_left_out_and_stops_no_other(world, caplog):
    engine = world.engine()
    obj = world.cache.get(engine)
    world.put(obj | {"metadata": obj["metadata"] | {"name": "e-odd"}, "spec": obj["spec"]})
    world.put(node("n0") | {"status": {"allocatable": {"nvidia.com/gpu": "many"}}})
    world.put(job_of(Key("YoloEngine", "cams", "e-odd")) | {"status": {"conditions": [{"type": "Failed"}]}})
    seen = world.look(engine)
    assert [view.name for view in seen.nodes] == ["n1"]
    assert seen.engines.keys() == {(engine.namespace, engine.name)}
    assert "cannot be read" in caplog.text

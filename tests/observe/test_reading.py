"""From objects as they come to frozen views: what is missing, what is odd, what a pod says last."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.raw_objects import (
    ARTIFACT,
    FAILED,
    H100,
    PUBLISHED,
    REFUSED,
    Object,
    build_pod,
    job_ended,
    migpool,
    node,
    yolodeployment,
)
from yolofleet.api.build import BuildResult
from yolofleet.observe import reading
from yolofleet.observe.resources import trimmed
from yolofleet.planning.snapshot import DamageReport, NodeView

META = {"name": "x", "namespace": "cams", "uid": "u", "resourceVersion": "5", "labels": {"a": "b"}}


def kept(obj: Object) -> Object:
    """Return an object as the cache keeps it."""
    return trimmed(obj)


# Nodes


def test_a_node() -> None:
    told = node("n1", devices={"nvidia.com/gpu": "0", "nvidia.com/mig-1g.10gb": "7", "cpu": "16"}, gpu__product=H100)
    assert reading.node(kept(told)) == NodeView(
        name="n1",
        ready=True,
        schedulable=True,
        labels={"kubernetes.io/hostname": "n1", "nvidia.com/gpu.product": H100},
        devices={"nvidia.com/mig-1g.10gb": 7},
    )


@pytest.mark.parametrize("status", [None, {}, {"conditions": None, "allocatable": None}])
def test_a_node_that_said_nothing_yet(status) -> None:
    told: Object = {"kind": "Node", "metadata": {"name": "n1"}} | ({} if status is None else {"status": status})
    assert reading.node(kept(told)) == NodeView("n1", ready=False, schedulable=True, labels={}, devices={})


@pytest.mark.parametrize(("told", "count"), [("7", 7), (7, 7), ("1k", 1000), ("0", None)])
def test_devices_count_as_kubernetes_writes_them(told, count) -> None:
    assert reading.devices({"nvidia.com/gpu": told}) == ({} if count is None else {"nvidia.com/gpu": count})


@pytest.mark.parametrize("other", ["nvidia.com/gpu.shared", "amd.com/gpu", "nvidia.com/hostdev", "memory"])
def test_other_resources_are_no_devices(other) -> None:
    assert reading.devices({other: "64Gi"}) == {}


def test_a_cordoned_node() -> None:
    assert reading.node(kept(node() | {"spec": {"unschedulable": True}})).schedulable is False


# Pools and deployments


def test_a_pool_with_nothing_in_it_has_defaults() -> None:
    told = reading.pool(kept({"kind": "MigPool", "metadata": {"name": "p", "generation": 3}}))
    assert (told.name, told.generation, told.spec.builds.max_concurrent) == ("p", 3, 4)
    assert reading.pool(kept(migpool(builds={"maxConcurrent": 2}))).spec.builds.max_concurrent == 2


def deployment(**given: Any):
    told = yolodeployment() | given
    told["metadata"] = META | {"name": "gate"}
    return reading.deployment(kept(told), groups=(), pods=(), refusals=())


def test_a_deployment_without_status() -> None:
    assert deployment().status.conditions == []
    assert deployment(status=None).status.groups == []


def test_what_another_version_wrote_into_a_status_is_left_out_and_the_rest_kept() -> None:
    condition = {"type": "Ready", "status": "True", "reason": "Serving"}
    view = deployment(status={"replicas": "three", "readyReplicas": 2, "news": {}, "conditions": [condition]})
    assert (view.status.replicas, view.status.ready_replicas) == (0, 2)
    assert view.status.conditions[0].reason == "Serving"


def test_conditions_that_cannot_be_read_are_none() -> None:
    told = {"metadata": META, "status": {"conditions": [{"type": "ready?", "status": "Perhaps"}]}}
    assert reading.conditions(told) == []
    assert reading.conditions({"metadata": META}) == []


# Groups


def group(**given: Any):
    made = {
        "kind": "Deployment",
        "metadata": META
        | {
            "generation": 2,
            "labels": {"yolofleet.dev/engine": "e-1"},
            "annotations": {"yolofleet.dev/profile": "1g.10gb", "yolofleet.dev/surge": "true"},
        },
        "spec": {"replicas": 3, "template": {}},
    }
    return reading.group(kept(made | given))


def test_a_fresh_group_has_nothing_ready_and_is_not_settled() -> None:
    told = group()
    assert (told.profile, told.engine, told.replicas, told.surge) == ("1g.10gb", "e-1", 3, True)
    assert (told.ready_replicas, told.updated_replicas, told.total_replicas, told.settled) == (0, 0, 0, False)


def test_a_group_without_replicas_in_its_spec_has_one() -> None:
    assert group(spec={}).replicas == 1


def test_a_group_says_why_its_pods_may_not_be() -> None:
    conditions = [
        {"type": "ReplicaFailure", "status": "True", "message": "exceeded quota"},
        {"type": "Progressing", "status": "True"},
    ]
    assert group(status={"conditions": conditions, "observedGeneration": 2}).refused == "exceeded quota"
    assert group(status={"conditions": conditions, "observedGeneration": 2}).settled
    assert group(status={"conditions": [conditions[0] | {"status": "False"}]}).refused == ""


@pytest.mark.parametrize(
    ("what", "meta", "ours"),
    [
        ("ours", {}, True),
        ("another's", {"ownerReferences": [{"uid": "other"}]}, False),
        ("nobody's", {"ownerReferences": None}, False),
        ("on its way out", {"deletionTimestamp": "2026-01-01T00:00:00Z"}, False),
        ("without a profile", {"annotations": None}, False),
        ("with an odd profile", {"annotations": {"yolofleet.dev/profile": "huge"}}, False),
    ],
)
def test_which_deployments_are_ours(what, meta, ours) -> None:
    base = META | {"ownerReferences": [{"uid": "u"}], "annotations": {"yolofleet.dev/profile": "gpu"}}
    assert reading.serves({"metadata": base | meta}, "u") is ours, what


# Pods


def pod(status: Object, **meta: Any):
    return reading.pod(kept({"kind": "Pod", "metadata": META | meta, "spec": {"containers": None}, "status": status}))


def container(
    name: str = "triton", *, ready: bool = False, state: Object | None = None, last: Object | None = None
) -> Object:
    return {"name": name, "ready": ready, "state": state or {}, "lastState": last or {}}


def ended(code: int, message: str = "", reason: str = "Error") -> Object:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


@pytest.mark.parametrize("status", [{}, {"phase": "Pending", "conditions": None, "containerStatuses": None}])
def test_a_pod_that_nobody_has_looked_at(status) -> None:
    told = pod(status)
    assert (told.ready, told.unschedulable, told.init_failure, told.crash, told.terminating) == (
        False,
        "",
        None,
        "",
        False,
    )


def test_a_pod_that_finds_no_node() -> None:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/3 nodes"}
    assert pod({"conditions": [scheduled]}).unschedulable == "0/3 nodes"
    gated = scheduled | {"reason": "SchedulingGated"}
    assert pod({"conditions": [gated]}).unschedulable == ""


def test_a_pod_has_a_slice_from_its_node_on_until_it_has_ended() -> None:
    assert not pod({}).bound
    assert bound({})
    assert not bound({"phase": "Failed"})


def bound(status: dict[str, Any]) -> bool:
    return reading.pod(kept({"kind": "Pod", "metadata": META, "spec": {"nodeName": "n1"}, "status": status})).bound


def test_a_pod_on_its_way_out() -> None:
    assert pod({}, deletionTimestamp="2026-01-01T00:00:00Z").terminating


def test_a_pod_that_its_node_will_not_start_again() -> None:
    """Its Deployment has another one made; what it says of its end is nobody's concern any more."""
    told = pod({"phase": "Failed", "reason": "UnexpectedAdmissionError", "containerStatuses": [container()]})
    assert told.terminating
    assert not pod({"phase": "Running"}).terminating


def test_an_init_container_that_says_what_is_wrong() -> None:
    failure = {"field": "store", "value": "x", "message": "the digest differs", "remedy": "delete the engine"}
    status = {"initContainerStatuses": [container("assemble", state=ended(1, json.dumps(failure)))]}
    told = pod(status).init_failure
    assert told is not None
    assert told.sentence() == "store: the digest differs (got 'x'); delete the engine"


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("", "Error, exit code 1"),
        ("Traceback\n  File x\n\nValueError: no\n", "Traceback |   File x | ValueError: no"),
        ('{"message": 5}', '{"message": 5}'),
        ("x" * 4096, "Error, exit code 1: xxx"),
    ],
)
def test_an_init_container_that_says_something_else(message, words) -> None:
    told = pod({"initContainerStatuses": [container("assemble", last=ended(1, message))]}).init_failure
    assert told is not None
    assert words in told.message
    assert len(told.message) <= 1024


def test_an_init_container_that_found_its_engine_damaged() -> None:
    failure = {"message": "the digest differs", "remedy": "x", "damaged": True}
    ended_at = ended(1, json.dumps(failure))
    ended_at["terminated"]["startedAt"] = "2026-01-01T00:00:07Z"
    told = pod({"initContainerStatuses": [container("assemble", last=ended_at)]}).damage
    assert told == DamageReport("x", datetime(2026, 1, 1, 0, 0, 7, tzinfo=UTC), "the digest differs")
    for other in ({"damaged": False}, {"damaged": "yes"}):
        words = ended(1, json.dumps(failure | other))
        words["terminated"]["startedAt"] = "2026-01-01T00:00:07Z"
        assert pod({"initContainerStatuses": [container("assemble", last=words)]}).damage is None
    assert pod({"initContainerStatuses": [container("assemble", last=ended(1, json.dumps(failure)))]}).damage is None


def test_an_init_container_that_ended_well_is_no_failure() -> None:
    assert pod({"initContainerStatuses": [container("assemble", ready=True, state=ended(0))]}).init_failure is None


@pytest.mark.parametrize(
    ("what", "status", "crash"),
    [
        ("loading", container(state={"running": {}}), ""),
        (
            "crashed",
            container(state={"waiting": {"reason": "CrashLoopBackOff"}}, last=ended(1, "no backend")),
            "triton: Error, exit code 1: no backend",
        ),
        ("killed for memory", container(state=ended(137, "", "OOMKilled")), "triton: OOMKilled, exit code 137"),
        ("crashed once, serves now", container(ready=True, state={"running": {}}, last=ended(1)), ""),
        (
            "no image",
            container(state={"waiting": {"reason": "ImagePullBackOff", "message": "not found"}}),
            "triton: ImagePullBackOff: not found",
        ),
        ("being made", container(state={"waiting": {"reason": "ContainerCreating"}}), ""),
        ("without a state", {"name": "triton", "ready": False}, ""),
        ("with null states", {"name": "triton", "ready": False, "state": None, "lastState": None}, ""),
    ],
)
def test_how_a_container_is(what, status, crash) -> None:
    assert pod({"containerStatuses": [status]}).crash == crash, what


# Builds


def job(status: Object | None = None, **meta: Any) -> Object:
    labels = {"yolofleet.dev/engine": "e-1"}
    return {
        "kind": "Job",
        "metadata": META
        | {"name": "e-1", "uid": "job-1", "labels": labels, "ownerReferences": [{"uid": "engine-1"}]}
        | meta,
        "status": status or {},
    }


def read(status: Object | None, *pods: Object, **meta: Any):
    return reading.job(kept(job(status, **meta)), [kept(pod) for pod in pods], engine_uid="engine-1")


def test_a_fresh_job_is_active_and_silent() -> None:
    told = read(None)
    assert (told.active, told.succeeded, told.failed, told.result, told.spoke, told.pod_ip) == (
        True,
        False,
        False,
        None,
        False,
        None,
    )


def test_a_running_build_has_an_address() -> None:
    told = read({"active": 1}, build_pod(job()))
    assert (told.active, told.pod_ip, told.result) == (True, "10.0.0.7", None)


@pytest.mark.parametrize(
    ("result", "how", "code"), [(PUBLISHED, "Complete", 0), (REFUSED, "Failed", 42), (FAILED, "Failed", 1)]
)
def test_a_build_that_ended_says_what_came_of_it(result, how, code) -> None:
    told = read(job_ended(how), build_pod(job(), result=result, exit_code=code))
    assert told.result is not None
    assert told.result.outcome == result["outcome"]
    assert (told.active, told.succeeded, told.failed) == (False, how == "Complete", how == "Failed")
    assert (told.spoke, told.pod_ip) == (True, None)
    assert told.ended is not None
    assert told.ended.isoformat() == "2026-01-01T00:10:00+00:00"


@pytest.mark.parametrize("first", ["FailureTarget", "SuccessCriteriaMet"])
def test_a_job_that_is_about_to_end_still_runs(first) -> None:
    told = read({"conditions": [{"type": first, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}]})
    assert (told.active, told.succeeded, told.failed, told.ended) == (True, False, False, None)


@pytest.mark.parametrize(
    "message", ["", "Killed", '{"outcome": "Perhaps"}', '{"outcome":"Published","artifact":{"uri":']
)
def test_last_words_that_are_no_result_tell_how_the_container_ended(message) -> None:
    told = read(job_ended("Failed"), build_pod(job(), result=message, exit_code=137))
    assert told.result is None
    assert told.spoke
    assert told.message == "the build's container publish ended: Error, exit code 137"


@pytest.mark.parametrize("at", ["fetch", "convert", "publish"])
def test_whichever_container_fails_says_why(at) -> None:
    told = read(job_ended("Failed"), build_pod(job(), result=REFUSED, exit_code=42, at=at))
    assert told.spoke
    assert told.result == BuildResult.model_validate(REFUSED)
    killed = read(job_ended("Failed"), build_pod(job(), result="", exit_code=137, at=at))
    assert killed.message == f"the build's container {at} ended: Error, exit code 137"


@pytest.mark.parametrize("at", ["fetch", "convert", "publish"])
def test_whichever_container_runs_is_asked_how_far_it_is(at) -> None:
    told = read({"active": 1}, build_pod(job(), at=at))
    assert (told.pod_ip, told.spoke, told.result) == ("10.0.0.7", False, None)


def test_between_two_containers_nobody_is_asked() -> None:
    pod = build_pod(job(), at="convert")
    pod["status"]["initContainerStatuses"][1]["state"] = {"waiting": {"reason": "PodInitializing"}}
    assert read({"active": 1}, pod).pod_ip is None


LIES: dict[str, tuple[str, int, Object | str]] = {
    "convert says that it published": ("convert", 1, PUBLISHED),
    "convert says so, and ends well": ("convert", 0, PUBLISHED),
    "fetch says that it published": ("fetch", 42, PUBLISHED),
    "publish says so, and fails": ("publish", 1, PUBLISHED),
    "publish refuses, and ends well": ("publish", 0, REFUSED),
    "an endless message": ("convert", 42, REFUSED | {"failure": {"message": "x" * 1025}}),
    "a failure that says nothing": ("convert", 42, {"outcome": "Refused"}),
    "bytes without end": ("convert", 1, "[" * 4096),
    "a size that is no number": ("publish", 0, '{"outcome":"Published","artifact":{"uri":"x","sizeBytes":NaN}}'),
    "a size below zero": ("publish", 0, PUBLISHED | {"artifact": ARTIFACT | {"sizeBytes": -1}}),
    "a digest that is none": ("publish", 0, PUBLISHED | {"artifact": ARTIFACT | {"sha256": "../../etc/passwd"}}),
}


@pytest.mark.parametrize("lie", LIES)
def test_what_a_build_cannot_know_or_may_not_say_is_not_believed(lie) -> None:
    at, code, words = LIES[lie]
    told = read(job_ended("Failed" if code else "Complete"), build_pod(job(), result=words, exit_code=code, at=at))
    assert told.result is None


def test_a_job_whose_pod_is_gone_says_why_it_failed() -> None:
    told = read(job_ended("Failed", message="Job was active longer than specified deadline"))
    assert "longer than specified deadline" in told.message
    assert not told.spoke


def test_a_pod_of_another_job_by_the_same_name_does_not_speak() -> None:
    older = build_pod(job(uid="job-0"), result=FAILED, exit_code=1)
    told = read({"active": 1}, older)
    assert (told.result, told.spoke) == (None, False)


def test_the_newest_pod_speaks() -> None:
    first, second = build_pod(job(), result=FAILED, exit_code=1, name="a"), build_pod(job(), name="b")
    first["metadata"]["creationTimestamp"], second["metadata"]["creationTimestamp"] = (
        "2026-01-01T00:00:00Z",
        "2026-01-01T00:01:00Z",
    )
    assert read({"active": 1}, second, first).pod_ip == "10.0.0.7"


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (
            {"phase": "Pending", "conditions": [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes"}]},
            "waits for a node: 0/1 nodes",
        ),
        (
            {
                "containerStatuses": [
                    container("build", state={"waiting": {"reason": "ErrImagePull", "message": "denied"}})
                ]
            },
            "ErrImagePull: denied",
        ),
        ({"containerStatuses": [container("build", state={"waiting": {"reason": "ContainerCreating"}})]}, ""),
        ({}, ""),
    ],
)
def test_what_a_build_waits_for(status, words) -> None:
    assert read({"active": 1}, build_pod(job()) | {"status": status}).waiting == words


def test_a_job_on_its_way_out() -> None:
    assert read({"active": 1}, deletionTimestamp="2026-01-01T00:00:00Z").terminating


def test_the_job_of_a_former_engine_is_on_its_way_out_and_its_result_is_not_ours() -> None:
    told = read(
        job_ended("Failed"), build_pod(job(), result=REFUSED, exit_code=42), ownerReferences=[{"uid": "engine-0"}]
    )
    assert (told.terminating, told.result) == (True, None)


# Rollouts


def test_a_canary_is_known_by_its_label_and_an_image_by_the_annotation() -> None:
    told = group()
    assert (told.image, reading.is_canary({"metadata": {}})) == ("", False)
    meta = {"labels": {"yolofleet.dev/track": "canary"}, "annotations": {"yolofleet.dev/image": "triton:2"}}
    made = {"kind": "Deployment", "metadata": META | meta, "spec": {"replicas": 1, "template": {}}}
    assert reading.group(kept(made)).image == "triton:2"
    assert reading.is_canary(kept(made))

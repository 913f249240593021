"""Every reason a YoloDeployment's condition can have: its status, and words that name field, value and remedy."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest

from tests.planning.worlds import (
    FAILURE,
    H100,
    NOW,
    PUBLISHED,
    REFUSED,
    backing_off,
    deployment,
    engine,
    group,
    labelled,
    node,
    pod,
    snapshot,
    spec,
)
from yolofleet.api.conditions import Reason
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.judging import Judged
from yolofleet.planning.plan import plan
from yolofleet.planning.snapshot import EngineView, Refusal, Snapshot

ENGINE = engine().name
OF_ENGINES_AND_POOLS = {
    Reason.QUEUED,
    Reason.PUBLISHED,
    Reason.VERIFIED,
    Reason.MEASURED,
    Reason.BACKING_OFF,
    Reason.BUILD_QUOTA_EXCEEDED,
    Reason.WAITING_FOR_BUILD_SLICE,
    Reason.STORE_FULL,
    Reason.ENGINE_DAMAGED,
    Reason.STORE_UNAVAILABLE,
    Reason.POOL_READY,
    Reason.NO_NODES,
    Reason.NODES_SHARED,
    Reason.NODES_OWN,
    Reason.INVALID_SPEC,
}

OF_SCALING = {
    Reason.FOLLOWING_DEMAND,
    Reason.AT_MIN_REPLICAS,
    Reason.AT_MAX_REPLICAS,
    Reason.CAPACITY_UNKNOWN,
    Reason.SIGNALS_MISSING,
    Reason.STABILIZING_DOWN,
    Reason.EXTERNAL,
    Reason.AUTOSCALER_IGNORED,
}
"""Those of ScalingActive: tests/planning/scaling/test_replicas.py has them."""

OF_ROLLOUTS = {Reason.CANARY, Reason.ROLLED_BACK}
"""tests/planning/test_rollout.py has them."""

OF_PORTABLE = {Reason.SERVING_PORTABLE}
"""tests/planning/test_portable.py has it."""

OF_THE_OBJECTIVE = {Reason.OBJECTIVE_MET, Reason.OBJECTIVE_MISSED, Reason.REQUESTS_FAILING}
"""tests/planning/test_objective.py has them."""


def world(*, made: EngineView | None = None, nodes=None, **given) -> Snapshot:
    engines = () if made is None else (made,)
    return snapshot(deployment(**given), engines=engines, nodes=(node(),) if nodes is None else nodes)


def served(status=PUBLISHED, **given) -> dict:
    """Return parts of a world in which an engine stands."""
    return {"made": engine(status=status), **given}


def one(*, ready: int = 1, replicas: int = 1, serving: str = ENGINE, **given):
    return (group("gpu", serving, ready=ready, replicas=replicas, **given),)


@dataclass(frozen=True)
class Case:
    """One world, one condition, and what it must say."""

    what: str
    world: Snapshot
    condition: str
    status: str
    reason: Reason
    fragments: tuple[str, ...] = field(default=())

    def __str__(self) -> str:
        return self.what


CASES = [
    Case("serving", world(**served(), groups=one()), "ready", "True", Reason.SERVING, ("1 of 1 replicas are ready",)),
    Case(
        "part of it",
        world(**served(), groups=one(ready=1, replicas=3), asked=spec(scaling={"minReplicas": 3})),
        "ready",
        "True",
        Reason.SERVING,
        ("1 of 3 replicas",),
    ),
    Case(
        "nothing ready",
        world(**served(), groups=one(ready=0)),
        "ready",
        "False",
        Reason.NOT_SERVING,
        ("0 of 1 replicas",),
    ),
    Case("suspended", world(asked=spec(suspend=True)), "ready", "False", Reason.SUSPENDED, ("spec.suspend is true",)),
    # EngineReady
    Case("published", world(**served()), "engine_ready", "True", Reason.ENGINE_READY, (ENGINE, "is published")),
    Case("not made yet", world(), "engine_ready", "False", Reason.WAITING_FOR_BUILD, (ENGINE, "is being created")),
    Case(
        "not started",
        world(made=engine()),
        "engine_ready",
        "False",
        Reason.WAITING_FOR_BUILD,
        (ENGINE, "waits for its build"),
    ),
    Case(
        "building",
        world(made=engine(status=YoloEngineStatus(stage="Export", progress_percent=40, message="tracing", attempts=1))),
        "engine_ready",
        "False",
        Reason.BUILDING,
        (ENGINE, "Export 40 %", "tracing"),
    ),
    Case(
        "failed, to be tried again",
        world(made=engine(status=backing_off(NOW, 2))),
        "engine_ready",
        "False",
        Reason.BUILD_FAILED,
        ("spec.model: it broke (got 'x'); mend it", "attempt 2 of YoloEngine", "the next at 2026-01-01T12:00:00+00:00"),
    ),
    Case(
        "refused",
        world(made=engine(status=REFUSED)),
        "engine_ready",
        "False",
        Reason.BUILD_REFUSED,
        ("spec.model: it broke (got 'x'); mend it",),
    ),
    Case(
        "a source to come",
        world(asked=spec(model={"oci": {"image": "a/b@sha256:" + "0" * 64}})),
        "engine_ready",
        "False",
        Reason.NOT_SUPPORTED,
        ("spec.model.oci", "builtin, http, pvc", "use one of them"),
    ),
    Case(
        "more boxes than an answer has rows",
        world(asked=spec(endpoints=["Ultralytics", "Frames"], postprocess={"maxDetections": 301})),
        "engine_ready",
        "False",
        Reason.NOT_SUPPORTED,
        ("spec.postprocess.maxDetections", "at most 300", "got 301"),
    ),
    Case(
        "a classifier's pictures",
        world(asked=spec(model={"builtin": "yolo26n-cls", "task": "Classify"}, endpoints=["JPEG"])),
        "engine_ready",
        "False",
        Reason.NOT_SUPPORTED,
        ("spec.endpoints", "JPEG", "leave JPEG and frames.sourceSize out"),
    ),
    Case(
        "no labels to compile for",
        world(asked=spec(engine={"backend": "TensorRT"})),
        "engine_ready",
        "False",
        Reason.NO_MATCHING_PROFILE,
        ("nvidia.com/gpu.compute.major", "nvidia.com/gpu.multiprocessors", "run NVIDIA's GPU feature discovery"),
    ),
    # Placed
    Case(
        "placed",
        world(**served(), groups=one()),
        "placed",
        "True",
        Reason.PLACED,
        ("gpu", "already serving on it"),
    ),
    Case(
        "the engine first",
        world(),
        "placed",
        "False",
        Reason.WAITING_FOR_ENGINE,
        ("gpu", "the smallest profile", "the engine comes first"),
    ),
    Case(
        "no such profile",
        world(asked=spec(placement={"profiles": ["1g.10gb"]}), nodes=(node(labels=labelled()),)),
        "placed",
        "False",
        Reason.NO_MATCHING_PROFILE,
        ("placement.profiles ['1g.10gb']", f"offered now: gpu ×2 ({H100})", "name what is offered"),
    ),
    Case(
        "no such product",
        world(asked=spec(placement={"products": ["NVIDIA-L4"]}), nodes=(node(labels=labelled()),)),
        "placed",
        "False",
        Reason.NO_MATCHING_PROFILE,
        ("placement.products ['NVIDIA-L4']", "leave the lists empty, or add nodes"),
    ),
    Case(
        "no GPU at all",
        world(nodes=()),
        "placed",
        "False",
        Reason.NO_MATCHING_PROFILE,
        ("any profile", "offered now: nothing", "add GPU nodes", "device plugin"),
    ),
    Case(
        "no such pool",
        world(asked=spec(placement={"poolRef": {"name": "east"}})),
        "placed",
        "False",
        Reason.POOL_NOT_FOUND,
        ("placement.poolRef.name", "'east'", "create it, or name another"),
    ),
    Case(
        "no room",
        world(**served(), groups=one(ready=0), pods=(pod(unschedulable="0/1 nodes: 1 Insufficient nvidia.com/gpu"),)),
        "placed",
        "False",
        Reason.NO_ROOM,
        (
            "1 of 1 replicas wait for a free gpu",
            "nodes offer 2",
            "Insufficient nvidia.com/gpu",
            "lower scaling.minReplicas",
            "placement.profiles",
        ),
    ),
    Case(
        "quota, told by the API server",
        world(**served(), refusals=(Refusal("Forbidden", 403, "exceeded quota: small"),)),
        "placed",
        "False",
        Reason.QUOTA_EXCEEDED,
        ("exceeded quota: small", "raise the ResourceQuota", "lower scaling.minReplicas or serving.resources"),
    ),
    Case(
        "quota, told by the Deployment",
        world(**served(), groups=one(ready=0, refused="pods is forbidden: exceeded quota: small")),
        "placed",
        "False",
        Reason.QUOTA_EXCEEDED,
        ("pods is forbidden: exceeded quota: small", "raise the ResourceQuota"),
    ),
    Case(
        "a pod that may not be",
        world(**served(), refusals=(Refusal("Invalid", 422, "spec.template.spec.priorityClassName: no such class"),)),
        "placed",
        "False",
        Reason.POD_REFUSED,
        ("Invalid: spec.template.spec.priorityClassName", "mend the field that it names in spec.serving or placement"),
    ),
    # ObjectiveMet
    Case(
        "not measured",
        world(),
        "objective_met",
        "Unknown",
        Reason.NOT_MEASURED,
        ("no replica has answered enough frames yet",),
    ),
    # Progressing
    Case("at rest", world(**served(), groups=one()), "progressing", "False", Reason.STABLE, ("1 replicas on gpu",)),
    Case(
        "suspended and gone",
        world(asked=spec(suspend=True)),
        "progressing",
        "False",
        Reason.SUSPENDED,
        ("spec.suspend is true",),
    ),
    Case(
        "suspended, going",
        world(**served(), groups=one(), asked=spec(suspend=True)),
        "progressing",
        "True",
        Reason.SCALING,
        ("1 replicas go",),
    ),
    Case(
        "building the first",
        world(made=engine(status=YoloEngineStatus(stage="Export", attempts=1))),
        "progressing",
        "True",
        Reason.BUILDING,
        ("Export",),
    ),
    Case(
        "refused for good",
        world(made=engine(status=REFUSED)),
        "progressing",
        "False",
        Reason.BUILD_REFUSED,
        ("mend it",),
    ),
    Case(
        "a ready engine without a place",
        world(**served(), nodes=()),
        "progressing",
        "False",
        Reason.NO_MATCHING_PROFILE,
        ("add GPU nodes",),
    ),
    Case(
        "scaling",
        world(**served(), groups=one(), asked=spec(scaling={"minReplicas": 3})),
        "progressing",
        "True",
        Reason.SCALING,
        ("1 → 3 replicas", "scaling.minReplicas 3"),
    ),
    Case(
        "rolling out",
        world(**served(), groups=one(replicas=2, ready=2, updated_replicas=1), asked=spec(scaling={"minReplicas": 2})),
        "progressing",
        "True",
        Reason.ROLLING_OUT,
        ("1 of 2 replicas are renewed", ENGINE),
    ),
    Case(
        "not yet seen by its controller",
        world(**served(), groups=one(settled=False)),
        "progressing",
        "True",
        Reason.ROLLING_OUT,
        (ENGINE,),
    ),
    Case(
        "old ones still there",
        world(**served(), groups=one(total_replicas=2)),
        "progressing",
        "True",
        Reason.ROLLING_OUT,
    ),
    Case(
        "loading",
        world(**served(), groups=one(ready=0)),
        "progressing",
        "True",
        Reason.LOADING,
        ("0 of 1 replicas are ready", "Triton is loading"),
    ),
    Case(
        "waiting for a slice",
        world(**served(), groups=one(ready=0), pods=(pod(ready=False, unschedulable="full"),)),
        "progressing",
        "True",
        Reason.NO_ROOM,
        ("wait for a slice",),
    ),
    Case(
        "a model that does not load",
        world(
            **served(),
            groups=one(ready=0),
            pods=(pod("gate-1", ready=False, crash="triton: Error, exit code 1: no backend"),),
        ),
        "progressing",
        "True",
        Reason.MODEL_NOT_LOADED,
        ("pod gate-1", "exit code 1", "no backend"),
    ),
    Case(
        "a store that lies",
        world(**served(), groups=one(ready=0), pods=(pod("gate-1", ready=False, init_failure=FAILURE),)),
        "progressing",
        "True",
        Reason.MODEL_NOT_LOADED,
        ("pod gate-1", "spec.model: it broke (got 'x'); mend it"),
    ),
    Case(
        "a killed pod that goes anyway",
        world(**served(), groups=one(), pods=(pod(ready=False, terminating=True, crash="137"),)),
        "progressing",
        "False",
        Reason.STABLE,
    ),
    Case(
        "held back by its build",
        world(groups=one(serving="e-old")),
        "progressing",
        "True",
        Reason.HELD_BACK,
        ("still serving YoloEngine e-old on gpu", "is being created"),
    ),
    Case(
        "held back for good",
        world(made=engine(status=REFUSED), groups=one(serving="e-old")),
        "progressing",
        "False",
        Reason.HELD_BACK,
        ("still serving YoloEngine e-old", "mend it"),
    ),
    Case(
        "held back by its nodes",
        world(**served(), groups=one(), nodes=()),
        "progressing",
        "False",
        Reason.HELD_BACK,
        ("still serving on gpu", "add GPU nodes"),
    ),
    Case(
        "about to be replaced",
        world(**served(), groups=one(serving="e-old")),
        "progressing",
        "True",
        Reason.ROLLING_OUT,
        ("YoloEngine e-old on gpu is replaced", ENGINE),
    ),
    Case(
        "moving to another profile",
        world(
            **served(),
            groups=one(),
            asked=spec(placement={"profiles": ["1g.10gb"]}),
            nodes=(node(devices={"nvidia.com/mig-1g.10gb": 7}),),
        ),
        "progressing",
        "True",
        Reason.ROLLING_OUT,
        ("on gpu is replaced", "on 1g.10gb"),
    ),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_condition_says_why_and_what_to_do(case: Case) -> None:
    (planned,) = plan(case.world).deployments
    told: Judged = getattr(planned.judgement, case.condition)
    assert (told.status, told.reason) == (case.status, case.reason), told.message
    for fragment in case.fragments:
        assert fragment in told.message


def test_every_reason_of_a_deployment_is_in_the_table() -> None:
    told = {case.reason for case in CASES}
    assert told | OF_ENGINES_AND_POOLS | OF_SCALING | OF_THE_OBJECTIVE | OF_ROLLOUTS | OF_PORTABLE == set(Reason)


def test_progressing_speaks_of_the_group_that_is_to_stay() -> None:
    """The first by name is the one that goes."""
    old, new = group("1g.10gb", ENGINE, replicas=2), group("gpu", ENGINE, ready=0, replicas=2)
    wanted = spec(placement={"profiles": ["gpu"]})
    (planned,) = plan(world(**served(), groups=(old, new), asked=wanted)).deployments
    assert planned.judgement.progressing.reason == Reason.LOADING

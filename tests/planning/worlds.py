"""Snapshots for planning tests: small builders, and strategies that draw whole worlds."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache
from typing import Any

from hypothesis import strategies as st

from yolofleet.api.build import Artifact, BuildResult, Failure, Progress
from yolofleet.api.migpool import MigPoolSpec
from yolofleet.api.recipe import Builder, Target
from yolofleet.api.yolodeployment import YoloDeploymentSpec, YoloDeploymentStatus
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.engines import Wish, wish
from yolofleet.planning.sizing.curves import Curves, told_by
from yolofleet.planning.snapshot import (
    DeploymentView,
    EngineView,
    GroupView,
    JobView,
    NodeView,
    Owner,
    PodView,
    Policy,
    PoolView,
    Snapshot,
)

NOW = datetime(2026, 1, 1, 12, 0, 0, tzinfo=UTC)
BUILDER = Builder(image="builder:1", version="1", tensorrt_version="10.16.0")
POLICY = Policy(builder=BUILDER, backoff_s=10)
H100, A100 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB"
ARTIFACT = Artifact(uri="file:///store/x", sha256="a" * 64, size_bytes=1)
FAILURE = Failure(field="spec.model", value="x", message="it broke", remedy="mend it")
PUBLISHED = YoloEngineStatus(stage="Publish", progress_percent=100, attempts=1, artifact=ARTIFACT)
REFUSED = YoloEngineStatus(stage="Fetch", attempts=1, failure=FAILURE)
NS = "cams"


def backing_off(due: datetime, attempts: int = 1) -> YoloEngineStatus:
    return YoloEngineStatus(stage="Fetch", attempts=attempts, failure=FAILURE, next_attempt_time=due.isoformat())


def spec(**parts: Any) -> YoloDeploymentSpec:
    told = {"model": {"builtin": "yolo26n-shapes"}, "engine": {"backend": "ONNXRuntime"}} | parts
    return _parsed(json.dumps(told))


@cache
def _parsed(told: str) -> YoloDeploymentSpec:
    return YoloDeploymentSpec.model_validate_json(told)


@cache
def _wish(told: str) -> Wish:
    return wish(YoloDeploymentSpec.model_validate_json(told), builder=BUILDER, target=None)


def node(name: str = "n1", devices: dict[str, int] | None = None, **given: Any) -> NodeView:
    """Return a Ready node; `product` and other GPU labels go by `labels`."""
    held = {"nvidia.com/gpu": 2} if devices is None else devices
    facts: dict[str, Any] = {"ready": True, "schedulable": True, "labels": {}} | given
    return NodeView(name=name, devices=held, **facts)


def labelled(
    product: str = H100, *, resource: str = "nvidia.com/gpu", sms: int = 132, mib: int = 81559
) -> dict[str, str]:
    """Return the labels of GPU feature discovery for one kind of slice."""
    return {
        "nvidia.com/gpu.product": product,
        "nvidia.com/gpu.compute.major": "8" if product.startswith(A100) else "9",
        "nvidia.com/gpu.compute.minor": "0",
        f"{resource}.multiprocessors": str(sms),
        f"{resource}.memory": str(mib),
    }


def pool(name: str = "default", created: str = "2026-01-01T00:00:00Z", **parts: Any) -> PoolView:
    return PoolView(name=name, generation=1, created=created, spec=MigPoolSpec.model_validate(parts))


def deployment(name: str = "gate", *, asked: YoloDeploymentSpec | None = None, **given: Any) -> DeploymentView:
    facts: dict[str, Any] = {"namespace": NS, "uid": f"uid-{name}", "generation": 1, "status": YoloDeploymentStatus()}
    return DeploymentView(name=name, spec=asked or spec(), **(facts | given))


def group(profile: str = "gpu", engine: str = "e-old", *, ready: int = 1, replicas: int = 1, **given: Any) -> GroupView:
    """Return a Deployment of ours that stands still."""
    facts: dict[str, Any] = {
        "name": f"gate-{profile.replace('.', '-')}",
        "uid": f"uid-{profile}",
        "engine_key": "k",
        "template_hash": "t",
        "updated_replicas": replicas,
        "total_replicas": replicas,
        "settled": True,
        "surge": True,
    }
    return GroupView(profile=profile, engine=engine, replicas=replicas, ready_replicas=ready, **(facts | given))


def pod(name: str = "p", **given: Any) -> PodView:
    facts: dict[str, Any] = {"profile": "gpu", "engine": "e-old", "ready": True, "terminating": False}
    return PodView(name=name, **(facts | given))


def engine(
    asked: YoloDeploymentSpec | None = None,
    *,
    name: str | None = None,
    status: YoloEngineStatus | None = None,
    owners: tuple[str, ...] = ("gate",),
    **given: Any,
) -> EngineView:
    """Return the engine that a spec wants without a target."""
    wanted = _wish((asked or spec()).model_dump_json(by_alias=True, exclude_none=True))
    return EngineView(
        namespace=NS,
        name=name or wanted.name,
        uid=f"uid-{name or wanted.name}",
        generation=1,
        spec=wanted.spec,
        status=status or YoloEngineStatus(),
        owners=tuple(Owner(owner, f"uid-{owner}") for owner in owners),
        **given,
    )


def snapshot(*deployments: DeploymentView, engines: tuple[EngineView, ...] = (), **given: Any) -> Snapshot:
    """Return a snapshot in which it is everybody's turn."""
    facts: dict[str, Any] = {
        "nodes": (node(),),
        "engines_by_owner": owned(engines),
        "engines_due": tuple((e.namespace, e.name) for e in engines),
        "curves": Curves(
            (e.namespace, e.name, e.spec.recipe, told_by(e.status), e.status.work, e.spec.target) for e in engines
        ),
    }
    by_name = {(e.namespace, e.name): e for e in engines}
    return Snapshot(taken_at=NOW, policy=POLICY, deployments=deployments, engines=by_name, **(facts | given))


def owned(engines: tuple[EngineView, ...]) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return the index that the cache keeps: engines by their owners' uid."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for view in engines:
        for owner in view.owners:
            found[owner.uid] = (*found.get(owner.uid, ()), (view.namespace, view.name))
    return found


def job(**given: Any) -> JobView:
    facts: dict[str, Any] = {"uid": "uid-job", "active": True, "succeeded": False, "failed": False}
    return JobView(**(facts | given))


def result(outcome: str, **given: Any) -> BuildResult:
    return BuildResult.model_validate({"outcome": outcome} | given)


# Strategies: few names, so that things meet.

RESOURCES = ("nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/mig-2g.20gb", "nvidia.com/mig-1g.10gb.me")
PROFILES = ("gpu", "1g.10gb", "2g.20gb", "1g.10gb.me")
MODELS = ("yolo26n", "yolo11s", "yolo26n-shapes")
NAMES = ("a", "b", "c", "d")
TENSORRT = tuple({"backend": "TensorRT", "portable": portable} for portable in ("IfPresent", "Build", "Never"))


mostly = st.sampled_from((True, True, True, True, False))


@st.composite
def nodes(draw: st.DrawFn) -> tuple[NodeView, ...]:
    made = []
    for name in draw(st.lists(st.sampled_from(("n1", "n2", "n3", "n4")), unique=True, min_size=2)):
        labels = {"zone": draw(st.sampled_from(("x", "y")))}
        for resource in RESOURCES:
            labels |= labelled(draw(st.sampled_from((H100, A100))), resource=resource)
        held = draw(st.dictionaries(st.sampled_from(RESOURCES), st.sampled_from((7, 4, 1, 0)), min_size=2, max_size=4))
        made.append(NodeView(name, draw(mostly), draw(mostly), labels, held))
    return tuple(made)


@st.composite
def pools(draw: st.DrawFn) -> tuple[PoolView, ...]:
    selectors = st.sampled_from(({}, {"zone": "x"}, {"zone": "y"}))
    made = []
    for name in draw(st.lists(st.sampled_from(("default", "p", "q")), unique=True)):
        created = draw(st.sampled_from(("2026-01-01T00:00:00Z", "2026-01-02T00:00:00Z")))
        builds = {"maxConcurrent": draw(st.integers(1, 3))}
        made.append(pool(name, created, nodeSelector={"matchLabels": draw(selectors)}, builds=builds))
    return tuple(made)


@st.composite
def specs(draw: st.DrawFn) -> YoloDeploymentSpec:
    placement = {
        "poolRef": {"name": draw(st.sampled_from(("default", "default", "default", "p")))},
        "profiles": list(
            draw(st.sampled_from(((), (), PROFILES[:2], PROFILES[1:], ("1g.10gb+me", "gpu"), ("2g.20gb",))))
        ),
        "products": list(draw(st.sampled_from(((), (), (H100,), (A100,))))),
    }
    return spec(
        model={"builtin": draw(st.sampled_from(MODELS))},
        engine=draw(st.sampled_from(({"backend": "ONNXRuntime"}, *TENSORRT))),
        placement=placement,
        scaling={"minReplicas": draw(st.integers(1, 4))},
        suspend=draw(st.integers(0, 5)) == 0,
    )


def statuses() -> st.SearchStrategy[YoloEngineStatus]:
    return st.sampled_from(
        (
            YoloEngineStatus(),
            YoloEngineStatus(stage="Export", progress_percent=40, attempts=1),
            backing_off(NOW - timedelta(seconds=1), 2),
            backing_off(NOW + timedelta(hours=1), 3),
            REFUSED,
            PUBLISHED,
        )
    )


def jobs() -> st.SearchStrategy[JobView | None]:
    published = result("Published", artifact=ARTIFACT.wire())
    refused, failed = (result(outcome, failure=FAILURE.wire()) for outcome in ("Refused", "Failed"))
    ends: dict[str, Any] = {"active": False, "spoke": True, "ended": NOW - timedelta(minutes=1)}
    return st.sampled_from(
        (
            None,
            job(),
            job(waiting="waits for a node: 0/1"),
            job(terminating=True),
            job(**ends, succeeded=True, result=published),
            job(**ends, failed=True, result=refused),
            job(**ends, failed=True, result=failed),
            job(active=False, failed=True, ended=NOW, message="DeadlineExceeded"),
            job(active=False, succeeded=True, ended=NOW - timedelta(hours=1)),
        )
    )


@st.composite
def portable_engines(draw: st.DrawFn, wanted: YoloDeploymentSpec) -> EngineView:
    """Draw a portable engine of a spec, for slices such as `labelled` tells."""
    major, level = draw(st.sampled_from("89")), draw(st.sampled_from(("SameComputeCapability", "AmperePlus")))
    target = Target(compute_capability=f"{major}.0", sm_count=132, memory_mib=81559, hardware_compatibility=level)
    told = wish(wanted, builder=BUILDER, target=target)
    owners = tuple(Owner(name, f"uid-{name}") for name in draw(st.sampled_from(((), ("a",), ("gone",)))))
    return EngineView(NS, told.name, f"uid-{told.name}", 1, told.spec, draw(statuses()), owners)


@st.composite
def worlds(draw: st.DrawFn) -> Snapshot:
    """Draw a whole world; all deployments' and engines' turn, groups that serve known and forgotten engines."""
    asked = {name: draw(specs()) for name in draw(st.lists(st.sampled_from(NAMES), unique=True, min_size=2))}
    built: dict[str, EngineView] = {}
    for name, wanted in asked.items():
        if draw(mostly):
            owners = tuple(draw(st.lists(st.sampled_from((*NAMES, "gone")), unique=True, max_size=3)))
            made = engine(wanted, owners=owners, status=draw(statuses()), job=draw(jobs()))
            seen = Progress(stage="Export", percent=draw(st.integers(0, 100)))
            built[made.name] = replace(made, progress=draw(st.sampled_from((None, seen))))
        if wanted.engine.backend == "TensorRT" and draw(st.booleans()):
            made = draw(portable_engines(wanted))
            built[made.name] = made
        if draw(st.booleans()):
            old = engine(wanted, name=f"e-{name}", owners=(name,), status=PUBLISHED)
            built[old.name] = old
    known = (*sorted(built), "e-forgotten")
    views = tuple(draw(_deployments(name, wanted, known)) for name, wanted in asked.items())
    taken = st.dictionaries(st.tuples(st.sampled_from(("n1", "n2")), st.sampled_from(RESOURCES)), st.integers(0, 7))
    engines = tuple(built.values())
    return snapshot(
        *views,
        engines=engines,
        nodes=draw(nodes()),
        pools=draw(pools()),
        pools_due=draw(st.booleans()),
        builds_running=sum(1 for view in engines if view.job is not None and view.job.active),
        devices_used=draw(taken),
    )


@st.composite
def _deployments(draw: st.DrawFn, name: str, wanted: YoloDeploymentSpec, known: tuple[str, ...]) -> DeploymentView:
    groups = []
    for profile in draw(st.lists(st.sampled_from(PROFILES), unique=True, min_size=draw(st.integers(0, 1)), max_size=2)):
        replicas = draw(st.integers(0, 4))
        serving = draw(st.sampled_from(known))
        ready = draw(st.integers(0, replicas))
        made = group(profile, serving, replicas=replicas, ready=ready, surge=draw(st.booleans()))
        groups.append(replace(made, name=f"{name}-{profile}"))
    running = draw(st.lists(st.sampled_from(known), max_size=2))
    pods = tuple(pod(f"{name}-{i}", engine=serving) for i, serving in enumerate(running))
    return deployment(name, asked=wanted, groups=tuple(groups), pods=pods)

"""One document per golden file: what the operator writes, from plans made by the planner itself."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

from tests.planning.worlds import (
    ARTIFACT,
    FAILURE,
    H100,
    NOW,
    POLICY,
    PUBLISHED,
    REFUSED,
    backing_off,
    deployment,
    engine,
    group,
    job,
    labelled,
    node,
    pod,
    pool,
    snapshot,
    spec,
)
from tests.raw_objects import SETTINGS, settings
from yolofleet.api.curve import Curve
from yolofleet.api.store import Grant
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.builds.building import step
from yolofleet.planning.plan import DeploymentPlan, plan
from yolofleet.planning.slices.pools import pool_plans
from yolofleet.planning.snapshot import EngineView, NodeView, Snapshot, UnreadableView
from yolofleet.render import engines, serving, status
from yolofleet.render.events import events
from yolofleet.render.writes import Target
from yolofleet.settings import Settings

Object = dict[str, Any]
MIG = "nvidia.com/mig-1g.10gb"
PVC = {"model": {"pvc": {"claimName": "weights", "path": "gate/best.pt"}}}
HTTP = {"model": {"http": {"url": "http://files.cams/best.pt", "sha256": "d" * 64}}}
EVERYTHING = {
    "serving": {
        "image": "triton:2",
        "imagePullSecrets": [{"name": "registry"}],
        "resources": {"requests": {"cpu": "2"}, "limits": {"memory": "4Gi"}},
        "nodeSelector": {"disk": "fast"},
        "tolerations": [{"key": "cameras", "operator": "Exists"}],
        "runtimeClassName": "nvidia",
        "service": {"type": "LoadBalancer", "annotations": {"lb.example/scope": "internal"}},
    },
    "placement": {"poolRef": {"name": "east"}, "products": [H100], "priorityClassName": "cameras"},
    "scaling": {"minReplicas": 3},
    "engine": {"backend": "ONNXRuntime", "maxBatchSize": 8},
}
EAST = pool("east", nodeSelector={"matchLabels": {"zone": "e"}})
MIG_NODE = node(
    "n1", {MIG: 7}, labels=labelled(H100, resource=MIG, sms=16, mib=9984) | {"zone": "e", serving.ZONE: "east"}
)
OWN_SETTINGS = settings(
    images={"triton": "triton:1", "builder": "builder:1", "operator": "operator:1", "pullSecrets": ["mirror"]},
    builds={"version": "1", "builtinUrl": "http://weights.cams", "nodeSelector": {"role": "build"}},
    store={"claimName": "engines", "storageClassName": "nfs", "accessMode": "ReadWriteOnce", "size": "5Gi"},
    serving={"runtimeClassName": "other", "maxConnectionAgeSeconds": 60, "extraArgs": ["--log-verbose=1"]},
)


def world(asked: Object | None = None, *, nodes: tuple[NodeView, ...] | None = None, **given: Any) -> Snapshot:
    """Return a world in which one deployment's engine is published."""
    wanted = spec(**(asked or {}))
    view = deployment(asked=wanted, **given)
    made = engine(wanted, status=PUBLISHED)
    return snapshot(view, engines=(made,), nodes=nodes or (node(),), pools=(EAST,))


def planned(asked: Object | None = None, **given: Any) -> DeploymentPlan:
    """Return the plan of that deployment."""
    (made,) = plan(world(asked, **given)).deployments
    return made


def serves(**given: Any) -> Object:
    """Return parts of a world in which a group serves the published engine."""
    return {"groups": (group("gpu", engine().name, **given),)}


def manifests(asked: Object | None = None, chosen: Settings = SETTINGS, **given: Any) -> dict[str, Object]:
    """Return the serving side by kind."""
    return {made["kind"]: made for made in serving.serving(planned(asked, **given), chosen)}


def canary() -> dict[str, Object]:
    """Return the Deployments, stable and canary, of a new engine that proves itself beside an old one."""
    asked = spec(scaling={"minReplicas": 4})
    old = engine(asked, name="e-old", status=PUBLISHED)
    view = deployment(asked=asked, groups=(group("gpu", "e-old", ready=4, replicas=4, image="triton:0"),))
    seen = snapshot(view, engines=(old, engine(asked, status=PUBLISHED)), nodes=(node(devices={"nvidia.com/gpu": 5}),))
    (made,) = plan(replace(seen, policy=replace(POLICY, image="triton:1"))).deployments
    told = [one for one in serving.serving(made, OWN_SETTINGS) if one["kind"] == "Deployment"]
    return {one["metadata"]["name"]: one for one in told} | {"status": status.deployment_status(made, NOW).wire()}


def tuned() -> dict[str, Object]:
    """Return a Deployment whose engine has a curve, and the status that says what follows from it."""
    wanted = spec(endpoints=["Ultralytics", "Frames"], objective={"p99LatencyMilliseconds": 40})
    points = [
        {"endpoint": endpoint, "batch": batch, "instances": count, "framesPerSecond": fps, "hostBytesPerFrame": weight}
        | {"p50Microseconds": 9000, "p99Microseconds": p99_us}
        for endpoint, weight in (("Ultralytics", 4_915_200), ("Frames", 1_228_800))
        for batch, count, fps, p99_us in ((1, 1, 210, 6000), (8, 1, 700, 14_000), (8, 2, 900, 22_000))
    ]
    place = {"source": "Estimated", "error": "0.35", "product": H100, "profile": "gpu", "smCount": 132}
    told = Curve.model_validate(place | {"points": points})
    made = engine(wanted, status=PUBLISHED.model_copy(update={"curve": told}))
    view = deployment(asked=wanted, groups=(group("gpu", made.name),))
    (done,) = plan(snapshot(view, engines=(made,), nodes=(node(labels=labelled()),))).deployments
    (manifest,) = [one for one in serving.serving(done, SETTINGS) if one["kind"] == "Deployment"]
    return {"Deployment": manifest, "status": status.deployment_status(done, NOW).wire()}


def build_job(
    asked: Object | None = None, chosen: Settings = SETTINGS, grant: Grant | None = None, **decided: Any
) -> Object:
    """Return the build Job of a spec's engine, with what else was decided for it."""
    started = step(engine(spec(**(asked or {}))), policy=POLICY, now=NOW, free_builds=1)
    return engines.job(replace(started, **decided), chosen, grant)


def full() -> dict[str, Object]:
    """Return the serving side with every field set that a user can set."""
    return manifests(EVERYTHING, OWN_SETTINGS, nodes=(MIG_NODE,))


def engine_status(view: EngineView, *, free: int = 1) -> Object:
    """Return an engine's status after its next step."""
    return status.engine_status(step(view, policy=POLICY, now=NOW, free_builds=free), NOW).wire()


def deployment_status(asked: Object | None = None, **given: Any) -> Object:
    """Return a deployment's status."""
    return status.deployment_status(planned(asked, **given), NOW).wire()


def pool_status() -> Object:
    """Return the status of a pool of which an older one has a node."""
    nodes = (MIG_NODE, node("n2", {MIG: 4, "nvidia.com/gpu": 1}))
    _, younger = pool_plans((EAST, pool("young", "2026-02-01T00:00:00Z")), nodes, {("n2", MIG): 3})
    return status.pool_status(younger, NOW).wire()


def told(before: Object, after: Object) -> Object:
    """Return the Events between two worlds."""
    old = status.deployment_status(planned(**before), NOW - timedelta(minutes=1)).conditions
    new = status.deployment_status(planned(**after), NOW).conditions
    return {"events": list(events(Target("YoloDeployment", "cams", "gate", "uid-gate"), old, new, NOW))}


def unreadable() -> Object:
    """Return the status of an object that cannot be read, over one that could."""
    before = status.deployment_status(planned(**serves()), NOW - timedelta(hours=1))
    view = UnreadableView(
        "YoloDeployment", "cams", "gate", 7, "spec.engine.precision: no", before.wire(), before.conditions
    )
    return status.unreadable_status(view, NOW)


def cases() -> dict[str, Object]:
    """Return every golden document by the name of its file."""
    failed = replace(engine(status=YoloEngineStatus(stage="Export", attempts=2)), job=job(failed=True, message="lost"))
    crash = pod("gate-1", ready=False, init_failure=FAILURE)
    (owners,) = plan(snapshot(deployment("gate"), deployment("yard"))).owners
    return {
        "deployment": manifests()["Deployment"],
        "deployment-full": full()["Deployment"],
        "deployment-tuned": tuned()["Deployment"],
        "deployment-canary": canary()["gate-gpu-canary"],
        "deployment-beside-a-canary": canary()["gate-gpu"],
        "status-canary": canary()["status"],
        "service": manifests()["Service"],
        "service-full": full()["Service"],
        "budget": manifests()["PodDisruptionBudget"],
        "engine": engines.engine(owners),
        "job-builtin": build_job(),
        "job-http": build_job(HTTP, OWN_SETTINGS),
        "job-pvc": build_job(PVC),
        "claim": engines.claim("cams", SETTINGS),
        "claim-full": engines.claim("cams", OWN_SETTINGS),
        "status-serving": deployment_status(**serves()),
        "status-tuned": tuned()["status"],
        "status-waiting-for-engine": status.deployment_status(
            plan(snapshot(deployment(asked=spec(demand={"streams": 48, "framesPerSecond": "15"})))).deployments[0], NOW
        ).wire(),
        "status-not-loaded": deployment_status(**serves(ready=0), pods=(crash,)),
        "status-suspended": deployment_status({"suspend": True}),
        "status-unreadable": unreadable(),
        "status-engine-queued": engine_status(engine(), free=0),
        "status-engine-started": engine_status(engine()),
        "status-engine-failed": engine_status(failed),
        "status-engine-backing-off": engine_status(engine(status=backing_off(NOW + timedelta(minutes=1)))),
        "status-engine-refused": engine_status(engine(status=REFUSED)),
        "status-engine-published": engine_status(engine(status=YoloEngineStatus(artifact=ARTIFACT, attempts=1))),
        "status-pool": pool_status(),
        "events-loses-its-pods": told(serves(), serves(ready=0) | {"pods": (crash,)}),
        "events-serves": told({}, serves()),
    }

"""The status of the three kinds, as objects that are written only when they differ from what stands."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from yolofleet.api.conditions import Condition, Reason, Status
from yolofleet.api.endpoints import model_name
from yolofleet.api.estimate import UNSEEN, UNSEEN_GPU
from yolofleet.api.migpool import MigPoolStatus, SliceCount
from yolofleet.api.tuning import TuningStatus
from yolofleet.api.yolodeployment import (
    EndpointStatus,
    EngineRef,
    Group,
    LowerNeed,
    ScalingStatus,
    Summary,
    YoloDeploymentStatus,
)
from yolofleet.api.yoloengine import YoloEngine, YoloEngineStatus
from yolofleet.planning.builds.building import EnginePlan
from yolofleet.planning.groups.grouping import GroupPlan
from yolofleet.planning.judging import Judged
from yolofleet.planning.plan import DeploymentPlan
from yolofleet.planning.portable import level_of
from yolofleet.planning.scaling.capacity import kept
from yolofleet.planning.sizing.curves import told_by
from yolofleet.planning.sizing.estimating import may_be_estimated
from yolofleet.planning.slices.pools import PoolPlan
from yolofleet.planning.snapshot import UnreadableView
from yolofleet.render.meta import DEPLOYMENT_LABEL, MANAGED_BY, MANAGER, stamp
from yolofleet.render.serving import GRPC_PORT, HTTP_PORT

MESSAGE_LIMIT = 4096
SCALING_MESSAGE_LIMIT = 1024
TUNING_MESSAGE_LIMIT = 2048


def deployment_status(plan: DeploymentPlan, now: datetime) -> YoloDeploymentStatus:
    """Return the status of one YoloDeployment."""
    view = plan.view
    conditions = [
        condition(kind, judged, old=view.status.conditions, now=now, generation=view.generation)
        for kind, judged in plan.judgement.named().items()
    ]
    return YoloDeploymentStatus(
        observed_generation=view.generation,
        replicas=sum(group.replicas for group in view.all_groups),
        ready_replicas=sum(group.ready_replicas for group in view.all_groups),
        selector=f"{MANAGED_BY}={MANAGER},{DEPLOYMENT_LABEL}={view.name}",
        summary=_summary(plan),
        groups=_groups(plan),
        endpoints=_endpoints(plan),
        scaling=_scaling(plan, now),
        rollout=plan.rollout.status if plan.rollout else view.status.rollout,
        conditions=conditions,
    )


def engine_status(plan: EnginePlan, now: datetime) -> YoloEngineStatus:
    """Return the status of one YoloEngine."""
    published = plan.status.artifact is not None
    known: Status = "True" if published else "False"
    named: dict[str, tuple[Status, Reason, str]] = {
        "Built": (known, plan.reason, plan.message),
        "Verified": (
            known,
            Reason.VERIFIED if published else plan.reason,
            _compared(plan) if published else plan.message,
        ),
        "Measured": _measured(plan),
        "Ready": ("True" if plan.ready else "False", plan.reason, plan.message),
    }
    conditions = [
        condition(kind, Judged(*judged), old=plan.view.status.conditions, now=now, generation=plan.view.generation)
        for kind, judged in named.items()
    ]
    return plan.status.model_copy(update={"conditions": conditions})


def _measured(plan: EnginePlan) -> tuple[Status, Reason, str]:
    """Say what slices are counted by: curves that are told, an estimate from the graph, or nothing."""
    told = told_by(plan.status)
    if any(curve.source == "Measured" for curve in told):
        kinds = ", ".join(sorted({f"{curve.profile} of {curve.product}" for curve in told}))
        return "True", Reason.MEASURED, f"on {kinds}"
    recipe = plan.view.spec.recipe
    if plan.status.work is not None and may_be_estimated(recipe):
        told_so = f"counted by an estimate from its graph (give or take {float(UNSEEN):.0%}, on a GPU without measured "
        return "False", Reason.NOT_MEASURED, f"{told_so}rates {float(UNSEEN_GPU):.0%}) until a curve is measured"
    return "False", Reason.NOT_MEASURED, "throughput is not measured yet"


def _compared(plan: EnginePlan) -> str:
    gate = plan.status.gate
    return gate.sentence() if gate is not None else "compared before it was published"


def condition(kind: str, judged: Judged, *, old: list[Condition], now: datetime, generation: int) -> Condition:
    """Return one condition; its transition time moves only when its status does."""
    before = next((c for c in old if c.type == kind), None)
    same = before is not None and before.status == judged.status
    return Condition(
        type=kind,
        status=judged.status,
        reason=judged.reason.value,
        message=judged.message[:MESSAGE_LIMIT],
        last_transition_time=before.last_transition_time if before and same else stamp(now),
        observed_generation=generation,
    )


def _scaling(plan: DeploymentPlan, now: datetime) -> ScalingStatus:
    before, wanted = plan.view.status.scaling, plan.desired
    same = before is not None and before.desired_replicas == wanted.replicas
    return ScalingStatus(
        desired_replicas=wanted.replicas,
        last_scale_time=before.last_scale_time if before and same else stamp(now),
        reason=wanted.reason.value,
        message=wanted.message[:SCALING_MESSAGE_LIMIT],
        needs=[LowerNeed(replicas=claim.replicas, since=claim.since.isoformat()) for claim in wanted.claims],
        headroom=wanted.headroom or None,
    )


def _summary(plan: DeploymentPlan) -> Summary:
    slices = ", ".join(f"{group.ready_replicas}/{group.replicas}x {group.profile}" for group in plan.view.all_groups)
    engine = plan.judgement.engine_ready
    meanwhile = " (portable serves)" if plan.portable.cost and engine.status != "True" else ""
    return Summary(fps=plan.desired.fps, slices=slices[:128], engine=f"{engine.reason.value}{meanwhile}")


def _groups(plan: DeploymentPlan) -> list[Group]:
    products = {group.choice.profile: group.choice.product for group in plan.groups}
    known = {plan.profile: plan.desired.capacity} if plan.desired.capacity else {}
    known |= {part.choice.profile: part.capacity for part in plan.mix.parts if part.capacity is not None}
    before = {group.profile: kept(plan.view.status, group.profile) for group in plan.view.groups}
    worth = before | known
    levels = {group.engine.name: level_of(group.engine) for group in plan.groups}
    tuned = {group.profile: group.tuning for group in plan.view.status.groups} | {
        group.choice.profile: _tuning(group) for group in plan.groups if not group.canary
    }
    return [
        Group(
            profile=group.profile,
            product=products.get(group.profile, ""),
            replicas=sum(one.replicas for one in plan.view.all_groups if one.profile == group.profile),
            ready_replicas=sum(one.ready_replicas for one in plan.view.all_groups if one.profile == group.profile),
            engine_ref=EngineRef(name=group.engine) if group.engine else None,
            frames_per_second_per_replica=round(carries.fps) if (carries := worth[group.profile]) else None,
            curve=carries.origin if carries else None,
            tuning=tuned.get(group.profile),
            overflow=group.overflow or None,
            portable=levels.get(group.engine),
        )
        for group in sorted(plan.view.groups, key=lambda g: g.profile)
    ]


def _tuning(group: GroupPlan) -> list[TuningStatus] | None:
    return [TuningStatus(**dict(one.model), message=one.message[:TUNING_MESSAGE_LIMIT]) for one in group.tuning] or None


def _endpoints(plan: DeploymentPlan) -> list[EndpointStatus]:
    view = plan.view
    host = f"{view.name}.{view.namespace}.svc"
    named = {endpoint: model_name(view.name, endpoint) for endpoint in plan.endpoints}
    return [
        EndpointStatus(
            type=endpoint,
            model_name=name,
            grpc=f"grpc://{host}:{GRPC_PORT}/{name}",
            http=f"http://{host}:{HTTP_PORT}/{name}",
        )
        for endpoint, name in named.items()
    ]


def pool_status(plan: PoolPlan, now: datetime) -> MigPoolStatus:
    """Return the status of one MigPool; what pods of others use is not seen yet, so it is left out."""
    view = plan.view
    some = Judged("True", Reason.POOL_READY, f"{plan.nodes} nodes")
    none = Judged("False", Reason.NO_NODES, "spec.nodeSelector: no node with GPU devices bears these labels")
    own = Judged("False", Reason.NODES_OWN, "every node is this pool's alone")
    shared = "; ".join(f"node {node} belongs to the older MigPool {owner}" for node, owner in plan.contested[:8])
    named = {
        "Ready": some if plan.nodes else none,
        "Conflicted": Judged("True", Reason.NODES_SHARED, shared) if shared else own,
    }
    return MigPoolStatus(
        observed_generation=view.generation,
        nodes=plan.nodes,
        slices=[SliceCount(profile=p, total=total, used=used) for p, total, used in plan.slices],
        conditions=[
            condition(kind, judged, old=view.conditions, now=now, generation=view.generation)
            for kind, judged in named.items()
        ],
    )


def unreadable_status(view: UnreadableView, now: datetime) -> dict[str, Any]:
    """Return what stands in the status of an object whose spec cannot be read, but for its condition Ready."""
    judged = Judged("False", Reason.INVALID_SPEC, view.message)
    ready = condition("Ready", judged, old=view.conditions, now=now, generation=view.generation)
    others = [c for c in view.status.get("conditions") or [] if c.get("type") != "Ready"]
    answered = {} if view.kind == YoloEngine.kind else {"observedGeneration": view.generation}
    return dict(view.status) | answered | {"conditions": [ready.wire(), *others]}

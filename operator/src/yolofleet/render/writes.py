"""Everything that one pass wants written, in the order in which it must happen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any

from yolofleet.api.rollout import RolloutStatus
from yolofleet.api.store import Grant
from yolofleet.planning.builds.building import EnginePlan
from yolofleet.planning.plan import DeploymentPlan, EngineOwners, Plan
from yolofleet.planning.slices.pools import PoolPlan
from yolofleet.planning.snapshot import UnreadableView
from yolofleet.render import engines, serving
from yolofleet.render.events import events
from yolofleet.render.meta import Object
from yolofleet.render.status import deployment_status, engine_status, pool_status, unreadable_status
from yolofleet.settings import Settings

NO_GRANTS: Mapping[tuple[str, str], Grant] = MappingProxyType({})


@dataclass(frozen=True)
class Target:
    """An object by kind and name; `uid` guards deletes against a successor of the same name."""

    kind: str
    namespace: str
    name: str
    uid: str | None = None


@dataclass(frozen=True)
class StatusWrite:
    """The status that an object should have, and the Events that tell of it.

    `first`: it holds a decision that must be remembered before anything is done about it.
    """

    target: Target
    status: dict[str, Any]
    events: tuple[Object, ...]
    first: bool = False


@dataclass(frozen=True)
class Step:
    """The writes for one object of ours, in this order: creates, applies, its status, and then deletes."""

    subject: Target
    create: tuple[Object, ...] = ()
    apply: tuple[Object, ...] = ()
    status: StatusWrite | None = None
    delete: tuple[Target, ...] = ()


@dataclass(frozen=True)
class Writes:
    """Three waves: engines' owners and claims, then builds, then serving."""

    owners: tuple[Step, ...]
    builds: tuple[Step, ...]
    serving: tuple[Step, ...]


def writes(
    plan: Plan,
    unreadable: tuple[UnreadableView, ...],
    *,
    settings: Settings,
    now: datetime,
    grants: Mapping[tuple[str, str], Grant] = NO_GRANTS,
) -> Writes:
    """Describe a plan as writes; with an S3 store every build that starts has its grant."""
    told = [_deployment(planned, settings, now) for planned in plan.deployments]
    unread = [_unreadable(view, now) for view in unreadable]
    return Writes(
        owners=tuple(_owners(planned) for planned in plan.owners),
        builds=tuple(_engine(planned, settings, now, grants) for planned in plan.engines),
        serving=(*told, *unread, *(_pool(planned, now) for planned in plan.pools)),
    )


def _owners(planned: EngineOwners) -> Step:
    subject = Target("YoloEngine", planned.namespace, planned.wish.name)
    if not planned.owners:
        return Step(subject, delete=(subject,))
    return Step(subject, apply=(engines.engine(planned),))


def _engine(planned: EnginePlan, settings: Settings, now: datetime, grants: Mapping[tuple[str, str], Grant]) -> Step:
    view = planned.view
    subject = Target("YoloEngine", view.namespace, view.name, view.uid)
    made = engine_status(planned, now)
    write = StatusWrite(subject, made.wire(), events(subject, view.status.conditions, made.conditions, now))
    doomed = (Target("Job", view.namespace, view.name, view.job.uid),) if planned.remove_job and view.job else ()
    created: tuple[Object, ...] = ()
    if planned.start:
        grant = grants.get((view.namespace, view.name))
        claims = (engines.claim(view.namespace, settings),) if grant is None else ()
        created = (*claims, engines.job(planned, settings, grant))
    return Step(subject, create=created, delete=doomed, status=write)


def _deployment(planned: DeploymentPlan, settings: Settings, now: datetime) -> Step:
    view = planned.view
    subject = Target("YoloDeployment", view.namespace, view.name, view.uid)
    made = deployment_status(planned, now)
    told = events(subject, view.status.conditions, made.conditions, now)
    write = StatusWrite(subject, made.wire(), told, first=_decided(view.status.rollout) != _decided(made.rollout))
    doomed = tuple(Target("Deployment", view.namespace, group.name, group.uid) for group in planned.gone)
    return Step(subject, apply=tuple(serving.serving(planned, settings)), delete=doomed, status=write)


def _decided(rollout: RolloutStatus | None) -> tuple[str, ...]:
    """Return what of a rollout cannot be seen from its Deployments."""
    return (rollout.phase, rollout.engine, rollout.image, rollout.answered) if rollout is not None else ()


def _pool(planned: PoolPlan, now: datetime) -> Step:
    subject = Target("MigPool", "", planned.view.name)
    made = pool_status(planned, now)
    return Step(subject, status=StatusWrite(subject, made.wire(), ()))


def _unreadable(view: UnreadableView, now: datetime) -> Step:
    subject = Target(view.kind, view.namespace, view.name)
    return Step(subject, status=StatusWrite(subject, unreadable_status(view, now), ()))

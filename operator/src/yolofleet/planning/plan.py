"""The plan: for every deployment and engine whose turn it is, what should be, and why."""

from __future__ import annotations

from dataclasses import dataclass, replace

from yolofleet.api.migpool import DEFAULT_POOL
from yolofleet.api.recipe import Endpoint, Target
from yolofleet.api.tuning import Tuned
from yolofleet.planning import mending
from yolofleet.planning.accuracy import judged
from yolofleet.planning.build_slices import Shelf, shelf_of
from yolofleet.planning.building import EnginePlan, on_slice, step
from yolofleet.planning.comparing import Outcome
from yolofleet.planning.curves import recipe_id, told_by
from yolofleet.planning.engines import Verdict, Wish, served_endpoints, target_of, unsupported, verdict, wish
from yolofleet.planning.fitting import Room, Worths
from yolofleet.planning.judging import Judgement, judge
from yolofleet.planning.placing import Choice, Market, NoChoice, choose, kinds_of, market
from yolofleet.planning.pools import PoolPlan, pool_plans
from yolofleet.planning.profiles import slug
from yolofleet.planning.rollout import ENDED, Revision, RolloutPlan, Scene
from yolofleet.planning.rollout import step as step_rollout
from yolofleet.planning.scaling.capacity import Capacity
from yolofleet.planning.scaling.replicas import Desired, decide, floor_of
from yolofleet.planning.snapshot import DeploymentView, EngineView, GroupView, Owner, PoolView, Snapshot
from yolofleet.planning.tuning import Tunings

DEFAULT_CONCURRENT_BUILDS = 4
LOAD_SLACK_S = 60
"""What a pod may take beside loading its model."""


@dataclass(frozen=True)
class GroupPlan:
    """A Deployment as it should be: `engine` and `image` ("": the spec's) may be older than what is wanted.

    `tuning` is how Triton runs its models, as far as curves say it.
    """

    choice: Choice
    replicas: int
    engine: EngineView
    surge: bool
    image: str = ""
    canary: bool = False
    tuning: tuple[Tuned, ...] = ()


@dataclass(frozen=True)
class DeploymentPlan:
    """What one YoloDeployment should have; `kept` names Deployments that stay untouched, the rest goes.

    `profile` and `measured` are what a replica was weighed by: with them a decision can be made again. `endpoints` are
    served now, which an older engine may do with fewer than the spec asks for.
    """

    view: DeploymentView
    desired: Desired
    wish: Wish | None
    groups: tuple[GroupPlan, ...]
    kept: tuple[str, ...]
    judgement: Judgement
    profile: str = ""
    measured: Capacity | None = None
    endpoints: tuple[Endpoint, ...] = ()
    rollout: RolloutPlan | None = None

    @property
    def gone(self) -> tuple[GroupView, ...]:
        """Return the existing groups that have no place in the plan."""
        places = {(group.choice.profile, group.canary) for group in self.groups}
        gone = tuple(g for g in self.view.groups if (g.profile, False) not in places and g.name not in self.kept)
        canary = self.view.canary
        if canary is None or canary.name in self.kept or (canary.profile, True) in places:
            return gone
        return (*gone, canary)


@dataclass(frozen=True)
class EngineOwners:
    """A YoloEngine that should exist for these owners; without owners it should go.

    `askers` names the deployments of this pass that say so: they come back when it cannot be written.
    """

    namespace: str
    wish: Wish
    owners: tuple[Owner, ...]
    exists: bool
    askers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Plan:
    """Everything that one pass decided."""

    deployments: tuple[DeploymentPlan, ...]
    owners: tuple[EngineOwners, ...]
    engines: tuple[EnginePlan, ...]
    pools: tuple[PoolPlan, ...] = ()


def plan(snapshot: Snapshot) -> Plan:
    """Decide for every deployment and engine of the snapshot; same snapshot, same plan."""
    ordered = sorted(snapshot.deployments, key=lambda d: (d.namespace, d.name))
    offered = market(snapshot.nodes, snapshot.pools)
    worths = Worths(snapshot.curves, kinds_of(offered))
    room = Room(snapshot.devices_used, snapshot.devices_foreign)
    deployments = tuple(plan_deployment(view, snapshot, offered, worths, room) for view in ordered)
    return Plan(deployments, plan_owners(deployments, snapshot), plan_engines(snapshot), _pools(snapshot))


def _pools(snapshot: Snapshot) -> tuple[PoolPlan, ...]:
    if not snapshot.pools_due:
        return ()
    return pool_plans(snapshot.pools, snapshot.nodes, snapshot.devices_used)


def plan_deployment(
    view: DeploymentView, snapshot: Snapshot, offered: Market, worths: Worths, room: Room
) -> DeploymentPlan:
    """Decide for one deployment; what serves now goes on serving until its successor can."""
    choice = choose(view, offered, worths, room)
    asked = _asked(view, choice, snapshot)
    engine = snapshot.engines.get((view.namespace, asked.name)) if isinstance(asked, Wish) else None
    profile = choice.profile if isinstance(choice, Choice) else next((g.profile for g in view.groups), "")
    measured = worths.capacity(view, profile, choice.products if isinstance(choice, Choice) else ())
    wanted = decide(view, profile=profile, measured=measured, now=snapshot.taken_at, stale_s=snapshot.policy.stale_s)
    state = verdict(engine, name=asked.name) if isinstance(asked, Wish) else asked
    running = _less_lent(view, wanted, snapshot)
    rollout = _rollout(view, choice, running, asked, state, snapshot)
    ready = engine if state.ok else None
    groups, kept = _groups(view, choice, running, ready, rollout, snapshot)
    judgement = judge(
        view,
        choice=choice,
        engine=state,
        wanted=running,
        engine_name=getattr(asked, "name", None),
        rollout=rollout.status if rollout else None,
    )
    return DeploymentPlan(
        view=view,
        desired=wanted,
        wish=asked if isinstance(asked, Wish) else None,
        groups=tuple(_tuned(view, group, worths.tunings) for group in groups),
        kept=kept,
        judgement=judgement,
        profile=profile,
        measured=measured,
        endpoints=served_endpoints(view, snapshot.engines),
        rollout=rollout,
    )


def _tuned(view: DeploymentView, group: GroupPlan, tunings: Tunings) -> GroupPlan:
    """Return a group with Triton's numbers, by the curves of the engine that it serves."""
    found = tunings.of(
        view.namespace,
        group.engine.spec.recipe,
        p99_ms=view.spec.objective.p99_latency_milliseconds,
        profile=group.choice.profile,
        products=group.choice.products,
    )
    return replace(group, tuning=found)


def _less_lent(view: DeploymentView, wanted: Desired, snapshot: Snapshot) -> Desired:
    """Return the decision without the replicas that are lent to builds; never below the floor, whatever was lent."""
    lent = snapshot.loans.get((view.namespace, view.name), 0)
    replicas = max(wanted.replicas - lent, min(wanted.replicas, floor_of(view, snapshot.taken_at))) if lent else 0
    if not lent or replicas == wanted.replicas:
        return wanted
    told = f"{wanted.message}; {wanted.replicas - replicas} lent to a build until it ends"
    return replace(wanted, replicas=replicas, message=told)


def _asked(view: DeploymentView, choice: Choice | NoChoice, snapshot: Snapshot) -> Wish | Verdict:
    if (not_yet := unsupported(view.spec)) is not None:
        return not_yet
    target: Target | Verdict | None = None
    if view.spec.engine.backend == "TensorRT":
        if isinstance(choice, NoChoice):
            return Verdict(ok=False, reason=choice.reason, message="the engine waits for a slice to be built on")
        target = target_of(view.spec, choice, dict(choice.labels))
    if isinstance(target, Verdict):
        return target
    return wish(view.spec, builder=snapshot.policy.builder, target=target)


def _rollout(
    view: DeploymentView,
    choice: Choice | NoChoice,
    wanted: Desired,
    asked: Wish | Verdict,
    state: Verdict,
    snapshot: Snapshot,
) -> RolloutPlan | None:
    """Return the next step of what serves on the chosen profile; None where nothing serves there."""
    if isinstance(choice, NoChoice) or isinstance(asked, Verdict) or view.spec.suspend:
        return None
    stable = next((group for group in view.groups if group.profile == choice.profile), None)
    serving = snapshot.engines.get((view.namespace, stable.engine)) if stable is not None else None
    if stable is None or serving is None or serving.artifact is None:
        return None  # what serves cannot be made anew: nothing to go back to
    return step_rollout(
        Scene(
            view=view,
            stable=stable,
            wanted=Revision(asked.name, view.spec.serving.image or snapshot.policy.image),
            ready=state.ok,
            waiting=state.message,
            replicas=wanted.replicas,
            spare=_spare(choice, snapshot),
            now=snapshot.taken_at,
            patience_s=snapshot.policy.load_s + LOAD_SLACK_S,
            accuracy=_accuracy(view, serving, snapshot.engines.get((view.namespace, asked.name))),
        )
    )


def _accuracy(view: DeploymentView, serving: EngineView, engine: EngineView | None) -> Outcome | None:
    """Return how the wanted engine's figures compare with those of the one that serves; None: it is that one."""
    if engine is None or engine.name == serving.name:
        return None
    return judged(view.spec.engine.accuracy_gate, old=serving.status.gate, new=engine.status.gate)


def _groups(
    view: DeploymentView,
    choice: Choice | NoChoice,
    wanted: Desired,
    ready: EngineView | None,
    rollout: RolloutPlan | None,
    snapshot: Snapshot,
) -> tuple[tuple[GroupPlan, ...], tuple[str, ...]]:
    """Return the groups to render, and the names of those that stay as they are."""
    if view.spec.suspend:
        return (), ()
    if isinstance(choice, NoChoice):
        return (), tuple(group.name for group in view.all_groups)
    current = next((group for group in view.groups if group.profile == choice.profile), None)
    others = tuple(group.name for group in view.groups if group.profile != choice.profile)
    if rollout is not None and current is not None:
        made = _of_rollout(view, choice, current, rollout, ready, snapshot)
    elif ready is not None:
        made = (GroupPlan(choice, wanted.replicas, ready, _surges(view, current, ready.name, choice, snapshot)),)
    else:
        serving = snapshot.engines.get((view.namespace, current.engine)) if current else None
        # A pod that started now would find nothing in the store.
        if serving is None or serving.artifact is None or current is None:
            return (), tuple(group.name for group in view.all_groups)
        surge = _surges(view, current, serving.name, choice, snapshot)
        made = (GroupPlan(choice, wanted.replicas, serving, surge, current.image),)
    successor_serves = current is not None and current.ready_replicas >= max(1, min(wanted.replicas, current.replicas))
    return made, (() if successor_serves else others)


def _of_rollout(
    view: DeploymentView,
    choice: Choice,
    current: GroupView,
    rollout: RolloutPlan,
    ready: EngineView | None,
    snapshot: Snapshot,
) -> tuple[GroupPlan, ...]:
    """Return the stable Deployment of a rollout, and its canary where there is one."""
    told = rollout.serving
    # What was there before may be gone by now: then what serves goes on.
    before = snapshot.engines.get((view.namespace, told.engine))
    serving = snapshot.engines[view.namespace, current.engine]
    engine = before if before is not None and before.artifact is not None else serving
    surge = _surges(view, current, engine.name, choice, snapshot)
    stable = GroupPlan(choice, rollout.stable, engine, surge, told.image)
    if not rollout.canary or ready is None:
        return (stable,)
    image = rollout.status.image if rollout.status else ""
    return stable, GroupPlan(choice, rollout.canary, ready, rollout.surge, image, canary=True)


def _surges(view: DeploymentView, current: GroupView | None, engine: str, choice: Choice, snapshot: Snapshot) -> bool:
    """Tell whether new replicas come before old ones go; decided when an engine comes, taken back if it hangs."""
    if view.spec.rollout.strategy != "Auto":
        return view.spec.rollout.strategy == "Surge"
    if current is None or current.engine != engine:
        return _spare(choice, snapshot)
    waiting = [pod for pod in view.pods if pod.unschedulable and not pod.terminating and not pod.canary]
    hangs = any(pod.profile == slug(choice.profile) for pod in waiting)
    return current.surge and not hangs


def _spare(choice: Choice, snapshot: Snapshot) -> bool:
    """Tell whether a replica more than now fits, beside other people's pods as far as they are seen."""
    at = [(node, choice.resource) for node in choice.nodes]
    return sum(snapshot.devices_used.get(n, 0) + snapshot.devices_foreign.get(n, 0) for n in at) < choice.offered


def plan_owners(deployments: tuple[DeploymentPlan, ...], snapshot: Snapshot) -> tuple[EngineOwners, ...]:
    """Return which engines should exist for whom, as far as these deployments change it."""
    wanted: dict[tuple[str, str], tuple[Wish, dict[str, Owner]]] = {}
    askers: dict[tuple[str, str], list[str]] = {}
    for planned in deployments:
        view, in_use = planned.view, _in_use(planned, snapshot)
        me = Owner(view.name, view.uid)
        for key in _touched(view, in_use, snapshot):
            engine = snapshot.engines[key]
            known = {owner.uid: owner for owner in engine.owners}
            _, owners = wanted.setdefault(key, (Wish(engine.name, engine.spec), known))
            askers.setdefault(key, []).append(view.name)
            owners.pop(me.uid, None)
            if engine.name in in_use:
                owners[me.uid] = me
        if planned.wish and (view.namespace, planned.wish.name) not in snapshot.engines:
            key = (view.namespace, planned.wish.name)
            _, owners = wanted.setdefault(key, (planned.wish, {}))
            askers.setdefault(key, []).append(view.name)
            owners[me.uid] = me
    return tuple(
        EngineOwners(
            key[0], made, tuple(sorted(owners.values(), key=lambda o: o.uid)), key in snapshot.engines, (*askers[key],)
        )
        for key, (made, owners) in sorted(wanted.items(), key=lambda item: item[0])
    )


def _touched(view: DeploymentView, in_use: set[str], snapshot: Snapshot) -> list[tuple[str, str]]:
    owned = set(snapshot.engines_by_owner.get(view.uid, ()))
    used = {(view.namespace, name) for name in in_use}
    return sorted(key for key in owned | used if key in snapshot.engines)


def _in_use(planned: DeploymentPlan, snapshot: Snapshot) -> set[str]:
    view = planned.view
    wished = {planned.wish.name} if planned.wish else set()
    serving = {group.engine for group in view.all_groups if group.engine}
    pods = {pod.engine for pod in view.pods if pod.engine}
    status = planned.rollout.status if planned.rollout else None
    # Until a rollout has its end, its way back stays open.
    before = {status.previous_engine} if status is not None and status.phase not in ENDED else set()
    return wished | serving | pods | before | _telling(planned, snapshot)


def _telling(planned: DeploymentPlan, snapshot: Snapshot) -> set[str]:
    """Return the engines by whose curves and work the wish was chosen, until it has an engine that tells its own.

    Were they gone before, the choice would be made anew without what they know.
    """
    view, wanted = planned.view, planned.wish
    if wanted is None:
        return set()
    made = snapshot.engines.get((view.namespace, wanted.name))
    if made is not None and made.artifact is not None:
        return set()
    home = recipe_id(view.namespace, wanted.spec.recipe)
    mine = (snapshot.engines.get(key) for key in snapshot.engines_by_owner.get(view.uid, ()))
    alike = [one for one in mine if one is not None and recipe_id(view.namespace, one.spec.recipe) == home]
    return {one.name for one in alike if one.status.work is not None or told_by(one.status)}


def plan_engines(snapshot: Snapshot) -> tuple[EnginePlan, ...]:
    """Return the next step of every engine whose turn it is; builds start in order of name."""
    free = concurrent_builds(snapshot.pools) - snapshot.builds_running
    damaged = mending.reports(snapshot.deployments)
    planned = []
    shelf: Shelf | None = None
    for key in sorted({*snapshot.engines_due, *damaged}):
        if (view := snapshot.engines.get(key)) is None or not view.owners:
            continue
        view = replace(view, damage=damaged.get(key))
        made = step(view, policy=snapshot.policy, now=snapshot.taken_at, free_builds=free)
        if made.start and view.spec.target is not None:
            pools = snapshot.engine_pools.get(key, frozenset({DEFAULT_POOL}))
            given, shelf = (shelf or shelf_of(snapshot)).give(view.spec.target, pools)
            made = on_slice(made, given, snapshot.taken_at)
        free -= 1 if made.start else 0
        planned.append(made)
    return tuple(planned)


def concurrent_builds(pools: tuple[PoolView, ...]) -> int:
    """Return how many builds may run at once: the default pool's word, or 4."""
    return next((p.spec.builds.max_concurrent for p in pools if p.name == DEFAULT_POOL), DEFAULT_CONCURRENT_BUILDS)

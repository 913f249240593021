"""The plan: for every deployment and engine whose turn it is, what should be, and why."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from yolofleet.api.migpool import DEFAULT_POOL
from yolofleet.api.recipe import Endpoint, Target
from yolofleet.planning.builds import mending
from yolofleet.planning.builds.building import EnginePlan, on_slice, step
from yolofleet.planning.builds.slices import Given, NotYet, Shelf, shelf_of
from yolofleet.planning.builds.timings import timings_for
from yolofleet.planning.engines import Verdict, Wish, served_endpoints, target_of, unsupported, verdict, wish
from yolofleet.planning.groups.grouping import GroupPlan, groups_of, rollout_of
from yolofleet.planning.groups.mixing import Mix, mixed
from yolofleet.planning.judging import Judgement, judge
from yolofleet.planning.placing.choice import Choice, Market, NoChoice, choose, kinds_of, market
from yolofleet.planning.placing.fitting import Room, Worths
from yolofleet.planning.portable import BEHIND, Portable, level_of, portable_of, priced
from yolofleet.planning.rollout.steps import ENDED, RolloutPlan
from yolofleet.planning.scaling.capacity import Capacity
from yolofleet.planning.scaling.replicas import Desired, decide, floor_of
from yolofleet.planning.sizing.curves import recipe_id, told_by
from yolofleet.planning.sizing.tuning import Tunings
from yolofleet.planning.slices.pools import PoolPlan, pool_plans
from yolofleet.planning.snapshot import DeploymentView, EngineView, GroupView, Owner, PoolView, Snapshot

DEFAULT_CONCURRENT_BUILDS = 4


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
    mix: Mix = field(default_factory=lambda: Mix(0))
    portable: Portable = field(default_factory=Portable)

    @property
    def wishes(self) -> tuple[Wish, ...]:
        """Return the engines that it wants: for its own kind of slices, those that help out, and portable for all."""
        return tuple(one for one in (self.wish, self.portable.wish, *self.mix.wishes) if one is not None)

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
    state = verdict(engine, name=asked.name, gate=view.spec.engine.accuracy_gate) if isinstance(asked, Wish) else asked
    portable = portable_of(view, choice, asked, state, offered, snapshot)
    products = choice.products if isinstance(choice, Choice) else ()
    serving = portable.serves or _serving(view, profile, snapshot)
    exact = worths.capacity(view, profile, products)
    measured = worths.capacity(view, profile, products, level) if (level := level_of(serving)) else exact
    portable = priced(portable, serving, profile, measured, exact)
    wanted = decide(view, profile=profile, measured=measured, now=snapshot.taken_at, stale_s=snapshot.policy.stale_s)
    running = _less_lent(view, wanted, snapshot)
    mix = mixed(view, choice, running, asked, snapshot, worths, room)
    rollout = rollout_of(view, choice, mix, asked, state, snapshot)
    ready = engine if state.ok else portable.serves
    groups, kept = groups_of(view, choice, mix, ready, rollout, snapshot)
    judgement = judge(
        view,
        choice=choice,
        engine=state,
        wanted=running,
        mix=mix,
        engine_name=getattr(asked, "name", None),
        rollout=rollout.status if rollout else None,
        portable=portable,
    )
    return DeploymentPlan(
        view=view,
        desired=mix.remembered(wanted),
        wish=asked if isinstance(asked, Wish) else None,
        groups=tuple(_tuned(view, group, worths.tunings) for group in groups),
        kept=kept,
        judgement=judgement,
        profile=profile,
        measured=measured,
        endpoints=served_endpoints(view, snapshot.engines),
        rollout=rollout,
        mix=mix,
        portable=portable,
    )


def _serving(view: DeploymentView, profile: str, snapshot: Snapshot) -> EngineView | None:
    """Return the engine that serves on a profile, a canary's aside."""
    group = view.group_on(profile)
    return snapshot.engines.get((view.namespace, group.engine)) if group is not None else None


def _tuned(view: DeploymentView, group: GroupPlan, tunings: Tunings) -> GroupPlan:
    """Return a group with Triton's numbers, by the curves of the engine that it serves."""
    found = tunings.of(
        view.namespace,
        group.engine.spec.recipe,
        p99_ms=view.spec.objective.p99_latency_milliseconds,
        profile=group.choice.profile,
        products=group.choice.products,
        portable=level_of(group.engine),
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
        missing = {w.name: w for w in planned.wishes if (view.namespace, w.name) not in snapshot.engines}
        for wished in missing.values():
            key = (view.namespace, wished.name)
            _, owners = wanted.setdefault(key, (wished, {}))
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
    wished = {one.name for one in planned.wishes}
    serving = {group.engine for group in view.all_groups if group.engine}
    serving |= {group.engine.name for group in planned.groups}
    pods = {pod.engine for pod in view.pods if pod.engine}
    status = planned.rollout.status if planned.rollout else None
    # Until a rollout has its end, its way back stays open.
    before = {status.previous_engine} if status is not None and status.phase not in ENDED else set()
    portable = {planned.portable.best} - {""}
    return wished | serving | pods | before | portable | _telling(planned, snapshot)


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
    """Return the next step of every engine whose turn it is; builds start in order of name, portable ones first.

    A portable engine takes as long to build as an exact one, and may serve where several of those are awaited.
    """
    free = concurrent_builds(snapshot.pools) - snapshot.builds_running
    damaged = mending.reports(snapshot.deployments)
    planned = []
    shelf: Shelf | None = None
    turns = {key: view for key in (*snapshot.engines_due, *damaged) if (view := snapshot.engines.get(key)) is not None}
    for key, seen in sorted(turns.items(), key=lambda turn: (level_of(turn[1]) is None, turn[0])):
        if not seen.owners:
            continue
        view = replace(seen, damage=damaged.get(key))
        made = step(view, policy=snapshot.policy, now=snapshot.taken_at, free_builds=free)
        if made.start and view.spec.target is not None:
            pools = snapshot.engine_pools.get(key, frozenset({DEFAULT_POOL}))
            shelf = shelf or shelf_of(snapshot)
            given: Given | NotYet = NotYet(BEHIND)
            if key not in snapshot.engines_behind:
                given, shelf = shelf.give(view.spec.target, pools)
            made = on_slice(made, given, snapshot.taken_at)
            made = replace(made, timings_of=timings_for(view, snapshot.engines.values()) if made.start else None)
        free -= 1 if made.start else 0
        planned.append(made)
    return tuple(planned)


def concurrent_builds(pools: tuple[PoolView, ...]) -> int:
    """Return how many builds may run at once: the default pool's word, or 4."""
    return next((p.spec.builds.max_concurrent for p in pools if p.name == DEFAULT_POOL), DEFAULT_CONCURRENT_BUILDS)

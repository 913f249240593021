"""Which replicas of a deployment go to slices of another kind while those of its own have run out, and why.

A kind counts only where a replica carries at least what one of the own kind does: then the count that was decided on
holds whoever serves, and a Service that spreads evenly brings nobody above its target.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from yolofleet.planning.engines import Verdict, Wish, target_of, wish
from yolofleet.planning.groups.seats import Kind, Seated, seat
from yolofleet.planning.placing.choice import Alternative, Choice, NoChoice
from yolofleet.planning.placing.fitting import Room, Worths
from yolofleet.planning.portable import level_of, stand_in
from yolofleet.planning.rollout.steps import Revision
from yolofleet.planning.scaling.capacity import Capacity
from yolofleet.planning.scaling.memory import Slices
from yolofleet.planning.scaling.replicas import Desired
from yolofleet.planning.slices.profiles import slug
from yolofleet.planning.snapshot import DeploymentView, EngineView, GroupView, Snapshot

PATIENCE = timedelta(seconds=15)
"""A pod that found no slice for so long speaks against slices that seem free: not every holder may be seen."""
FULL = timedelta(minutes=5)
"""So long nobody tries again."""
RECHECK = timedelta(seconds=15)


@dataclass(frozen=True)
class Part:
    """Replicas on slices of another kind, and what they serve; `image` "": the spec's.

    Without an engine they are what is there, and stay as they are.
    """

    choice: Choice
    replicas: int
    engine: EngineView | None
    image: str = ""
    capacity: Capacity | None = None


@dataclass(frozen=True)
class Mix:
    """How many replicas are for slices of the own kind, where the others are, and why.

    `wishes` are engines for other kinds that are needed, or here already; `eligible` profiles may be asked for help.
    Of the `own` those that are `late` wait for the engine of another one. `slices` is what the next decision wants to
    know, `due` when it is to be made.
    """

    own: int
    parts: tuple[Part, ...] = ()
    late: tuple[tuple[str, int], ...] = ()
    why: str = ""
    wishes: tuple[Wish, ...] = ()
    eligible: frozenset[str] = frozenset()
    slices: Slices = field(default_factory=Slices)
    due: datetime | None = None

    def by_profile(self, own: str) -> dict[str, int]:
        """Return the replicas by profile, once all engines are there."""
        counts = Counter({own: self.own - sum(n for _, n in self.late)}) + Counter(dict(self.late))
        return counts + Counter({part.choice.profile: part.replicas for part in self.parts})

    def remembered(self, wanted: Desired) -> Desired:
        """Return a decision that hands on what was seen of slices, and is made again in time."""
        if self.slices == wanted.memory.slices and self.due is None:
            return wanted
        due = min((at for at in (wanted.due, self.due) if at is not None), default=None)
        return replace(wanted, memory=replace(wanted.memory, slices=self.slices), due=due)


@dataclass(frozen=True)
class _Lot:
    """Another kind of slices: the engine that is wished for there, the one that serves there, and what is there."""

    alternative: Alternative
    choice: Choice
    wish: Wish
    owned: bool
    engine: EngineView | None
    image: str
    capacity: Capacity | None
    kind: Kind


@dataclass(frozen=True)
class _Scene:
    """All that a decision looks at; `settled`: the own kind serves what the spec asks for."""

    view: DeploymentView
    choice: Choice
    settled: bool
    slices: Slices
    snapshot: Snapshot
    worths: Worths
    free: Mapping[str, int]


def mixed(
    view: DeploymentView,
    choice: Choice | NoChoice,
    wanted: Desired,
    asked: Wish | Verdict,
    snapshot: Snapshot,
    worths: Worths,
    room: Room,
) -> Mix:
    """Seat the replicas that were decided on."""
    if isinstance(choice, NoChoice) or isinstance(asked, Verdict) or view.spec.suspend or not choice.alternatives:
        return Mix(wanted.replicas)
    now = snapshot.taken_at
    free = {one.profile: sum(room.free(lot) for lot in one.lots) for one in choice.alternatives}
    slices = _watched(view, free | {choice.profile: choice.free}, wanted.memory.slices, now)
    scene = _Scene(view, choice, _settled(view, choice, asked, snapshot), slices, snapshot, worths, free)
    own = _own(scene)
    several = len(snapshot.engines_by_owner.get(view.uid, ())) > 1
    if wanted.replicas <= own.seats and not several and not any(group.overflow for group in view.groups):
        return Mix(wanted.replicas, slices=replace(slices, roomy_since=None))
    lots = [lot for one in choice.alternatives if (lot := _lot(scene, one)) is not None]
    kinds = [lot.kind for lot in lots]
    seated = seat(wanted.replicas, own, kinds)
    dear = any(n for n, kind in zip(seated.others, kinds, strict=True) if kind.dearer)
    roomy = dear and own.seats > seated.own and not _waits(view, choice.profile)
    slices = replace(slices, roomy_since=(slices.roomy_since or now) if roomy else None)
    window = timedelta(seconds=view.spec.scaling.scale_down.stabilization_window_seconds)
    if slices.roomy_since is not None and now - slices.roomy_since >= window:
        seated = seat(wanted.replicas, own, kinds, home=True)
    return replace(_made(choice, lots, seated, room), slices=slices, due=_due(seated, slices, now))


def _due(seated: Seated, slices: Slices, now: datetime) -> datetime | None:
    """Return when to look again: nobody tells when a slice becomes free."""
    if not (seated.unseated or any(seated.late) or any(seated.others) or slices.doubted):
        return None
    return now + RECHECK


def _made(choice: Choice, lots: Sequence[_Lot], seated: Seated, room: Room) -> Mix:
    parts, wishes, waits = [], [], []
    told = [f"{seated.seated} of {choice.profile}"]
    for lot, count, late in zip(lots, seated.others, seated.late, strict=True):
        room.take(lot.alternative.lots, max(0, count - lot.kind.stands))
        if count:
            parts.append(Part(lot.choice, count, lot.engine, lot.image, lot.capacity))
            told.append(f"{count} of {lot.choice.profile}")
        if late:
            waits.append(f"{late} wait for YoloEngine {lot.wish.name}, to be on {lot.choice.profile}")
        if count or late or lot.owned:
            wishes.append(lot.wish)
    if seated.unseated:
        waits.append(f"{seated.unseated} wait: no slice that carries as much is free")
    why = f"{', '.join(told)} as no {choice.profile} was free" if parts else ""
    return Mix(
        own=seated.own,
        parts=tuple(parts),
        late=tuple((lot.choice.profile, n) for lot, n in zip(lots, seated.late, strict=True) if n),
        why="; ".join([why, *waits] if why else waits),
        wishes=tuple(wishes),
        eligible=frozenset(lot.choice.profile for lot in lots),
    )


def _watched(view: DeploymentView, free: Mapping[str, int], before: Slices, now: datetime) -> Slices:
    """Return what pods that find no slice say of those that seem free."""
    known = dict(before.doubted)
    doubted = {one: known.get(one, now) for one in sorted(free) if free[one] and _waits(view, one)}
    proven = {one: now + FULL for one, since in doubted.items() if now - since >= PATIENCE}
    full = {one: until for one, until in before.full if until > now} | proven
    return replace(before, doubted=tuple(doubted.items()), full=tuple(sorted(full.items())))


def _waits(view: DeploymentView, profile: str) -> bool:
    """Tell whether a pod finds no slice of a profile; a canary looks for one more than there need be."""
    mine = (pod for pod in view.pods if pod.profile == slug(profile))
    return any(pod.unschedulable and not pod.terminating and not pod.canary for pod in mine)


def _seats(scene: _Scene, profile: str, free: int) -> int:
    """Return the slices that a deployment holds and could have; that of a pod that goes comes back to it."""
    held = sum(pod.profile == slug(profile) and pod.bound for pod in scene.view.pods)
    return held if profile in dict(scene.slices.full) else held + free


def _own(scene: _Scene) -> Kind:
    view, profile = scene.view, scene.choice.profile
    group = view.group_on(profile)
    canary = view.canary if view.canary is not None and view.canary.profile == profile else None
    here = [one for one in (group, canary) if one is not None]
    return Kind(
        seats=_seats(scene, profile, scene.choice.free),
        stands=sum(one.replicas for one in here) - (canary.surge if canary is not None and canary.replicas else 0),
        serves=sum(one.ready_replicas for one in here),
    )


def _settled(view: DeploymentView, choice: Choice, asked: Wish, snapshot: Snapshot) -> bool:
    """Tell whether the own kind serves what the spec asks for: until then the others stay with what they serve."""
    stable = view.group_on(choice.profile)
    wanted = Revision(asked.name, view.spec.serving.image or snapshot.policy.image)
    return stable is None or Revision(stable.engine, stable.image).same(wanted)


def _lot(scene: _Scene, alternative: Alternative) -> _Lot | None:
    """Return what one other kind could do; None where it can't be compiled for, or serves for another reason."""
    view, snapshot = scene.view, scene.snapshot
    choice = alternative.choice(scene.choice)
    group = view.group_on(choice.profile)
    target = target_of(view.spec, choice, dict(choice.labels))
    if isinstance(target, Verdict) or (group is not None and not group.overflow):
        return None
    wished = wish(view.spec, builder=snapshot.policy.builder, target=target)
    key = (view.namespace, wished.name)
    known = snapshot.engines.get(key)
    engine, image = _serves(view, group, known if scene.settled else None, snapshot)
    if engine is None and scene.settled:
        engine = _portable(scene, choice, wished)
    failed = engine is None and known is not None and known.status.failure is not None
    # A slice that the build of the exact engine holds is free once there is that to serve, and not before.
    free = scene.free[choice.profile] + (0 if level_of(engine) else _building(known, choice))
    return _Lot(
        alternative=alternative,
        choice=choice,
        wish=wished,
        owned=key in snapshot.engines_by_owner.get(view.uid, ()),
        engine=engine,
        image=image,
        capacity=scene.worths.capacity(view, choice.profile, choice.products, level_of(engine)),
        kind=Kind(
            seats=0 if failed else _seats(scene, choice.profile, free),
            stands=group.replicas if group is not None else 0,
            serves=group.ready_replicas if group is not None else 0,
            usable=engine is not None,
            dearer=alternative.dearer,
        ),
    )


def _serves(
    view: DeploymentView, group: GroupView | None, wished: EngineView | None, snapshot: Snapshot
) -> tuple[EngineView | None, str]:
    """Return the engine and image for a kind: what the spec asks for once it is published, else what serves there."""
    if wished is not None and wished.artifact is not None:
        return wished, ""
    serving = snapshot.engines.get((view.namespace, group.engine)) if group is not None else None
    if group is None or serving is None or serving.artifact is None:
        return None, ""
    return serving, group.image


def _portable(scene: _Scene, choice: Choice, wished: Wish) -> EngineView | None:
    """Return a portable engine that serves on a kind until its own is built; None where it would carry less."""
    view = scene.view
    made = stand_in(view, wished, scene.snapshot)
    mine = scene.worths.capacity(view, choice.profile, choice.products, level_of(made))
    own = scene.worths.capacity(view, scene.choice.profile, scene.choice.products)
    if made is None or mine is None or own is None or mine.fps < own.fps:
        return None
    # An estimate is a lower edge: against one nothing is known to carry as much but what is estimated alike.
    return made if own.origin == "Measured" or mine.origin == "Estimated" else None


def _building(engine: EngineView | None, choice: Choice) -> int:
    """Count the slice that the build of a kind's own engine holds: it is free when there is something to serve."""
    job = engine.job if engine is not None else None
    return int(job is not None and job.active and job.slice is not None and job.slice.profile == choice.profile)

"""When slices of the own kind run out: who goes elsewhere, with which engine, and when they come back."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.planning.test_fitting import CURVES, MIG, asked, curve
from tests.planning.worlds import ARTIFACT, FAILURE, NOW, deployment, engine, group, labelled, node, pod, snapshot
from tests.raw_objects import SETTINGS
from yolofleet.api.build import BuildSlice
from yolofleet.api.conditions import Reason
from yolofleet.api.yolodeployment import YoloDeploymentSpec
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.observe import reading
from yolofleet.planning.plan import DeploymentPlan, plan
from yolofleet.planning.scaling.signals import ReplicaSignals, Signals, together
from yolofleet.planning.slices.profiles import slug
from yolofleet.planning.snapshot import DeploymentView, EngineView, GroupView, JobView, PodView, Snapshot
from yolofleet.render.meta import OVERFLOW_ANNOTATION
from yolofleet.render.serving import serving
from yolofleet.render.status import deployment_status

WINDOW_S = 300
ONE, TWO, THREE = "1g.10gb", "2g.20gb", "3g.40gb"
SLICES = {ONE: 2, TWO: 1, THREE: 1}
PUBLISHED = YoloEngineStatus(artifact=ARTIFACT, curves=list(CURVES))


def wants(replicas: int, window_s: int = WINDOW_S, **parts) -> YoloDeploymentSpec:
    """Return a spec of so many replicas: what they serve is little, and declared."""
    scaling = {"minReplicas": replicas, "maxReplicas": max(replicas, 8), "mode": "Declared"}
    scaling |= {"scaleDown": {"stabilizationWindowSeconds": window_s}}
    return asked(100, 50, scaling=scaling, **parts)


@dataclass
class Bench:
    """One deployment on a node: each tick decides once, and lets the cluster bind, start and end pods."""

    asked: YoloDeploymentSpec
    slices: dict[str, int] = field(default_factory=lambda: dict(SLICES))
    foreign: Counter[str] = field(default_factory=Counter)
    engines: tuple[EngineView, ...] = ()
    now: datetime = NOW
    view: DeploymentView = field(default_factory=deployment)
    pods: list[PodView] = field(default_factory=list)
    unseen: bool = False
    starts: bool = True
    made: int = 0

    def snapshot(self) -> Snapshot:
        used = Counter(pod.profile for pod in self.pods if pod.bound)
        own = engine(self.asked, status=PUBLISHED)
        return replace(
            snapshot(
                replace(self.view, spec=self.asked, pods=tuple(self.pods), signals=self._signals()),
                engines=self.engines or (own,),
                nodes=(node("n1", {MIG + p: n for p, n in self.slices.items()}, labels=self._labels()),),
                devices_used={("n1", MIG + p): used[slug(p)] for p in self.slices},
                devices_foreign={} if self.unseen else {("n1", MIG + p): n for p, n in self.foreign.items()},
            ),
            taken_at=self.now,
        )

    def _signals(self) -> Signals:
        seen = [ReplicaSignals(one.name, one.profile) for one in self.pods if one.ready]
        return together(seen, missing=(), unbroken_s=100.0)

    def _labels(self) -> dict[str, str]:
        told = (labelled(resource=f"{MIG}{p}", sms=16 * n) for n, p in enumerate(self.slices, 1))
        return {key: value for labels in told for key, value in labels.items()}

    def decide(self) -> DeploymentPlan:
        (decided,) = plan(self.snapshot()).deployments
        return decided

    def tick(self, seconds: float = 5) -> DeploymentPlan:
        decided = self.decide()
        wanted = {one.choice.profile: one for one in decided.groups}
        for profile in {*wanted, *(g.profile for g in decided.gone)}:
            self._resize(profile, wanted[profile].replicas if profile in wanted else 0)
        self._bind()
        groups = [self._group(profile, one.engine.name, one.overflow) for profile, one in sorted(wanted.items())]
        kept = [g for g in self.view.groups if g.name in decided.kept and g.profile not in wanted]
        self.view = replace(
            self.view,
            groups=(*groups, *kept),
            memory=decided.desired.memory,
            status=deployment_status(decided, self.now),
        )
        self.now += timedelta(seconds=seconds)
        return decided

    def rest(self, ticks: int = 8) -> DeploymentPlan:
        for _ in range(ticks):
            decided = self.tick()
        return decided

    def _resize(self, profile: str, count: int) -> None:
        own = sorted((p for p in self.pods if p.profile == slug(profile)), key=lambda p: (p.ready, p.bound))
        for gone in own[: max(0, len(own) - count)]:
            self.pods.remove(gone)
        for _ in range(count - len(own)):
            self.made += 1
            self.pods.append(pod(f"p-{self.made}", profile=slug(profile), ready=False, bound=False))

    def _bind(self) -> None:
        free = {slug(p): n - self.foreign[p] for p, n in self.slices.items()}
        free = {p: n - sum(o.bound for o in self.pods if o.profile == p) for p, n in free.items()}
        for at, one in enumerate(self.pods):
            if one.bound:
                self.pods[at] = replace(one, ready=self.starts or one.ready)
            elif free[one.profile] > 0:
                free[one.profile] -= 1
                self.pods[at] = replace(one, bound=True, unschedulable="")
            else:
                self.pods[at] = replace(one, unschedulable="0/1 nodes are available")

    def _group(self, profile: str, serves: str, overflow: bool) -> GroupView:
        own = [p for p in self.pods if p.profile == slug(profile)]
        ready = sum(p.ready for p in own)
        return group(profile, serves, replicas=len(own), ready=ready, overflow=overflow)

    @property
    def seated(self) -> dict[str, int]:
        found = Counter(p.profile for p in self.pods if p.ready)
        return {p: found[slug(p)] for p in self.slices if found[slug(p)]}


def test_what_the_own_kind_cannot_seat_goes_to_the_cheapest_that_carries_as_much() -> None:
    bench = Bench(wants(3))
    decided = bench.rest()
    assert bench.seated == {ONE: 2, TWO: 1}
    assert [(one.choice.profile, one.replicas, one.overflow) for one in decided.groups] == [
        (ONE, 2, False),
        (TWO, 1, True),
    ]
    placed = decided.judgement.placed
    assert (placed.reason, decided.desired.replicas) == (Reason.PLACED, 3)
    assert placed.message.endswith("; 2 of 1g.10gb, 1 of 2g.20gb as no 1g.10gb was free")
    assert decided.judgement.progressing.message == "2 replicas on 1g.10gb, 1 on 2g.20gb"
    told = [(g.profile, g.replicas, g.frames_per_second_per_replica, g.overflow) for g in bench.view.status.groups]
    assert told == [(ONE, 2, 100, None), (TWO, 1, 220, True)]


def test_each_kind_has_a_deployment_and_all_are_behind_one_service() -> None:
    bench = Bench(wants(3))
    made = serving(bench.rest(), SETTINGS)
    named = {(one["kind"], one["metadata"]["name"]): one for one in made}
    one, two = named["Deployment", "gate-1g-10gb"], named["Deployment", "gate-2g-20gb"]
    assert [reading.group(told | {"metadata": told["metadata"] | {"uid": "u"}}).overflow for told in (one, two)] == [
        False,
        True,
    ]
    assert OVERFLOW_ANNOTATION not in one["metadata"]["annotations"]
    (container,) = two["spec"]["template"]["spec"]["containers"]
    assert container["resources"]["limits"][f"{MIG}{TWO}"] == 1
    selects = named["Service", "gate"]["spec"]["selector"].items()
    assert all(selects <= made["spec"]["template"]["metadata"]["labels"].items() for made in (one, two))


def test_what_nobody_can_seat_waits_for_the_own_kind_and_says_so() -> None:
    bench = Bench(wants(6))
    decided = bench.rest()
    assert bench.seated == {ONE: 2, TWO: 1, THREE: 1}
    assert [one.replicas for one in decided.groups] == [4, 1, 1]
    assert decided.judgement.placed.reason == Reason.NO_ROOM
    assert decided.judgement.placed.message.endswith(
        "2 of 1g.10gb, 1 of 2g.20gb, 1 of 3g.40gb as no 1g.10gb was free; 2 wait: no slice that carries as much is free"
    )


def test_a_kind_that_carries_less_or_misses_the_objective_or_is_not_allowed_helps_nobody() -> None:
    small = replace(PUBLISHED_ENGINE, status=YoloEngineStatus(artifact=ARTIFACT, curves=SLOWER))
    bench = Bench(wants(5), engines=(small,))
    bench.rest()
    assert bench.seated == {ONE: 2, THREE: 1}, "2g carries less by this curve"
    strict = Bench(asked(30, 50, scaling={"minReplicas": 3, "mode": "Declared"}))
    strict.rest()
    assert strict.seated == {TWO: 1, THREE: 1}, "1g can't keep 30 ms"
    fixed = Bench(wants(3, placement={"profiles": [ONE]}))
    assert [one.replicas for one in fixed.rest().groups] == [3]
    some = Bench(wants(4, placement={"profiles": [ONE, THREE]}))
    some.rest()
    assert some.seated == {ONE: 2, THREE: 1}


SLOWER = [curve(ONE, 100, 40), curve(TWO, 99, 20), curve(THREE, 400, 9)]
PUBLISHED_ENGINE = engine(wants(5), status=PUBLISHED)


def test_nothing_that_was_measured_is_known_to_carry_what_an_estimated_slice_does() -> None:
    guess = curve(ONE, 100, 40).model_copy(update={"source": "Estimated", "error": "0.2"})
    for others, seated in ((CURVES[1:], {ONE: 2}), ([], {ONE: 2})):
        told = YoloEngineStatus(artifact=ARTIFACT, curves=[guess, *others])
        bench = Bench(wants(3, placement={"profiles": [ONE, TWO]}), engines=(replace(PUBLISHED_ENGINE, status=told),))
        bench.view = replace(bench.view, groups=(group(ONE, PUBLISHED_ENGINE.name),))
        bench.rest()
        assert bench.seated == seated


def test_lower_needs_take_the_dearest_first_and_then_nothing_moves() -> None:
    bench = Bench(wants(4, window_s=0))
    bench.rest()
    for count, seated in ((3, {ONE: 2, TWO: 1}), (2, {ONE: 2}), (1, {ONE: 1})):
        bench.asked = wants(count, window_s=0)
        bench.rest()
        assert bench.seated == seated


def test_they_come_back_once_the_own_kind_has_had_room_for_the_window_and_nobody_is_missing_meanwhile() -> None:
    bench = Bench(wants(3), foreign=Counter({ONE: 1}))
    bench.rest()
    assert bench.seated == {ONE: 1, TWO: 1, THREE: 1}
    bench.foreign.clear()
    assert bench.tick().desired.memory.slices.roomy_since is not None
    bench.rest(30)
    assert bench.seated == {ONE: 1, TWO: 1, THREE: 1}, "not before the window is over"
    fewest = 3
    for _ in range(60):
        bench.tick()
        fewest = min(fewest, sum(bench.seated.values()))
    assert bench.seated == {ONE: 2, TWO: 1}, "the dearest goes first"
    assert fewest == 3


def test_room_that_comes_and_goes_moves_nothing() -> None:
    bench = Bench(wants(3), foreign=Counter({ONE: 1}))
    bench.rest()
    before = bench.seated
    for n in range(200):
        bench.foreign[ONE] = (n // 40) % 2
        bench.tick()
        assert bench.seated == before


def test_a_replica_that_finds_no_slice_where_some_seem_free_goes_elsewhere_after_a_while() -> None:
    """Who may not see other people's pods takes what they hold for free."""
    bench = Bench(wants(2), foreign=Counter({ONE: 1}), unseen=True)
    bench.tick()
    waits = bench.tick()
    assert (bench.seated, waits.mix.parts) == ({ONE: 1}, ())
    bench.rest()
    assert bench.seated == {ONE: 1, TWO: 1}
    seated = set()
    for _ in range(200):
        bench.tick()
        seated.add(tuple(bench.seated.items()))
    assert seated == {((ONE, 1), (TWO, 1))}, "what is tried once a window takes nothing away"


def test_a_replaced_pod_is_no_want_of_slices() -> None:
    bench = Bench(wants(2))
    bench.rest()
    gone = bench.pods[0]
    bench.pods[0] = replace(gone, ready=False, terminating=True)
    bench.pods.append(pod("p-new", profile=slug(ONE), ready=False, bound=False, unschedulable="0/1 nodes"))
    assert bench.decide().mix.parts == ()
    del bench.pods[0]
    assert bench.decide().mix.parts == ()


def test_a_restarted_operator_decides_the_same() -> None:
    bench = Bench(wants(4))
    before = bench.rest()
    bench.view = replace(bench.view, memory=None)
    again = bench.decide()
    assert (again.mix.parts, again.mix.own, again.desired.replicas) == (before.mix.parts, before.mix.own, 4)


RT = {"engine": {"backend": "TensorRT"}}


def compiled(bench: Bench) -> dict[str, str]:
    """Return the engines that are asked for, by name, with the profile that their target's SMs tell."""
    told = {16 * n: p for n, p in enumerate(bench.slices, 1)}
    return {
        made.wish.name: told[made.wish.spec.target.sm_count]
        for made in plan(bench.snapshot()).owners
        if made.wish.spec.target is not None and made.owners
    }


def built(bench: Bench, name: str, status: YoloEngineStatus = PUBLISHED, **given) -> EngineView:
    (made,) = [one for one in plan(bench.snapshot()).owners if one.wish.name == name]
    return replace(engine(status=status, name=name, owners=("gate",)), spec=made.wish.spec, uid=f"uid-{name}", **given)


def with_first_engine() -> Bench:
    bench = Bench(wants(3, **RT))
    seed = engine(bench.asked, name="e-seed", status=PUBLISHED, owners=())
    bench.engines = (seed,)
    (own,) = [name for name, profile in compiled(bench).items() if profile == ONE]
    bench.engines = (seed, built(bench, own))
    bench.rest()
    return bench


def test_the_engine_for_another_kind_is_built_when_it_is_needed_and_kept() -> None:
    bench = with_first_engine()
    assert bench.seated == {ONE: 2}
    named = compiled(bench)
    assert sorted(named.values()) == [ONE, TWO], "for 3g nothing is built: it is not needed"
    (two,) = [name for name, profile in named.items() if profile == TWO]
    told = bench.decide()
    assert [one.replicas for one in told.groups] == [3], "it waits on its own kind meanwhile"
    assert f"1 wait for YoloEngine {two}, to be on 2g.20gb" in told.judgement.placed.message

    taken = BuildSlice.model_validate({"way": "Free", "pool": "default", "profile": TWO, "resource": f"{MIG}{TWO}"})
    job = JobView(uid="j", active=True, succeeded=False, failed=False, slice=taken)
    building = built(bench, two, YoloEngineStatus(stage="Build"), job=job)
    bench.engines, bench.foreign[TWO] = (*bench.engines, building), 1
    assert sorted(compiled(bench).values()) == [ONE, TWO], "its build holds the slice that it is for"

    bench.foreign.clear()
    bench.engines = (*bench.engines[:-1], replace(building, status=PUBLISHED, job=None))
    bench.rest()
    assert bench.seated == {ONE: 2, TWO: 1}
    bench.slices[ONE] = 3
    for _ in range(100):
        bench.tick()
    assert bench.seated == {ONE: 3}
    assert sorted(compiled(bench).values()) == [ONE, TWO], "it is there for the next time"


def portable_of(bench: Bench, fps: int) -> EngineView:
    """Return a portable engine that carries so much on 2g, built where the own one was."""
    own = bench.engines[1].spec
    target = own.target.model_copy(update={"hardware_compatibility": "SameComputeCapability"})
    told = YoloEngineStatus(artifact=ARTIFACT, curves=[curve(TWO, fps, 20)])
    made = engine(status=told, name="e-portable", owners=("other",))
    return replace(made, spec=own.model_copy(update={"target": target, "key": "e" * 64}))


def test_a_portable_engine_helps_on_another_kind_while_its_own_is_built() -> None:
    bench = with_first_engine()
    bench.engines = (*bench.engines, portable_of(bench, 200))
    told = bench.rest()
    assert bench.seated == {ONE: 2, TWO: 1}
    assert {one.choice.profile: one.engine.name for one in told.groups}[TWO] == "e-portable"
    named = compiled(bench)
    assert sorted(named.values()) == [ONE, ONE, TWO], "the exact one is built, and the portable one is not left alone"
    worth = {one.profile: (one.frames_per_second_per_replica, one.portable) for one in bench.view.status.groups}
    assert worth[TWO] == (200, "SameComputeCapability")
    (two,) = [name for name, profile in named.items() if profile == TWO]
    bench.engines = (*bench.engines, built(bench, two))
    told = bench.rest()
    assert bench.seated == {ONE: 2, TWO: 1}
    assert {one.choice.profile: one.engine.name for one in told.groups}[TWO] == two


def test_a_portable_engine_that_carries_less_than_the_own_kind_does_not_help() -> None:
    bench = with_first_engine()
    bench.engines = (*bench.engines, portable_of(bench, 60))
    bench.rest()
    assert bench.seated == {ONE: 2}, "a Service that spreads evenly would bring it above its target"


def test_where_an_engine_cannot_be_built_the_next_kind_helps() -> None:
    bench = with_first_engine()
    (two,) = [name for name, profile in compiled(bench).items() if profile == TWO]
    broken = built(bench, two, YoloEngineStatus(stage="Build", attempts=1, failure=FAILURE))
    bench.engines = (*bench.engines, broken)
    assert sorted(compiled(bench).values()) == [ONE, TWO, THREE]


def test_while_a_new_revision_proves_itself_others_go_on_with_the_old_one_and_then_follow() -> None:
    bench = Bench(wants(3))
    bench.rest()
    old = bench.view.groups[0].engine
    former = engine(bench.asked, status=PUBLISHED)
    bench.asked = wants(3, model={"builtin": "yolo11s"})
    fresh = engine(bench.asked, status=PUBLISHED)
    bench.engines = (former, fresh)
    decided = bench.decide()
    assert decided.rollout is not None
    told = {(one.choice.profile, one.canary): one.engine.name for one in decided.groups}
    assert told == {(ONE, False): old, (ONE, True): fresh.name, (TWO, False): old}
    bench.view = replace(
        bench.view,
        groups=tuple(g if g.overflow else replace(g, engine=fresh.name) for g in bench.view.groups),
        status=bench.view.status.model_copy(update={"rollout": None}),
    )
    assert {one.engine.name for one in bench.decide().groups} == {fresh.name}


def test_two_of_one_pass_do_not_help_themselves_to_one_slice() -> None:
    first = Bench(wants(3))
    one = first.snapshot()
    (view,) = one.deployments
    both = replace(one, deployments=(view, replace(view, name="yard", uid="uid-yard")))
    parts = [made.mix.parts for made in plan(both).deployments]
    taken = Counter(part.choice.profile for told in parts for part in told)
    assert all(n <= SLICES[profile] for profile, n in taken.items())
    assert plan(replace(both, deployments=both.deployments[::-1])) == plan(both)


def test_a_deployment_whose_own_kind_suffices_is_decided_as_if_there_were_no_other() -> None:
    bench = Bench(wants(2))
    for _ in range(6):
        alone = replace(bench, slices={ONE: 2}, pods=list(bench.pods))
        with_others, without = bench.decide(), alone.decide()
        assert with_others.mix == without.mix
        assert with_others.desired == without.desired
        assert [(g.replicas, g.engine, g.surge) for g in with_others.groups] == [
            (g.replicas, g.engine, g.surge) for g in without.groups
        ]
        bench.tick()


counts = st.integers(0, 3)


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.integers(1, 8), min_size=1, max_size=3),
    st.fixed_dictionaries({p: st.integers(1, 3) for p in SLICES}),
    st.fixed_dictionaries(dict.fromkeys(SLICES, counts)),
    st.booleans(),
)
def test_laws_of_a_life(needs: list[int], slices: dict[str, int], foreign: dict[str, int], unseen: bool) -> None:
    """At rest: no more than wanted, all that slices allow, and nothing moves."""
    held = Counter({p: min(n, slices[p]) for p, n in foreign.items()})
    bench = Bench(wants(1), dict(slices), held, unseen=unseen)
    for count in needs:
        bench.asked = wants(max(count, bench.asked.scaling.min_replicas))  # up at once; down is another test's
        decided = bench.rest(24)
        wanted = bench.asked.scaling.min_replicas
        able = [bench.decide().profile, *(one.profile for one in choice_of(bench).alternatives)]
        room = sum(slices[p] - held[p] for p in able)
        assert sum(bench.seated.values()) == min(wanted, room)
        assert sum(one.replicas for one in decided.groups) == wanted
        there = bench.seated
        for _ in range(3):
            bench.tick()
            assert bench.seated == there


def choice_of(bench: Bench):
    from yolofleet.planning.placing.choice import choose, market
    from yolofleet.planning.placing.fitting import Room, Worths

    seen = bench.snapshot()
    return choose(
        seen.deployments[0],
        market(seen.nodes, seen.pools),
        Worths(seen.curves),
        Room(seen.devices_used, seen.devices_foreign),
    )

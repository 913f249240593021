"""Laws of the plan, one sentence each, on drawn worlds."""

from __future__ import annotations

import random
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from tests.planning.worlds import deployment, engine, group, node, pool, snapshot, spec, worlds
from yolofleet.planning.placing.choice import Choice, NoChoice, choose, market
from yolofleet.planning.plan import DEFAULT_CONCURRENT_BUILDS, DeploymentPlan, concurrent_builds, plan
from yolofleet.planning.portable import level_of
from yolofleet.planning.slices.pools import shared_out
from yolofleet.planning.slices.profiles import offers, same_profile, size_of
from yolofleet.planning.snapshot import DeploymentView, Owner, Snapshot


def chosen(view: DeploymentView, world: Snapshot) -> Choice | NoChoice:
    return choose(view, market(world.nodes, world.pools))


def in_use(planned: DeploymentPlan) -> set[str]:
    """Return the engines that a deployment wants or serves, told without the code under test."""
    view = planned.view
    wished = {planned.wish.name} if planned.wish else set()
    portable = planned.portable
    stand_ins = {portable.best} - {""} | ({portable.wish.name} if portable.wish else set())
    return wished | stand_ins | {group.engine for group in view.groups} | {pod.engine for pod in view.pods}


@given(worlds(), st.randoms(use_true_random=False))
def test_same_snapshot_same_plan_whatever_the_order(world: Snapshot, dice: random.Random) -> None:
    def shuffled(items):
        return tuple(dice.sample(list(items), len(items)))

    mixed = replace(
        world,
        nodes=shuffled(world.nodes),
        pools=shuffled(world.pools),
        deployments=shuffled(world.deployments),
        engines=dict(shuffled(world.engines.items())),
        engines_due=shuffled(world.engines_due),
    )
    assert plan(mixed) == plan(world)


@given(worlds())
def test_the_chosen_profile_is_offered_by_a_ready_schedulable_node_of_the_pool_and_allowed(world: Snapshot) -> None:
    shares = {pool.name: {n.name for n in own} for pool, own, _ in shared_out(world.pools, world.nodes)}
    by_name = {n.name: n for n in world.nodes}
    for planned in plan(world).deployments:
        choice, placement = chosen(planned.view, world), planned.view.spec.placement
        if isinstance(choice, NoChoice):
            continue
        assert choice.nodes
        assert not placement.profiles or any(same_profile(asked, choice.profile) for asked in placement.profiles)
        assert not placement.products or choice.product in placement.products
        for name in choice.nodes:
            assert by_name[name].ready
            assert by_name[name].schedulable
            assert by_name[name].devices[choice.resource] > 0
            assert name in shares.get(placement.pool_ref.name, by_name)


@given(worlds())
def test_the_smallest_allowed_profile_is_taken_unless_an_allowed_one_already_serves(world: Snapshot) -> None:
    stalls = market(world.nodes, world.pools)
    for view in world.deployments:
        choice, placement = choose(view, stalls), view.spec.placement
        if isinstance(choice, NoChoice):
            continue
        allowed = {
            o.profile
            for o in stalls[placement.pool_ref.name].offers
            if not placement.profiles or any(same_profile(asked, o.profile) for asked in placement.profiles)
            if not placement.products or o.product in placement.products
        }
        serving = allowed & {group.profile for group in view.groups}
        assert choice.profile == min(serving or allowed, key=size_of)


@given(worlds())
def test_a_tensorrt_engine_is_compiled_for_every_node_that_may_serve_it(world: Snapshot) -> None:
    by_name = {n.name: n for n in world.nodes}
    for planned in plan(world).deployments:
        choice = chosen(planned.view, world)
        if planned.view.spec.engine.backend != "TensorRT" or planned.wish is None:
            continue
        assert isinstance(choice, Choice)
        assert planned.wish.spec.target is not None
        majors = {by_name[name].labels["nvidia.com/gpu.compute.major"] for name in choice.nodes}
        assert majors == {planned.wish.spec.target.compute_capability.partition(".")[0]}


@given(worlds())
def test_what_serves_stays_until_its_successor_is_ready(world: Snapshot) -> None:
    for planned in plan(world).deployments:
        if planned.view.spec.suspend:
            continue
        for gone in planned.gone:
            successors = [
                g for g in planned.view.groups if g.profile in {made.choice.profile for made in planned.groups}
            ]
            assert successors, f"{gone.name} goes and nothing serves"
            for successor in successors:
                assert successor.ready_replicas >= 1
                assert successor.ready_replicas >= min(planned.desired.replicas, successor.replicas)


@given(worlds())
def test_no_choice_or_an_engine_that_is_not_ready_removes_nothing(world: Snapshot) -> None:
    for planned in plan(world).deployments:
        view = planned.view
        if view.spec.suspend:
            continue
        wished = world.engines.get((view.namespace, planned.wish.name)) if planned.wish else None
        unready = wished is None or wished.artifact is None
        if isinstance(chosen(view, world), NoChoice):
            assert planned.gone == ()
            assert planned.groups == ()
        elif unready:
            assert not {g.name for g in planned.gone} & {g.name for g in view.groups if not planned.groups}
            exact = [made for made in planned.groups if level_of(made.engine) is None]
            assert all(made.engine.name in {g.engine for g in view.groups} for made in exact)


@given(worlds())
def test_suspend_removes_all_groups_and_nothing_else_does_so_to_the_last(world: Snapshot) -> None:
    for planned in plan(world).deployments:
        if planned.view.spec.suspend:
            assert planned.gone == planned.view.groups
        elif planned.view.groups:
            assert planned.gone != planned.view.groups or planned.groups


@given(worlds())
def test_a_group_is_made_with_a_published_engine_or_kept_with_the_one_it_has(world: Snapshot) -> None:
    for planned in plan(world).deployments:
        for made in planned.groups:
            serving = {g.engine for g in planned.view.groups if g.profile == made.choice.profile}
            assert made.engine.artifact is not None or made.engine.name in serving


@given(worlds())
def test_the_owners_of_an_engine_are_exactly_the_deployments_that_use_it(world: Snapshot) -> None:
    decided = plan(world)
    users: dict[tuple[str, str], set[Owner]] = {}
    for planned in decided.deployments:
        for name in in_use(planned):
            key = (planned.view.namespace, name)
            users.setdefault(key, set()).add(Owner(planned.view.name, planned.view.uid))
    present = {view.uid for view in world.deployments}
    told = {(made.namespace, made.wish.name): set(made.owners) for made in decided.owners}
    for key, view in world.engines.items():
        absent = {owner for owner in view.owners if owner.uid not in present}
        assert told.get(key, set(view.owners)) == users.get(key, set()) | absent
    wishes = {(p.view.namespace, wished.name) for p in decided.deployments for wished in p.wishes}
    for key in wishes - world.engines.keys():
        assert told[key] == users[key]
    assert told.keys() <= world.engines.keys() | wishes


@given(worlds())
def test_whoever_changes_an_engine_is_named_as_its_asker(world: Snapshot) -> None:
    decided = plan(world)
    names = {view.name for view in world.deployments}
    for made in decided.owners:
        assert made.askers
        assert set(made.askers) <= names


@given(worlds())
def test_builds_never_exceed_what_may_run_at_once(world: Snapshot) -> None:
    decided = plan(world)
    started = sum(1 for step in decided.engines if step.start)
    assert started == 0 or world.builds_running + started <= concurrent_builds(world.pools)


@given(worlds())
def test_only_engines_without_a_job_that_somebody_owns_are_started(world: Snapshot) -> None:
    for step in plan(world).engines:
        if step.start:
            assert step.view.job is None
            assert step.view.owners
            assert step.view.artifact is None


@given(worlds())
def test_every_condition_has_a_message(world: Snapshot) -> None:
    for planned in plan(world).deployments:
        told = planned.judgement
        for judged in (told.ready, told.engine_ready, told.placed, told.objective_met, told.progressing):
            assert judged.message
            assert "\n" not in judged.message


@given(worlds())
def test_offers_come_in_order_of_size(world: Snapshot) -> None:
    sizes = [size_of(offer.profile) for offer in offers(world.nodes)]
    assert sizes == sorted(sizes)


def test_the_default_pool_says_how_many_builds_may_run() -> None:
    assert concurrent_builds(()) == DEFAULT_CONCURRENT_BUILDS
    assert (
        concurrent_builds((pool("default", builds={"maxConcurrent": 2}), pool("p", builds={"maxConcurrent": 9}))) == 2
    )


def test_a_group_whose_engine_nobody_knows_stays_untouched() -> None:
    """It may serve from what it has loaded; nothing can be rendered for it."""
    view = deployment(groups=(group("gpu", "e-forgotten"),))
    (planned,) = plan(snapshot(view)).deployments
    assert planned.groups == ()
    assert planned.kept == ("gate-gpu",)
    assert planned.gone == ()


def test_a_deployment_that_moves_on_leaves_the_engine_to_those_that_stay() -> None:
    old = engine(spec(), owners=("gate", "yard"))
    gate = deployment("gate", asked=spec(model={"builtin": "yolo11n"}))
    (kept, new) = sorted(plan(snapshot(gate, engines=(old,))).owners, key=lambda made: not made.exists)
    assert [owner.name for owner in kept.owners] == ["yard"]
    assert [owner.name for owner in new.owners] == ["gate"]


def test_an_engine_that_the_last_deployment_left_goes() -> None:
    old = engine(spec(), owners=("gate",))
    gate = deployment("gate", asked=spec(model={"builtin": "yolo11n"}))
    (left,) = [made for made in plan(snapshot(gate, engines=(old,))).owners if made.exists]
    assert left.owners == ()


def test_nodes_of_an_older_pool_are_not_chosen_for_a_younger_one() -> None:
    older = pool("older", "2026-01-01T00:00:00Z", nodeSelector={"matchLabels": {"zone": "x"}})
    younger = pool("younger", "2026-01-02T00:00:00Z")
    shared, own = node("n1", {"nvidia.com/mig-1g.10gb": 7}, labels={"zone": "x"}), node("n2", labels={"zone": "y"})
    view = deployment(asked=spec(placement={"poolRef": {"name": "younger"}}))
    choice = choose(view, market((shared, own), (younger, older)))
    assert isinstance(choice, Choice)
    assert (choice.profile, choice.nodes) == ("gpu", ("n2",))


@given(st.integers(1, 6), st.integers(0, 6), st.integers(0, 6))
def test_of_many_that_wait_as_many_start_as_are_free_in_order_of_name(most: int, running: int, waiting: int) -> None:
    engines = tuple(engine(spec(engine={"backend": "ONNXRuntime", "maxBatchSize": n + 1})) for n in range(waiting))
    world = snapshot(engines=engines, builds_running=running, pools=(pool(builds={"maxConcurrent": most}),))
    steps = plan(world).engines
    started = [step.view.name for step in steps if step.start]
    assert len(started) == max(0, min(waiting, most - running))
    assert started == sorted(view.name for view in engines)[: len(started)]


@given(worlds())
def test_a_portable_engine_serves_only_where_nothing_did_and_never_against_the_spec(world: Snapshot) -> None:
    for planned in plan(world).deployments:
        view = planned.view
        before = {group.engine for group in view.groups}
        taken = [one for one in planned.groups if level_of(one.engine) and one.engine.name not in before]
        if taken:
            assert view.spec.engine.portable != "Never"
            assert not any(group.ready_replicas for group in view.groups)
            assert all(one.engine.artifact is not None for one in taken)
            assert planned.wish is not None, "the exact one is wanted all the same"

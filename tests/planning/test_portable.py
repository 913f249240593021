"""A portable engine serves until the exact one is there: which may, which is built, what is said, and how it goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.planning.rolling import GOOD, SLOW
from tests.planning.test_fitting import curve
from tests.planning.worlds import (
    A100,
    BUILDER,
    FAILURE,
    H100,
    NOW,
    NS,
    POLICY,
    PUBLISHED,
    REFUSED,
    deployment,
    group,
    labelled,
    node,
    pod,
    pool,
    snapshot,
    spec,
)
from yolofleet.api.recipe import Builder, Target
from yolofleet.api.yolodeployment import YoloDeploymentSpec
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.engines import Wish, wish
from yolofleet.planning.plan import DeploymentPlan, plan
from yolofleet.planning.portable import level_for, may_run
from yolofleet.planning.snapshot import DeploymentView, EngineView, Owner, Snapshot
from yolofleet.render.status import deployment_status

ONE, TWO = "nvidia.com/mig-1g.10gb", "nvidia.com/mig-2g.20gb"
SMALL = Target(compute_capability="9.0", sm_count=16, memory_mib=9984)
LARGE = Target(compute_capability="9.0", sm_count=32, memory_mib=20096)
LEVELS = ("SameComputeCapability", "AmperePlus")


def anywhere(target: Target, level: str = "SameComputeCapability") -> Target:
    """Return the target of a portable engine that is built on some slices."""
    return Target.model_validate(target.wire() | {"hardwareCompatibility": level})


def asked(portable: str = "IfPresent", **parts: Any) -> YoloDeploymentSpec:
    engine = {"backend": "TensorRT", "portable": portable} | parts.pop("engine", {})
    return spec(engine=engine, **({"placement": {"profiles": ["2g.20gb"]}} | parts))


def made(
    target: Target,
    wanted: YoloDeploymentSpec | None = None,
    *,
    builder: Builder = BUILDER,
    namespace: str = NS,
    status: YoloEngineStatus = PUBLISHED,
    owners: tuple[str, ...] = ("other",),
) -> EngineView:
    """Return an engine of a spec for a target."""
    told: Wish = wish(wanted or asked(), builder=builder, target=target)
    owned = tuple(Owner(owner, f"uid-{owner}") for owner in owners)
    return EngineView(namespace, told.name, f"uid-{told.name}", 1, told.spec, status, owned)


def slices(product: str = H100, **devices: int) -> Any:
    """Return a node that offers both kinds of slices."""
    held = {ONE: 7, TWO: 3} if not devices else {f"nvidia.com/mig-{name}": count for name, count in devices.items()}
    labels = labelled(product, resource=ONE, sms=16, mib=9984) | labelled(product, resource=TWO, sms=32, mib=20096)
    return node("n1", held, labels=labels)


def world(view: DeploymentView, *engines: EngineView, **given: Any) -> Snapshot:
    return snapshot(view, engines=engines, **({"nodes": (slices(),), "pools": (pool(),)} | given))


def decided(view: DeploymentView, *engines: EngineView, **given: Any) -> DeploymentPlan:
    return plan(world(view, *engines, **given)).deployments[0]


def served(planned: DeploymentPlan) -> list[str]:
    return [one.engine.name for one in planned.groups]


def said(planned: DeploymentPlan, kind: str) -> tuple[str, str, str]:
    judged = planned.judgement.named()[kind]
    return judged.status, judged.reason, judged.message


targets = st.tuples(
    st.sampled_from(("7.5", "8.0", "9.0")),
    st.sampled_from((14, 16, 32, 132)),
    st.sampled_from((4864, 9984, 20096, 81559)),
    st.sampled_from((None, *LEVELS)),
).map(
    lambda told: Target(
        compute_capability=told[0], sm_count=told[1], memory_mib=told[2], hardware_compatibility=told[3]
    )
)


@given(targets, targets)
def test_an_exact_engine_runs_where_it_was_built_and_nowhere_else(one: Target, other: Target) -> None:
    assert may_run(one.hardware, other.hardware) == (one.hardware == other.hardware)


@given(targets, targets, st.integers(0, 100), st.integers(0, 60000))
def test_what_is_portable_and_runs_on_a_slice_runs_on_a_larger_one_too(
    one: Target, here: Target, sms: int, mib: int
) -> None:
    more = {"sm_count": here.sm_count + sms, "memory_mib": here.memory_mib + mib}
    if one.hardware_compatibility is not None and may_run(one, here.hardware):
        assert may_run(one, here.hardware.model_copy(update=more))


@given(targets, targets)
def test_another_compute_capability_takes_only_what_was_built_for_ampere_and_later(one: Target, here: Target) -> None:
    if may_run(one, here.hardware) and one.compute_capability != here.compute_capability:
        assert one.hardware_compatibility == "AmperePlus"
        assert here.compute_capability != "7.5"


@pytest.mark.parametrize(
    ("version", "level"),
    [
        ("10.16.0", "SameComputeCapability"),
        ("10.9.0", "SameComputeCapability"),
        ("11.2", "SameComputeCapability"),
        ("10.6.0.post1", "AmperePlus"),
        ("8.6.1", "AmperePlus"),
        (None, None),
        ("", None),
        ("latest", None),
    ],
)
def test_a_portable_engine_is_as_narrow_as_its_tensorrt_knows(version: str | None, level: str | None) -> None:
    assert level_for(Builder(image="b", version="1", tensorrt_version=version)) == level


@st.composite
def stores(draw: st.DrawFn) -> tuple[EngineView, ...]:
    """Draw engines that are alike but for a thing or two."""
    found = {}
    for _ in range(draw(st.integers(0, 5))):
        usual = draw(st.booleans())
        target = anywhere(SMALL) if usual else draw(targets)
        builder = draw(
            st.sampled_from((BUILDER, BUILDER, BUILDER.model_copy(update={"tensorrt_version": "10.13.0"})))
            | st.just(BUILDER.model_copy(update={"version": "2"}))
        )
        wanted = draw(
            st.sampled_from((asked(), asked(), asked(engine={"maxBatchSize": 4}), asked(model={"builtin": "x"})))
        )
        status = draw(st.sampled_from((PUBLISHED, PUBLISHED, YoloEngineStatus(), REFUSED)))
        namespace = draw(st.sampled_from((NS, NS, "others")))
        view = made(target, wanted, builder=builder, namespace=namespace, status=status)
        found[namespace, view.name] = view
    return tuple(found.values())


def may_stand_in(one: EngineView) -> bool:
    """Say it once more, in other words than the planner's."""
    mine, theirs = wish(asked(), builder=BUILDER, target=LARGE).spec, one.spec
    target = theirs.target
    return (
        one.namespace == NS
        and one.artifact is not None
        and theirs.recipe == mine.recipe
        and (theirs.builder.version, theirs.builder.tensorrt_version) == ("1", "10.16.0")
        and target is not None
        and target.hardware_compatibility is not None
        and (target.compute_capability == "9.0" or target.hardware_compatibility == "AmperePlus")
        and target.sm_count <= 32
        and target.memory_mib <= 20096
    )


@given(stores())
def test_whatever_lies_in_the_store_only_what_may_run_there_stands_in_and_if_there_is_one_it_does(store) -> None:
    exact = made(LARGE, status=YoloEngineStatus(), owners=("gate",))
    able = {one.name for one in store if may_stand_in(one) and one.name != exact.name}
    if any(one.name == exact.name and one.artifact and one.namespace == NS for one in store):
        return
    planned = decided(deployment(asked=asked()), *(one for one in store if one.name != exact.name), exact)
    assert bool(served(planned)) == bool(able)
    assert set(served(planned)) <= able
    assert planned.wish.name == exact.name, "the exact one is built whatever serves"


@given(stores(), st.sampled_from(("IfPresent", "Build", "Never")))
def test_what_serves_is_never_exchanged_for_a_portable_engine(store, mode: str) -> None:
    old = made(LARGE, asked(engine={"maxBatchSize": 16}), owners=("gate",))
    view = deployment(asked=asked(mode), groups=(group("2g.20gb", old.name),))
    assert served(decided(view, *(one for one in store if one.name != old.name), old)) == [old.name] or any(
        one.spec.target == LARGE and one.artifact and one.spec.recipe.max_batch_size == 32 for one in store
    )


@given(stores())
def test_never_means_never(store) -> None:
    exact = wish(asked(), builder=BUILDER, target=LARGE).name
    planned = decided(deployment(asked=asked("Never")), *store)
    assert set(served(planned)) <= {exact}
    assert planned.wishes == (planned.wish,)


def test_a_portable_engine_serves_at_once_and_says_so() -> None:
    exact, portable = made(LARGE, status=YoloEngineStatus(), owners=("gate",)), made(anywhere(SMALL))
    planned = decided(deployment(asked=asked()), exact, portable)
    assert served(planned) == [portable.name]
    assert said(planned, "EngineReady") == (
        "False",
        "WaitingForBuild",
        f"YoloEngine {exact.name} waits for its build to start; portable YoloEngine {portable.name} starts meanwhile",
    )
    owners = {one.wish.name: [o.name for o in one.owners] for one in plan(world(planned.view, exact, portable)).owners}
    assert owners[portable.name] == ["gate", "other"], "it must not go with who had it built"


def test_who_waits_owns_a_portable_engine_that_is_still_built_so_that_its_end_is_heard() -> None:
    building = YoloEngineStatus(stage="Build", progress_percent=30, attempts=1)
    exact, portable = made(LARGE, status=YoloEngineStatus()), made(anywhere(SMALL), status=building)
    seen = world(deployment(asked=asked()), exact, portable)
    (planned,), owners = plan(seen).deployments, {one.wish.name: one.owners for one in plan(seen).owners}
    assert served(planned) == []
    assert (
        f"a portable one is to serve meanwhile: YoloEngine {portable.name}: Build 30 %"
        in said(planned, "EngineReady")[2]
    )
    assert [one.name for one in owners[portable.name]] == ["gate", "other"]


def test_build_has_one_built_on_the_smallest_slices_that_the_spec_allows() -> None:
    everywhere = asked("Build", placement={})
    planned = decided(deployment(asked=everywhere))
    (exact, portable) = planned.wishes
    assert exact.spec.target == SMALL
    assert portable.spec.target == anywhere(SMALL)
    (portable,) = [one for one in decided(deployment(asked=asked("Build"))).wishes if one.spec.target != LARGE]
    assert portable.spec.target == anywhere(LARGE), "it may use no smaller ones"


def test_build_is_content_with_one_that_is_there_or_is_being_built() -> None:
    there = made(anywhere(SMALL), status=YoloEngineStatus())
    assert [one.name for one in decided(deployment(asked=asked("Build")), there).wishes][1:] == [there.name]


def test_build_stands_by_its_engine_when_the_exact_one_serves() -> None:
    """It is there for the slices to which this or another deployment goes next."""
    exact, portable = made(LARGE, owners=("gate",)), made(anywhere(SMALL), owners=("gate",))
    view = deployment(asked=asked("Build"), groups=(group("2g.20gb", exact.name),))
    planned = decided(view, exact, portable)
    assert served(planned) == [exact.name]
    assert portable.name in [one.name for one in planned.wishes]
    given_back = plan(world(replace(view, spec=asked()), exact, portable)).owners
    assert {one.wish.name: one.owners for one in given_back}[portable.name] == ()


def test_build_without_a_told_tensorrt_builds_nothing_and_says_what_is_missing() -> None:
    policy = replace(POLICY, builder=BUILDER.model_copy(update={"tensorrt_version": None}))
    (planned,) = plan(replace(world(deployment(asked=asked("Build"))), policy=policy)).deployments
    assert len(planned.wishes) == 1
    assert "spec.engine.portable: builds.tensorrtVersion of the chart is not set" in said(planned, "EngineReady")[2]


def test_an_engine_of_another_profile_of_the_same_gpu_is_no_portable_one() -> None:
    assert served(decided(deployment(asked=asked()), made(SMALL))) == []


def test_one_that_loses_more_accuracy_than_the_spec_allows_does_not_stand_in() -> None:
    told = {"datasetSHA256": "a" * 64, "images": 9, "objects": 90, "map50": "0.7", "map50To95": "0.5"}
    told |= {"onnxMap50": "0.8", "onnxMap50To95": "0.6"}
    gate = {"reference": "ONNX Runtime", "frames": 1, "largestError": "0", "allowedError": "0", "accuracy": told}
    status = YoloEngineStatus.model_validate(PUBLISHED.wire() | {"gate": gate})
    wanted = asked(engine={"accuracyGate": {"dataset": {"pvc": {"claimName": "c", "path": "v.zip"}}}})
    planned = decided(deployment(asked=wanted), made(anywhere(SMALL), wanted, status=status))
    assert served(planned) == []
    assert "spec.engine.accuracyGate: mAP50-95 0.5 against 0.6" in said(planned, "EngineReady")[2]


def test_builds_of_portable_engines_start_first() -> None:
    engines = [made(target, status=YoloEngineStatus()) for target in (LARGE, SMALL, anywhere(SMALL))]
    seen = world(deployment(asked=asked()), *engines, pools=(pool(builds={"maxConcurrent": 1}),))
    started = [one for one in plan(seen).engines if one.start]
    assert [one.view.name for one in started] == [engines[2].name]
    assert started[0].slice is not None
    assert started[0].slice.stock.profile == "1g.10gb", "on the slices that its target names"


# The swap


def serving(portable: EngineView, *, replicas: int = 2, **given: Any) -> DeploymentView:
    """Return a deployment that a portable engine serves."""
    scaling = {"minReplicas": replicas, "maxReplicas": 8}
    groups = (group("2g.20gb", portable.name, ready=replicas, replicas=replicas),)
    return deployment(asked=asked(scaling=scaling), **({"groups": groups} | given))


def test_while_the_exact_one_is_built_the_portable_one_serves_and_conditions_say_what_that_costs() -> None:
    building = YoloEngineStatus(stage="Build", progress_percent=40, attempts=1)
    exact, portable = made(LARGE, status=building, owners=("gate",)), made(anywhere(SMALL))
    planned = decided(serving(portable), exact, portable)
    assert served(planned) == [portable.name]
    reason = f"portable YoloEngine {portable.name} serves on 2g.20gb: YoloEngine {exact.name}: Build 40 %"
    assert said(planned, "Progressing") == (
        "True",
        "ServingPortable",
        f"{reason}; nobody knows yet what it carries on 2g.20gb",
    )
    assert f"portable YoloEngine {portable.name} serves meanwhile" in said(planned, "EngineReady")[2]
    assert said(planned, "Ready")[:2] == ("True", "Serving")
    status = deployment_status(planned, NOW)
    assert (status.groups[0].portable, status.groups[0].engine_ref.name) == ("SameComputeCapability", portable.name)
    assert status.summary.engine == "Building (portable serves)", "what `kubectl get ydep` shows"


def test_an_exact_engine_that_can_not_be_built_leaves_the_portable_one_and_somebody_must_act() -> None:
    exact, portable = made(LARGE, status=REFUSED, owners=("gate",)), made(anywhere(SMALL))
    planned = decided(serving(portable), exact, portable)
    assert served(planned) == [portable.name]
    assert said(planned, "Progressing")[:2] == ("False", "ServingPortable")
    assert FAILURE.message in said(planned, "Progressing")[2]


@pytest.mark.parametrize(("seen", "phase", "left"), [(GOOD, "Promoting", "exact"), (SLOW, "RolledBack", "portable")])
def test_the_exact_engine_proves_itself_against_the_portable_one(seen, phase: str, left: str) -> None:
    exact, portable = made(LARGE, owners=("gate",)), made(anywhere(SMALL))
    first = decided(serving(portable), exact, portable)
    assert [(one.engine.name, one.canary, one.replicas) for one in first.groups] == [
        (portable.name, False, 2),
        (exact.name, True, 1),
    ]
    status = deployment_status(first, NOW)
    canary = group("2g.20gb", exact.name, name="gate-2g-20gb-canary")
    second = decided(serving(portable, canary=canary, status=status), exact, portable)
    status = deployment_status(second, NOW)
    last = decided(serving(portable, canary=canary, status=status, comparison=seen), exact, portable)
    assert (last.rollout.status.phase, last.rollout.status.previous_engine) == (phase, portable.name)
    assert last.groups[0].engine.name == {"exact": exact, "portable": portable}[left].name
    assert deployment_status(first, NOW).groups[0].portable == "SameComputeCapability"


# What it carries


def measured(engine: EngineView, *curves: Any) -> EngineView:
    return replace(engine, status=engine.status.model_copy(update={"curves": list(curves)}))


def test_a_portable_engine_is_counted_by_its_own_curve_and_the_exact_one_by_its_own() -> None:
    fast, slow = curve("2g.20gb", 900, 20), curve("2g.20gb", 600, 20)
    exact = measured(made(LARGE, status=YoloEngineStatus(), owners=("gate",)), fast)
    portable = measured(made(anywhere(SMALL)), slow)
    view = replace(serving(portable), pods=(pod("p", profile="2g-20gb", engine=portable.name),))
    before = decided(view, exact, portable)
    assert before.measured.fps == pytest.approx(600)
    assert "counted with 600 fps (measured), with the exact engine 900 (measured)" in said(before, "Progressing")[2]
    (told,) = deployment_status(before, NOW).groups
    assert (told.frames_per_second_per_replica, told.curve) == (600, "Measured")
    done = replace(exact, status=PUBLISHED.model_copy(update={"curves": [fast]}))
    now = replace(view, groups=(group("2g.20gb", exact.name, ready=2, replicas=2),))
    assert decided(now, done, portable).measured.fps == pytest.approx(900)
    assert decided(now, replace(done, status=PUBLISHED), portable).measured is None, "its curve is not the exact one's"


def test_where_it_was_not_measured_it_is_estimated_from_its_own_work() -> None:
    work = {"megaflops": 6500, "activationKilobytes": 120000, "layers": 180, "weightKilobytes": 5000}
    status = YoloEngineStatus.model_validate(PUBLISHED.wire() | {"work": work})
    portable = made(anywhere(SMALL), status=status)
    exact = made(LARGE, status=YoloEngineStatus(), owners=("gate",))
    planned = decided(serving(portable), exact, portable)
    assert planned.measured.origin == "Estimated"
    assert "(estimated); what being portable costs is not measured" in said(planned, "Progressing")[2]


def test_another_product_of_the_same_compute_capability_is_served_too() -> None:
    """H100 and H200 are both 9.0; an A100 is not."""
    portable = made(anywhere(SMALL))
    for product, able in (("NVIDIA-H200", True), (A100, False)):
        planned = decided(deployment(asked=asked()), portable, nodes=(slices(product),))
        assert bool(served(planned)) == able

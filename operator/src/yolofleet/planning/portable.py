"""Which portable engine serves while the exact one is built, and which one is built for that.

TensorRT promises an engine for the kind of device that it was built on and for no other, another slice of the same GPU
included: an exact engine of another profile never stands in. One that was built with hardware compatibility does.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from yolofleet.api.recipe import Builder, HardwareCompatibility, Target, engine_key, engine_name
from yolofleet.planning.engines import Verdict, Wish, target_in, verdict
from yolofleet.planning.placing.choice import Choice, Market, NoChoice, may_use
from yolofleet.planning.scaling.capacity import Capacity
from yolofleet.planning.slices.profiles import slug
from yolofleet.planning.snapshot import DeploymentView, EngineView, Snapshot

NARROW_SINCE = (10, 9)
"""The TensorRT from which on an engine can be portable on its compute capability alone; before, from Ampere on."""
AMPERE = (8, 0)
UNTIED = (
    "builds.tensorrtVersion of the chart is not set, so nobody knows which TensorRT a portable engine is for; set it"
)


BEHIND = "replicas that serve a portable engine meanwhile take their slices first"


@dataclass(frozen=True)
class Portable:
    """What portable engines are to a deployment.

    `serves` is published and stands in now; `best` is the one that could, or will once it is built; `wish` is the one
    that the spec wants to be there. `note` is what a condition says of them.
    """

    serves: EngineView | None = None
    best: str = ""
    wish: Wish | None = None
    note: str = ""
    cost: str = ""
    """What is known of its price while one serves; "" while none does."""


def level_of(engine: EngineView | None) -> HardwareCompatibility | None:
    """Return how portable an engine is; None: it is for one kind of slices."""
    target = engine.spec.target if engine is not None else None
    return target.hardware_compatibility if target is not None else None


def level_for(builder: Builder) -> HardwareCompatibility | None:
    """Return the narrowest that a builder's TensorRT knows, as breadth costs speed; None where no version is told."""
    numbers = (builder.tensorrt_version or "").split(".")[:2]
    if len(numbers) < len(NARROW_SINCE) or not all(number.isdigit() for number in numbers):
        return None
    return "SameComputeCapability" if tuple(map(int, numbers)) >= NARROW_SINCE else "AmperePlus"


def may_run(made: Target, here: Target) -> bool:
    """Tell whether an engine that was built on some slices may run on others: what it was built on is the least.

    Its kernels, its workspace and its activations were chosen for so many SMs and so much memory.
    """
    if made.hardware_compatibility is None:
        return made == here
    if here.sm_count < made.sm_count or here.memory_mib < made.memory_mib:
        return False
    if made.hardware_compatibility == "AmperePlus":
        return _capability(here) >= AMPERE
    return here.compute_capability == made.compute_capability


def portable_of(
    view: DeploymentView,
    choice: Choice | NoChoice,
    asked: Wish | Verdict,
    state: Verdict,
    offered: Market,
    snapshot: Snapshot,
) -> Portable:
    """Decide what portable engines do for one deployment; what serves already is never exchanged for one."""
    mode = view.spec.engine.portable
    if mode == "Never" or isinstance(choice, NoChoice) or isinstance(asked, Verdict) or asked.spec.target is None:
        return Portable()
    vacant = not state.ok and not view.spec.suspend and _vacant(view, choice, snapshot)
    if not vacant and mode != "Build":
        return Portable()
    if level_for(asked.spec.builder) is None:
        return Portable(note=f"spec.engine.portable: {UNTIED}" if mode == "Build" else "")
    known = _known(asked, view.namespace, snapshot)
    standing_in = _standing_in(view, known) if vacant else Portable()
    if mode != "Build":
        return standing_in
    wish = Wish(known[0].name, known[0].spec) if known else _made(view, asked, offered)
    return replace(standing_in, wish=wish)


def stand_in(view: DeploymentView, asked: Wish, snapshot: Snapshot) -> EngineView | None:
    """Return the portable engine that may serve a deployment in the place of one that is not there yet."""
    if view.spec.engine.portable == "Never" or asked.spec.target is None or level_for(asked.spec.builder) is None:
        return None
    return _standing_in(view, _known(asked, view.namespace, snapshot)).serves


def _standing_in(view: DeploymentView, known: Sequence[EngineView]) -> Portable:
    """Return the first of these engines that is published and accepted, or what the first is waited for."""
    gate = view.spec.engine.accuracy_gate
    told = [(one, verdict(one, name=one.name, gate=gate)) for one in known]
    if (best := next((one for one, said in told if said.ok), None)) is not None:
        return Portable(best, best.name, note=f"portable YoloEngine {best.name} starts meanwhile")
    if not told:
        return Portable()
    awaited, said = told[0]
    return Portable(best=awaited.name, note=f"a portable one is to serve meanwhile: {said.message}")


def arriving(view: DeploymentView, engines: Mapping[tuple[str, str], EngineView]) -> bool:
    """Tell whether replicas with a portable engine are about to take slices: neither have they, nor is none free.

    The exact engine's build waits for them, for the moment: were it faster, nothing would serve while it runs.
    """
    for group in view.groups:
        mine = [pod for pod in view.pods if pod.profile == slug(group.profile) and not (pod.canary or pod.terminating)]
        placed = sum(pod.bound or bool(pod.unschedulable) for pod in mine)
        portable = level_of(engines.get((view.namespace, group.engine))) is not None
        if portable and placed < group.replicas and not group.refused:
            return True
    return False


def priced(
    portable: Portable, serving: EngineView | None, profile: str, mine: Capacity | None, exact: Capacity | None
) -> Portable:
    """Return it with what conditions say where a portable engine serves."""
    if serving is None or level_of(serving) is None:
        return portable
    note = portable.note or f"portable YoloEngine {serving.name} serves meanwhile"
    return replace(portable, note=note, cost=_cost(profile, mine, exact))


def _cost(profile: str, mine: Capacity | None, exact: Capacity | None) -> str:
    """Say what it costs that a portable engine serves, as far as anybody knows."""
    if mine is None:
        return f"nobody knows yet what it carries on {profile}"
    told = f"a replica on {profile} is counted with {mine.fps:.0f} fps ({mine.words})"
    if exact is None or exact == mine:
        return f"{told}; what being portable costs is not measured"
    return f"{told}, with the exact engine {exact.fps:.0f} ({exact.words})"


def _capability(target: Target) -> tuple[int, ...]:
    return tuple(map(int, target.compute_capability.split(".")))


def _vacant(view: DeploymentView, choice: Choice, snapshot: Snapshot) -> bool:
    """Tell whether nothing serves, and nothing that is published is on its way to do so."""
    current = view.group_on(choice.profile)
    serving = snapshot.engines.get((view.namespace, current.engine)) if current is not None else None
    coming = serving is not None and serving.artifact is not None
    return not coming and not any(group.ready_replicas for group in view.groups)


def _known(asked: Wish, namespace: str, snapshot: Snapshot) -> list[EngineView]:
    """Return the portable engines that may stand in for one: published ones first, the largest slices' first.

    Nothing but the target may differ: neither weights and recipe, nor builder and TensorRT, by whose versions they
    load at all.
    """
    here = asked.spec.target
    but_target = engine_key(recipe=asked.spec.recipe, target=None, builder=asked.spec.builder)
    alike = snapshot.portables.get((namespace, but_target), ())
    able = [(one, made) for one in alike if (made := one.spec.target) and here and may_run(made, here)]
    ordered = sorted(able, key=lambda a: (a[0].artifact is None, -a[1].sm_count, -a[1].memory_mib, a[0].name))
    return [one for one, _ in ordered]


def _made(view: DeploymentView, asked: Wish, offered: Market) -> Wish | None:
    """Return the portable engine to build: on the smallest slices that the spec allows, so that it runs on all of them.

    None where TensorRT has no level for such a device.
    """
    here, level = asked.spec.target, level_for(asked.spec.builder)
    if here is None or level is None or _capability(here) < AMPERE:
        return None
    placement = view.spec.placement
    told = (
        target_in(dict(offer.labels), offer.resource, offer.profile)
        for offer in offered[placement.pool_ref.name].offers
        if may_use(offer, placement.profiles, placement.products)
    )
    targets = {here, *(one for one in told if isinstance(one, Target))}
    portable = [one.model_copy(update={"hardware_compatibility": level}) for one in targets]
    able = [one for one in portable if one.compute_capability == here.compute_capability and may_run(one, here)]
    target = min(able, key=lambda one: (one.memory_mib, one.sm_count))
    key = engine_key(recipe=asked.spec.recipe, target=target, builder=asked.spec.builder)
    return Wish(engine_name(key), asked.spec.model_copy(update={"key": key, "target": target}))

"""What a deployment's conditions say: judged from the same facts as the plan, each with reason and remedy."""

from __future__ import annotations

from dataclasses import dataclass, replace

from yolofleet.api.conditions import Reason, Status
from yolofleet.api.rollout import RolloutStatus
from yolofleet.planning.engines import Verdict
from yolofleet.planning.groups.mixing import Mix
from yolofleet.planning.placing.choice import Choice, NoChoice
from yolofleet.planning.portable import Portable
from yolofleet.planning.rollout.failing import failing, in_words
from yolofleet.planning.scaling.replicas import QUEUE_SHARE, Desired
from yolofleet.planning.snapshot import DeploymentView, GroupView, PodView

QUOTA_WORDS = "exceeded quota"
STUCK = frozenset({Reason.BUILD_REFUSED, Reason.NOT_SUPPORTED, Reason.NO_MATCHING_PROFILE, Reason.POOL_NOT_FOUND})
"""Nothing moves until somebody changes something."""

MET_AGAIN = 0.9
"""A missed objective is met again at this share of its bound: a p99 on the bound must not write at every look."""
_OBJECTIVE = frozenset({Reason.OBJECTIVE_MET.value, Reason.OBJECTIVE_MISSED.value})


@dataclass(frozen=True)
class Judged:
    """One condition."""

    status: Status
    reason: Reason
    message: str


@dataclass(frozen=True)
class Judgement:
    """The six conditions of a YoloDeployment."""

    ready: Judged
    engine_ready: Judged
    placed: Judged
    objective_met: Judged
    progressing: Judged
    scaling_active: Judged

    def named(self) -> dict[str, Judged]:
        """Return the conditions by type."""
        return {
            "Ready": self.ready,
            "EngineReady": self.engine_ready,
            "Placed": self.placed,
            "ObjectiveMet": self.objective_met,
            "Progressing": self.progressing,
            "ScalingActive": self.scaling_active,
        }


def judge(
    view: DeploymentView,
    *,
    choice: Choice | NoChoice,
    engine: Verdict,
    wanted: Desired,
    engine_name: str | None,
    rollout: RolloutStatus | None = None,
    mix: Mix | None = None,
    portable: Portable | None = None,
) -> Judgement:
    """Judge one deployment as it stands."""
    mix, portable = mix or Mix(wanted.replicas), portable or Portable()
    own = replace(wanted, replicas=mix.own)
    return Judgement(
        ready=_ready(view, wanted),
        engine_ready=_engine_ready(engine, portable),
        placed=_placed(view, choice, engine, wanted, mix),
        objective_met=objective_met(view),
        progressing=_of_rollout(view, choice, own, rollout)
        or _helping(view, _progressing(view, choice, engine, own, engine_name, portable), own, mix),
        scaling_active=_scaling_active(view, wanted),
    )


def _engine_ready(engine: Verdict, portable: Portable) -> Judged:
    if engine.ok:
        return Judged("True", engine.reason, engine.message)
    return Judged("False", engine.reason, "; ".join(told for told in (engine.message, portable.note) if told))


def objective_met(view: DeploymentView) -> Judged:
    """Judge the p99 that the replicas show against `objective.p99LatencyMilliseconds`, if they answer at all.

    What was said stands while it stays true: the figure is that of the moment of judging. A latency that was missed is
    met again a tenth below the bound, and where nobody sees one for a while, the last word stands.
    """
    bound = view.spec.objective.p99_latency_milliseconds
    before = next((c for c in view.status.conditions if c.type == "ObjectiveMet"), None)
    said = None
    if before is not None and before.observed_generation == view.generation and before.reason in _OBJECTIVE:
        said = Judged(before.status, Reason(before.reason), before.message)
    if pods := failing(view.signals, before.message if before and before.reason == Reason.REQUESTS_FAILING else ""):
        return Judged("False", Reason.REQUESTS_FAILING, in_words(pods))
    seen_us = view.signals.p99_us if view.signals else None
    serving = any(group.ready_replicas for group in view.all_groups)
    if seen_us is None or not serving:
        nobody = "no replica has answered enough frames yet to tell a p99"
        return said if said is not None and serving else Judged("Unknown", Reason.NOT_MEASURED, nobody)
    missed = said is not None and said.reason == Reason.OBJECTIVE_MISSED
    met = seen_us / 1000 <= bound * (MET_AGAIN if missed else 1.0)
    reason = Reason.OBJECTIVE_MET if met else Reason.OBJECTIVE_MISSED
    if said is not None and said.reason == reason:
        return said
    told = f"p99 {seen_us / 1000:.3g} ms of objective.p99LatencyMilliseconds {bound}"
    if met:
        return Judged("True", reason, told)
    return Judged("False", reason, f"{told}; {_why_missed(view)}")


def _why_missed(view: DeploymentView) -> str:
    """Say where the time goes, and what helps there."""
    queue_us = (view.signals.queue_us if view.signals else None) or 0.0
    if queue_us / 1000 >= view.spec.objective.p99_latency_milliseconds * QUEUE_SHARE:
        return (
            f"frames queue for {queue_us / 1000:.3g} ms: more replicas help (scaling.maxReplicas "
            f"{view.spec.scaling.max_replicas}, scaling.targetUtilizationPercent)"
        )
    return "frames do not queue, so it is the model: allow a larger profile, a smaller engine.imageSize, or more time"


def _scaling_active(view: DeploymentView, wanted: Desired) -> Judged:
    if view.autoscalers and view.spec.scaling.mode != "External" and not view.spec.suspend:
        told = (
            f"HorizontalPodAutoscaler {view.autoscalers[0]} targets this YoloDeployment, but scaling.mode is "
            f"{view.spec.scaling.mode}: what it writes is not read; delete it, or set scaling.mode External "
            "(with one entry in placement.profiles)"
        )
        return Judged("False", Reason.AUTOSCALER_IGNORED, told)
    return Judged(wanted.active, wanted.reason, wanted.message)


def _ready(view: DeploymentView, wanted: Desired) -> Judged:
    ready = sum(group.ready_replicas for group in view.all_groups)
    if view.spec.suspend:
        return Judged("False", Reason.SUSPENDED, "spec.suspend is true")
    if ready == 0:
        return Judged("False", Reason.NOT_SERVING, f"0 of {wanted.replicas} replicas are ready")
    return Judged("True", Reason.SERVING, f"{ready} of {wanted.replicas} replicas are ready")


def _placed(view: DeploymentView, choice: Choice | NoChoice, engine: Verdict, wanted: Desired, mix: Mix) -> Judged:
    if isinstance(choice, NoChoice):
        return Judged("False", choice.reason, choice.message)
    if refused := _refused(view):
        return refused
    if waiting := [pod for pod in view.pods if pod.unschedulable and not pod.terminating]:
        told = f"; {mix.why}" if mix.why else ""
        return Judged("False", Reason.NO_ROOM, f"{_no_room(waiting, choice, wanted)}{told}")
    if not view.groups and not engine.ok:
        return Judged("False", Reason.WAITING_FOR_ENGINE, f"{choice.why}; the engine comes first")
    return Judged("True", Reason.PLACED, f"{choice.why}; {mix.why}" if mix.why else choice.why)


def _refused(view: DeploymentView) -> Judged | None:
    told = [f"{r.kind}: {r.message}" for r in view.refusals] + [g.refused for g in view.all_groups if g.refused]
    if not told:
        return None
    if any(QUOTA_WORDS in message for message in told):
        remedy = "raise the ResourceQuota of the namespace, or lower scaling.minReplicas or serving.resources"
        return Judged("False", Reason.QUOTA_EXCEEDED, f"{told[0]}; {remedy}")
    return Judged("False", Reason.POD_REFUSED, f"{told[0]}; mend the field that it names in spec.serving or placement")


def _no_room(waiting: list[PodView], choice: Choice, wanted: Desired) -> str:
    return (
        f"scaling: {len(waiting)} of {wanted.replicas} replicas wait for a free {choice.profile} "
        f"(nodes offer {choice.offered}): {waiting[0].unschedulable}; "
        "free a slice, add nodes, lower scaling.minReplicas, or allow another profile in placement.profiles"
    )


def _of_rollout(
    view: DeploymentView, choice: Choice | NoChoice, wanted: Desired, rollout: RolloutStatus | None
) -> Judged | None:
    """Judge what a canary does and what came of it; None where nothing else is to be said than without one."""
    if rollout is None or isinstance(choice, NoChoice) or view.spec.suspend or not view.groups:
        return None
    if rollout.phase == "Canary":
        return Judged("True", Reason.CANARY, f"{rollout.reason}: {rollout.message}")
    stable = view.group_on(choice.profile) or view.groups[0]
    if rollout.phase == "RolledBack" and _rollout(view, stable, wanted).reason == Reason.STABLE:
        told = f"YoloEngine {rollout.engine} was taken back ({rollout.reason}: {rollout.message})"
        to_do = "change the spec, or say `kubectl yolofleet rollout retry` or `promote`"
        return Judged("False", Reason.ROLLED_BACK, f"{told}; {rollout.previous_engine} serves; {to_do}")
    if rollout.phase == "Promoting":
        return Judged("True", Reason.ROLLING_OUT, f"YoloEngine {rollout.engine} takes over: {rollout.message}")
    return _rollout(view, stable, wanted) if rollout.phase == "RolledBack" else None


def _progressing(
    view: DeploymentView,
    choice: Choice | NoChoice,
    engine: Verdict,
    wanted: Desired,
    engine_name: str | None,
    portable: Portable,
) -> Judged:
    if view.spec.suspend:
        return _stopping(view)
    if broken := next((pod for pod in view.pods if (pod.init_failure or pod.crash) and not pod.terminating), None):
        why = broken.init_failure.sentence() if broken.init_failure else broken.crash
        return Judged("True", Reason.MODEL_NOT_LOADED, f"pod {broken.name}: {why}")
    if not view.groups:
        return _before_the_first(choice, engine)
    if isinstance(choice, NoChoice):
        return Judged("False", Reason.HELD_BACK, f"still serving on {view.groups[0].profile}: {choice.message}")
    group = view.group_on(choice.profile) or view.groups[0]
    if group.profile != choice.profile or (engine_name and group.engine != engine_name) or not engine.ok:
        return _replacing(group, choice, engine, portable)
    return _rollout(view, group, wanted)


def _helping(view: DeploymentView, judged: Judged, wanted: Desired, mix: Mix) -> Judged:
    """Judge the Deployments on other slices, too, once the own one stands still."""
    if judged.reason != Reason.STABLE:
        return judged
    told = [judged.message]
    for part in mix.parts:
        group = view.group_on(part.choice.profile)
        if group is None:
            return Judged("True", Reason.SCALING, f"0 → {part.replicas} replicas: {mix.why}")
        theirs = _rollout(view, group, replace(wanted, replicas=part.replicas, message=mix.why))
        if theirs.reason != Reason.STABLE:
            return theirs
        told.append(f"{group.ready_replicas} on {group.profile}")
    return Judged(judged.status, judged.reason, ", ".join(told))


def _stopping(view: DeploymentView) -> Judged:
    left = sum(group.total_replicas for group in view.groups)
    if left:
        return Judged("True", Reason.SCALING, f"{left} replicas go: spec.suspend is true")
    return Judged("False", Reason.SUSPENDED, "spec.suspend is true")


def _before_the_first(choice: Choice | NoChoice, engine: Verdict) -> Judged:
    reason, message = engine.reason, engine.message
    if isinstance(choice, NoChoice):
        reason, message = choice.reason, choice.message
    return Judged("False" if reason in STUCK else "True", reason, message)


def _replacing(group: GroupView, choice: Choice, engine: Verdict, portable: Portable) -> Judged:
    if engine.ok:
        told = f"YoloEngine {group.engine} on {group.profile} is replaced: {engine.message}, on {choice.profile}"
        return Judged("True", Reason.ROLLING_OUT, told)
    status: Status = "False" if engine.reason in STUCK else "True"
    if portable.cost:
        told = f"portable YoloEngine {group.engine} serves on {group.profile}: {engine.message}; {portable.cost}"
        return Judged(status, Reason.SERVING_PORTABLE, told)
    told = f"still serving YoloEngine {group.engine} on {group.profile}: {engine.message}"
    return Judged(status, Reason.HELD_BACK, told)


def _rollout(view: DeploymentView, group: GroupView, wanted: Desired) -> Judged:
    if group.replicas != wanted.replicas:
        return Judged("True", Reason.SCALING, f"{group.replicas} → {wanted.replicas} replicas: {wanted.message}")
    if not group.settled or group.updated_replicas < group.replicas or group.total_replicas > group.replicas:
        told = f"{group.updated_replicas} of {group.replicas} replicas are renewed, with YoloEngine {group.engine}"
        return Judged("True", Reason.ROLLING_OUT, told)
    if group.ready_replicas < group.replicas:
        homeless = any(pod.unschedulable and not pod.terminating for pod in view.pods)
        rest = "others wait for a slice" if homeless else "Triton is loading the rest"
        told = f"{group.ready_replicas} of {group.replicas} replicas are ready; {rest}"
        return Judged("True", Reason.NO_ROOM if homeless else Reason.LOADING, told)
    return Judged("False", Reason.STABLE, f"{group.ready_replicas} replicas on {group.profile}")

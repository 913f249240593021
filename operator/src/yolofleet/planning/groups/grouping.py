"""Which Deployments serve one YoloDeployment: one on its own kind of slices, its canary, and others that help out."""

from __future__ import annotations

from dataclasses import dataclass

from yolofleet.api.tuning import Tuned
from yolofleet.planning.engines import Verdict, Wish
from yolofleet.planning.groups.mixing import Mix, Part
from yolofleet.planning.placing.choice import Choice, NoChoice
from yolofleet.planning.rollout.accuracy import judged
from yolofleet.planning.rollout.comparing import Outcome
from yolofleet.planning.rollout.steps import Revision, RolloutPlan, Scene, step
from yolofleet.planning.slices.profiles import slug
from yolofleet.planning.snapshot import DeploymentView, EngineView, GroupView, Snapshot

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
    overflow: bool = False
    tuning: tuple[Tuned, ...] = ()


def rollout_of(
    view: DeploymentView,
    choice: Choice | NoChoice,
    mix: Mix,
    asked: Wish | Verdict,
    state: Verdict,
    snapshot: Snapshot,
) -> RolloutPlan | None:
    """Return the next step of what serves on the chosen profile; None where nothing serves there."""
    if isinstance(choice, NoChoice) or isinstance(asked, Verdict) or view.spec.suspend:
        return None
    stable = view.group_on(choice.profile)
    serving = snapshot.engines.get((view.namespace, stable.engine)) if stable is not None else None
    if stable is None or serving is None or serving.artifact is None:
        return None  # what serves cannot be made anew: nothing to go back to
    return step(
        Scene(
            view=view,
            stable=stable,
            wanted=Revision(asked.name, view.spec.serving.image or snapshot.policy.image),
            ready=state.ok,
            waiting=state.message,
            replicas=mix.own,
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


def groups_of(
    view: DeploymentView,
    choice: Choice | NoChoice,
    mix: Mix,
    ready: EngineView | None,
    rollout: RolloutPlan | None,
    snapshot: Snapshot,
) -> tuple[tuple[GroupPlan, ...], tuple[str, ...]]:
    """Return the groups to render, and the names of those that stay as they are."""
    if view.spec.suspend:
        return (), ()
    if isinstance(choice, NoChoice):
        return (), tuple(group.name for group in view.all_groups)
    current = view.group_on(choice.profile)
    if rollout is not None and current is not None:
        made = _of_rollout(view, choice, current, rollout, ready, snapshot)
    elif ready is not None:
        made = (GroupPlan(choice, mix.own, ready, _surges(view, current, ready.name, choice, snapshot)),)
    else:
        serving = snapshot.engines.get((view.namespace, current.engine)) if current else None
        # A pod that started now would find nothing in the store.
        if serving is None or serving.artifact is None or current is None:
            return (), tuple(group.name for group in view.all_groups)
        surge = _surges(view, current, serving.name, choice, snapshot)
        made = (GroupPlan(choice, mix.own, serving, surge, current.image),)
    helping = tuple(plan for part in mix.parts if (plan := _helping(view, part, snapshot)) is not None)
    return (*made, *helping), _kept(view, choice, mix, current)


def _helping(view: DeploymentView, part: Part, snapshot: Snapshot) -> GroupPlan | None:
    """Return the Deployment on another kind of slices; None where what it serves can't be made anew."""
    if part.engine is None:
        return None
    current = view.group_on(part.choice.profile)
    surge = _surges(view, current, part.engine.name, part.choice, snapshot)
    return GroupPlan(part.choice, part.replicas, part.engine, surge, part.image, overflow=True)


def _kept(view: DeploymentView, choice: Choice, mix: Mix, current: GroupView | None) -> tuple[str, ...]:
    """Return the Deployments that stay as they are: what served before, until the own kind does in its place."""
    serves = current is not None and current.ready_replicas >= max(1, min(mix.own, current.replicas))
    replaced = current is not None and current.ready_replicas >= mix.own
    untouched = {part.choice.profile for part in mix.parts if part.engine is None}
    kept = []
    for group in view.groups:
        if group.profile == choice.profile or (group.profile in mix.eligible and group.profile not in untouched):
            continue
        left = replaced if group.overflow else serves
        if group.profile in untouched or not left:
            kept.append(group.name)
    return tuple(kept)


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

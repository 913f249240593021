"""How a new revision takes over: build, canary, promote or roll back; one pure step at a time.

A revision is an engine and the image that serves it. The *stable* Deployment holds the one that serves; while a new one
proves itself, a second Deployment, the *canary*, holds it behind the same Service. Of `n` replicas and one surge
replica where a slice is spare, all but one are there at any moment.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime, timedelta

from yolofleet.api.rollout import HISTORY, VERBS, PastRollout, Phase, RolloutReason, RolloutStatus
from yolofleet.planning.rollout.comparing import Outcome, outcome
from yolofleet.planning.snapshot import DeploymentView, GroupView

CRASH_GRACE_S = 60
RECHECK_S = 15
ENDED = frozenset({"Promoted", "RolledBack", "Withdrawn"})
MESSAGE_LIMIT = 1024
ANSWER_LIMIT = 256


@dataclass(frozen=True)
class Revision:
    """What a pod serves with: an engine, and an image ("" where nobody has told)."""

    engine: str
    image: str = ""

    def same(self, other: Revision) -> bool:
        """Tell whether two are one, as far as is known."""
        return self.engine == other.engine and (not self.image or not other.image or self.image == other.image)


@dataclass(frozen=True)
class Scene:
    """All that a step looks at: `ready` tells that the wanted engine is published, `waiting` why it is not.

    `replicas` is how many should serve, `spare` whether a slice more is free, `patience_s` how long a pod may load,
    `accuracy` what the builds' own figures say of the two engines; None: nothing.
    """

    view: DeploymentView
    stable: GroupView
    wanted: Revision
    ready: bool
    waiting: str
    replicas: int
    spare: bool
    now: datetime
    patience_s: float
    accuracy: Outcome | None = None

    @property
    def stands(self) -> Revision:
        """Return what the stable Deployment serves."""
        return Revision(self.stable.engine, self.stable.image)


@dataclass(frozen=True)
class RolloutPlan:
    """What a step decided: the revision and size of the stable Deployment, the canary's size, the status to write.

    `undecided` tells that a comparison is under way, whose end is to be looked out for.
    """

    status: RolloutStatus | None
    serving: Revision
    stable: int
    canary: int = 0
    surge: bool = False
    due: datetime | None = None
    undecided: bool = False


def step(scene: Scene) -> RolloutPlan:
    """Return the next step of one deployment's rollout."""
    before = scene.view.status.rollout
    return _arrived(scene, before) if scene.wanted.same(scene.stands) else _under_way(scene, before)


def _under_way(scene: Scene, before: RolloutStatus | None) -> RolloutPlan:
    """Something else is wanted than what the stable Deployment serves."""
    status = before if before is not None and _about(scene, before) else _begun(scene, before)
    verb = _asked(scene, status)
    if verb in ("retry", "promote") and status.phase == "RolledBack":
        status = _begun(scene, status)
    if verb:
        status = _answered(scene, status)
    if verb == "abort":
        return _rolled_back(scene, status, RolloutReason.ABORTED, "somebody asked for it")
    if status.phase == "RolledBack":
        return RolloutPlan(status, scene.stands, scene.replicas)
    if not scene.ready:
        status = _moved(scene, status, "Building", RolloutReason.WAITING_FOR_ENGINE, scene.waiting)
        return RolloutPlan(status, scene.stands, scene.replicas)
    if status.phase == "Promoting" or verb == "promote":
        return _promoted(scene, status, RolloutReason.ASKED, "somebody asked for it")
    if scene.accuracy is not None and not scene.accuracy.good:
        return _worse(scene, status, scene.accuracy, 0, surge=False)  # known before its first pod: none is risked
    why = _no_canary(scene)
    return _promoted(scene, status, RolloutReason.NO_CANARY, why) if why else _canary(scene, status)


def _about(scene: Scene, status: RolloutStatus) -> bool:
    """Tell whether a status speaks of the rollout that is under way, or was taken back."""
    if status.phase in ("Promoted", "Withdrawn"):
        return False
    return Revision(status.engine, status.image).same(scene.wanted)


def _begun(scene: Scene, before: RolloutStatus | None) -> RolloutStatus:
    """Begin a rollout; one that is overtaken by another spec goes into the history."""
    history = _remembered(before) if before is not None else []
    if before is not None and before.phase not in ENDED:
        told = f"the spec asks for {scene.wanted.engine} now"
        gone = _moved(scene, before, "Withdrawn", RolloutReason.SPEC_CHANGED, told)
        history = _remembered(gone)
    return RolloutStatus(
        phase="Building",
        engine=scene.wanted.engine,
        image=scene.wanted.image,
        previous_engine=scene.stands.engine,
        previous_image=scene.stands.image,
        reason=RolloutReason.WAITING_FOR_ENGINE.value,
        message=scene.waiting[:MESSAGE_LIMIT],
        since=_stamp(scene.now),
        # What was asked of a former rollout is no order for this one.
        answered=before.answered if before is not None else "",
        history=history,
    )


def _remembered(status: RolloutStatus) -> list[PastRollout]:
    if status.phase not in ENDED:
        return list(status.history)
    ended = PastRollout(
        engine=status.engine,
        image=status.image,
        phase=status.phase,
        reason=status.reason,
        message=status.message,
        time=status.since,
    )
    return [ended, *status.history][:HISTORY]


def _asked(scene: Scene, status: RolloutStatus) -> str:
    """Return the verb that somebody asks for and nobody has carried out; one for another engine is none."""
    words = scene.view.rollout_request.split()
    if not words or words[0] not in VERBS or scene.view.rollout_request[:ANSWER_LIMIT] == status.answered:
        return ""
    if len(words) > 1 and words[1] != status.engine:
        return ""
    return words[0]


def _answered(scene: Scene, status: RolloutStatus) -> RolloutStatus:
    return status.model_copy(update={"answered": scene.view.rollout_request[:ANSWER_LIMIT]})


def _moved(scene: Scene, status: RolloutStatus, phase: Phase, reason: RolloutReason, message: str) -> RolloutStatus:
    """Return the status in a phase; its time stays while the phase does."""
    since = status.since if status.phase == phase else _stamp(scene.now)
    update = {"phase": phase, "reason": reason.value, "message": message[:MESSAGE_LIMIT], "since": since}
    return status.model_copy(update=update)


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="seconds")


def _since_s(scene: Scene, status: RolloutStatus) -> float:
    try:
        return (scene.now - datetime.fromisoformat(status.since)).total_seconds()
    except (ValueError, TypeError):
        return 0.0


def _no_canary(scene: Scene) -> str:
    """Say why nobody proves the new revision first; "" where somebody can."""
    if scene.view.spec.rollout.canary_percent == 0:
        return "rollout.canaryPercent is 0"
    if scene.replicas == 0 or scene.stable.ready_replicas == 0:
        return "no replica of the old one serves: there is nothing to compare with"
    if scene.replicas == 1 and scene.view.spec.rollout.strategy == "InPlace":
        return "rollout.strategy InPlace with one replica leaves no place beside it"
    return ""


def share(percent: int, replicas: int, *, surge: bool) -> int:
    """Return how many replicas are a canary: the percentage rounded up, one at least, and one old one is left."""
    return max(1, min(math.ceil(replicas * percent / 100), replicas - 1 + surge))


def beside(replicas: int, canary: int, *, surge: bool) -> int:
    """Return how many replicas are left to the stable Deployment."""
    return min(replicas, replicas + surge - canary)


def _surges(scene: Scene) -> bool:
    """Tell whether the canary comes on a slice more; taken back when it finds none, but never from the only replica."""
    strategy = scene.view.spec.rollout.strategy
    if strategy != "Auto" or scene.replicas == 1:
        return strategy != "InPlace"
    canary = scene.view.canary
    if canary is None:
        return scene.spare
    return canary.surge and not any(pod.unschedulable for pod in scene.view.pods if pod.canary and not pod.terminating)


def _canary(scene: Scene, status: RolloutStatus) -> RolloutPlan:
    """Let some replicas serve the new revision beside the old one, and judge them."""
    view, surge = scene.view, _surges(scene)
    goal = share(view.spec.rollout.canary_percent, scene.replicas, surge=surge)
    held = view.canary if view.canary is not None and _holds(scene, view.canary) else None
    ready = held.ready_replicas if held is not None and held.settled else 0
    count = min(goal, ready + 1)
    stable = beside(scene.replicas, count, surge=surge)
    share_told = f"{goal} of {stable + count} replicas are to serve {scene.wanted.engine}"
    begun = status.phase != "Canary"
    complete = status.reason == RolloutReason.COMPARING or ready >= goal
    reason = RolloutReason.COMPARING if complete and not begun else RolloutReason.STARTING
    seconds = view.spec.rollout.canary_seconds
    told = f"{share_told}; compared with {scene.stands.engine} for {seconds} s once they do{_found(scene)}"
    status = _moved(scene, status, "Canary", reason, told)
    if not begun and (why := _broken(scene, status, ready=ready, goal=goal)):
        return _worse(
            scene, status, Outcome(good=False, reason=RolloutReason.NOT_READY, message=why), count, surge=surge
        )
    found = judged(view) if complete and not begun else None
    if found is not None and found.good:
        return _promoted(scene, status, found.reason, f"{found.message}{_found(scene)}")
    if found is not None:
        return _worse(scene, status, found, count, surge=surge)
    due = scene.now + timedelta(seconds=RECHECK_S)
    return RolloutPlan(status, scene.stands, stable, count, surge, due, undecided=complete)


def _found(scene: Scene) -> str:
    """Say what was found of what is labelled; nothing where nobody asked."""
    return f"; {scene.accuracy.message}" if scene.accuracy is not None else ""


def _holds(scene: Scene, canary: GroupView) -> bool:
    same_place = canary.profile == scene.stable.profile
    return same_place and Revision(canary.engine, canary.image).same(scene.wanted)


def judged(view: DeploymentView) -> Outcome | None:
    """Return what the comparison says by now; None: not yet."""
    if view.comparison is None:
        return None
    bound_ms = view.spec.objective.p99_latency_milliseconds
    return outcome(view.comparison, bound_ms=bound_ms, seconds=view.spec.rollout.canary_seconds)


def _broken(scene: Scene, status: RolloutStatus, *, ready: int, goal: int) -> str:
    """Say why the canary will not come up; a slice that is not free is nobody's fault."""
    pods = [pod for pod in scene.view.pods if pod.canary and not pod.terminating]
    since_s = _since_s(scene, status)
    bad = next((pod for pod in pods if pod.init_failure or pod.crash), None)
    if bad is not None and since_s >= CRASH_GRACE_S:
        why = bad.init_failure.sentence() if bad.init_failure else bad.crash
        return f"pod {bad.name} of {scene.wanted.engine} does not come up: {why}"
    if ready >= goal or any(pod.unschedulable for pod in pods) or since_s < scene.patience_s * goal:
        return ""
    return f"{ready} of {goal} replicas of {scene.wanted.engine} are ready after {since_s:.0f} s"


def _worse(scene: Scene, status: RolloutStatus, why: Outcome, count: int, *, surge: bool) -> RolloutPlan:
    """Take a worse revision back, or, where nobody may, keep it a canary and say so."""
    if scene.view.spec.rollout.auto_rollback == "Enabled":
        return _rolled_back(scene, status, why.reason, why.message)
    told = f"{why.message}; rollout.autoRollback is Disabled: say `kubectl yolofleet rollout promote` or `abort`"
    before = scene.view.status.rollout
    if before is not None and before.phase == "Canary" and before.reason == why.reason.value:
        told = before.message  # the numbers of the moment of judging
    kept = _moved(scene, status, "Canary", why.reason, told)
    due = scene.now + timedelta(seconds=RECHECK_S)
    return RolloutPlan(kept, scene.stands, beside(scene.replicas, count, surge=surge), count, surge, due)


def _rolled_back(scene: Scene, status: RolloutStatus, reason: RolloutReason, message: str) -> RolloutPlan:
    """Go back to the old revision at once; the new one is not tried again by itself."""
    previous = Revision(status.previous_engine, status.previous_image)
    if scene.wanted.same(previous):
        previous = scene.stands
    return RolloutPlan(_moved(scene, status, "RolledBack", reason, message), previous, scene.replicas)


def _promoted(scene: Scene, status: RolloutStatus, reason: RolloutReason, message: str) -> RolloutPlan:
    """Give the stable Deployment the new revision; the canary goes on serving meanwhile."""
    if status.phase != "Promoting":
        status = _moved(scene, status, "Promoting", reason, message)
    canary = scene.view.canary
    held = canary.replicas if canary is not None and _holds(scene, canary) else 0
    surge = canary.surge if canary is not None else False
    due = scene.now + timedelta(seconds=RECHECK_S)
    return RolloutPlan(status, scene.wanted, beside(scene.replicas, held, surge=surge), held, surge, due)


def _arrived(scene: Scene, before: RolloutStatus | None) -> RolloutPlan:
    """The stable Deployment has what is wanted: let its pods follow, and the canary go one by one."""
    alone = RolloutPlan(before, scene.stands, scene.replicas)
    if before is None:
        return alone
    if not Revision(before.engine, before.image).same(scene.wanted):
        return _reverted(scene, before)
    if before.phase in ENDED:
        return alone
    if _asked(scene, before) == "abort":
        return _rolled_back(
            scene, _answered(scene, before), RolloutReason.ABORTED, "somebody asked for it while it took over"
        )
    canary, stable = scene.view.canary, scene.stable
    renewed = (
        stable.settled
        and stable.updated_replicas == stable.replicas == stable.total_replicas
        and stable.ready_replicas >= stable.replicas
    )
    if renewed and stable.replicas >= scene.replicas and canary is None:
        kept = before.model_copy(update={"phase": "Promoted", "since": _stamp(scene.now)})
        return RolloutPlan(kept, scene.stands, scene.replicas)
    held = canary.replicas if canary is not None else 0
    count = max(0, held - 1) if renewed else held
    if renewed and stable.replicas >= scene.replicas:
        count = 0
    surge = canary.surge if canary is not None else False
    left = beside(scene.replicas, count, surge=surge) if count else scene.replicas
    due = scene.now + timedelta(seconds=RECHECK_S)
    return RolloutPlan(before, scene.stands, left, count, surge, due)


def _reverted(scene: Scene, before: RolloutStatus) -> RolloutPlan:
    """The spec asks again for what serves: a rollout under way ends, and one that was taken back is forgotten."""
    if before.phase in ("Promoted", "Withdrawn"):
        return RolloutPlan(before, scene.stands, scene.replicas)
    told = f"the spec asks for {scene.stands.engine} again, which serves"
    kept = before.model_copy(update={"history": _remembered(before)})
    gone = _moved(scene, kept, "Withdrawn", RolloutReason.SPEC_CHANGED, told)
    return RolloutPlan(gone, scene.stands, scene.replicas)

"""How many replicas: demand ÷ (capacity of one × target), up at once, down to the largest need of a whole window.

Nothing goes down on missing data, nor before the signals were whole for a while: a restart changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING

from yolofleet.api.conditions import Reason, Status
from yolofleet.api.yolodeployment import LowerNeed, YoloDeploymentSpec
from yolofleet.planning.scaling import correcting, schedules, window
from yolofleet.planning.scaling.believed import believed
from yolofleet.planning.scaling.capacity import Capacity, kept, observed, settled
from yolofleet.planning.scaling.levelled import levelled
from yolofleet.planning.scaling.memory import Figures, Memory, Shown, fps_of, recalled, shown
from yolofleet.planning.scaling.schedules import Floor
from yolofleet.planning.scaling.starting import start_of, start_s_of
from yolofleet.planning.scaling.window import Claim, Claims
from yolofleet.planning.snapshot import DeploymentView, PodView

if TYPE_CHECKING:
    from yolofleet.planning.scaling.forecast import Forecast, Wanted

TOLERANCE = 0.05
"""An observed demand may exceed the plan by so much: noise moves nothing."""
SATURATED = 0.9
"""Replicas this busy hold their clients back: what arrives says no longer what is wanted."""
QUEUE_SHARE = 0.5
"""A queue that takes so much of the objective wants one replica more."""
SETTLE_S = 10.0
LONGEST_PROOF_S = 30.0
THOUSAND = 1000
ACTIVE: Mapping[Reason, Status] = {
    Reason.SUSPENDED: "False",
    Reason.EXTERNAL: "False",
    Reason.SIGNALS_MISSING: "False",
    Reason.CAPACITY_UNKNOWN: "Unknown",
}
"""The status of condition ScalingActive by reason; every other reason: True."""


@dataclass(frozen=True)
class Need:
    """A count before bounds, and how it came about; `replicas` None: nobody could tell.

    `priced`: the window is in the count already, and these are its terms.
    """

    replicas: int | None
    why: str
    unknown_capacity: bool = False
    priced: Wanted | None = None


@dataclass(frozen=True)
class Desired:
    """A count, why, and all the figures that it rests on.

    `claims` is what a restart must know of lower needs, `memory` what the next decision wants to know.
    """

    replicas: int
    reason: Reason
    message: str
    fps: str = ""
    figures: Figures = field(default_factory=Figures)
    capacity: Capacity | None = None
    claims: Claims = ()
    memory: Memory = field(default_factory=lambda: Memory(0))
    due: datetime | None = None
    headroom: str = ""

    @property
    def active(self) -> Status:
        """Return the status of condition ScalingActive."""
        return ACTIVE.get(self.reason, "True")


def decide(view: DeploymentView, *, profile: str, measured: Capacity | None, now: datetime, stale_s: float) -> Desired:
    """Decide for one deployment; same view and time, same decision."""
    if view.spec.suspend:
        return _told(view, 0, Reason.SUSPENDED, "spec.suspend is true: no replicas", now=now)
    if view.spec.scaling.mode == "External":
        return _told(view, view.spec.replicas, Reason.EXTERNAL, _external(view), now=now)
    memory, view = memory_of(view), replace(view, signals=levelled(view))
    seen = None if view.spec.scaling.mode == "Declared" else observed(view.signals)
    before = kept(view.status, profile)
    capacity = settled(measured, before, seen, since=memory.capacity_since, now=now)
    since = memory.capacity_since if capacity == before and memory.capacity_since else now
    view = replace(view, signals=believed(view.signals, capacity))
    figures = figures_of(view)
    bound_ms = view.spec.objective.p99_latency_milliseconds
    correction = correcting.after(memory.correction, capacity, view.signals, bound_ms=bound_ms, now=now)
    usable = correcting.applied(capacity, correction)
    known = _learnt(view, memory.forecast, usable, now)
    floor = schedules.floor(view.spec.scaling.schedules, now, lead_s=start_s_of(view))
    least = max(view.spec.scaling.min_replicas, floor.replicas)
    need = needed(view, figures, usable, known)
    after = _windowed(view, memory, need, least, now)
    settled_memory = replace(after, capacity_since=since, forecast=known, correction=correction)
    return _explained(view, settled_memory, need, _Facts(figures, capacity, memory.base, now, stale_s, least, floor))


def floor_of(view: DeploymentView, now: datetime) -> int:
    """Return what a deployment is never below, whatever is asked of it: a loan to a build least of all."""
    scaling = view.spec.scaling
    if scaling.mode == "External":
        return view.spec.replicas
    return max(scaling.min_replicas, schedules.floor(scaling.schedules, now, lead_s=start_s_of(view)).replicas)


def _learnt(view: DeploymentView, known: Forecast | None, capacity: Capacity | None, now: datetime) -> Forecast | None:
    if view.spec.scaling.overload_cost_seconds is None:
        return None
    from yolofleet.planning.scaling import priced

    return priced.learnt(view, known, capacity, whole=not hidden(view), now=now)


def memory_of(view: DeploymentView) -> Memory:
    """Return what the last decision left; after a restart it is rebuilt from what stands in the cluster."""
    if view.memory is not None:
        return view.memory
    status = view.status.scaling
    told = tuple(claim for need in (status.needs if status else ()) if (claim := _recalled(need)) is not None)
    base = max(status.desired_replicas if status else 0, view.standing)
    return Memory(base, window.below(told, base), shown=recalled(view.status))


def _recalled(need: LowerNeed) -> Claim | None:
    """Read a claim back; one that nobody can date is forgotten, and replicas stay longer."""
    try:
        since = datetime.fromisoformat(need.since)
    except ValueError:
        return None
    return Claim(need.replicas, since) if since.tzinfo is not None else None


def figures_of(view: DeploymentView) -> Figures:
    """Return the demand that counts in this mode, and what is served."""
    arriving = view.signals.arrival_fps if view.signals else None
    served = view.signals.served_fps if view.signals else None
    return Figures(declared_fps(view.spec), arriving, planned_fps(view.spec, arriving), served)


def declared_fps(spec: YoloDeploymentSpec) -> float | None:
    """Return the frames per second that a spec declares, whether they count or not."""
    return spec.demand.streams * float(spec.demand.frames_per_second) if spec.demand else None


def planned_fps(spec: YoloDeploymentSpec, arriving: float | None) -> float | None:
    """Return the frames per second that count in the spec's scaling mode; None: nobody knows."""
    mode = spec.scaling.mode
    counted = (declared_fps(spec) if mode != "Observed" else None, arriving if mode != "Declared" else None)
    return max((fps for fps in counted if fps is not None), default=None)


def needed(view: DeploymentView, figures: Figures, capacity: Capacity | None, known: Forecast | None = None) -> Need:
    """Return how many replicas the demand needs, before bounds; whatever asks for most is heard."""
    asked = [by_demand(view, figures, capacity)]
    if known is not None and capacity is not None:
        asked = [by_forecast(view, figures, capacity, known)]
    if view.spec.scaling.mode != "Declared":
        asked += [need for need in (by_use(view), by_queue(view)) if need is not None]
    # Where only the demand cannot tell, use and queue may raise, and never lower.
    best = max(asked, key=lambda need: need.replicas if need.replicas is not None else -1)
    unknown = asked[0].replicas is None
    if unknown and best is not asked[0] and (best.replicas or 0) <= _ready(view):
        best = asked[0]
    warm = view.spec.scaling.warm_replicas
    if best.replicas is None or not warm:
        return best
    return replace(best, replicas=best.replicas + warm, why=f"{best.why} + {warm} warm")


def by_demand(view: DeploymentView, figures: Figures, capacity: Capacity | None) -> Need:
    """Return demand ÷ (capacity × target); an observed one may exceed it by the tolerance."""
    demand = figures.planned
    if demand is None:
        return Need(None, "no demand is declared and none was seen")
    kind = "declared" if demand == figures.declared else "observed"
    told = f"demand {_fps(demand)} fps {kind}"
    if demand == 0:
        return Need(0, told)
    if capacity is None and kind == "observed" and (shares := _shares(view)):
        by_shares = _by_shares(view, shares)
        return replace(by_shares, why=f"{told}, {by_shares.why}")
    if capacity is None:
        return Need(None, f"{told}, but what one replica carries is not known yet", unknown_capacity=True)
    target = view.spec.scaling.target_utilization_percent / 100
    share = demand / (capacity.fps * target)
    exact = math.ceil(round(share * (1 - TOLERANCE if kind == "observed" else 1), 6))
    return Need(exact, f"{told} ÷ ({_fps(capacity.fps)} fps/replica {capacity.words} × {target:.2f})")


def by_forecast(view: DeploymentView, figures: Figures, capacity: Capacity, known: Forecast) -> Need:
    """Return (what arrives + its rise + a headroom at its price) ÷ (capacity × target), and what its window keeps."""
    from yolofleet.planning.scaling import priced

    standing = memory_of(view).base - view.spec.scaling.warm_replicas
    declared, whole = _counted(view, figures), not hidden(view)
    told = priced.wanted(view, known, capacity, standing=standing, whole=whole, declared=declared)
    parts = [f"demand {_fps(told.base_fps - told.rise_fps)} fps {told.origin}"]
    parts += [f"rise {_fps(told.rise_fps)}"] if told.rise_fps >= 1 else []
    parts += [f"headroom {_fps(told.headroom_fps)}"]
    target = view.spec.scaling.target_utilization_percent / 100
    why = f"{' + '.join(parts)} ÷ ({_fps(capacity.fps)} fps/replica {capacity.words} × {target:.2f})"
    if told.replicas > told.now:
        why += f" = {told.now}, {told.replicas} for {told.window_s:.0f} s"
    if started := start_of(view).words:
        why += f", {started}"
    return Need(told.replicas, why, priced=told)


def _counted(view: DeploymentView, figures: Figures) -> float | None:
    return None if view.spec.scaling.mode == "Observed" else figures.declared


def by_use(view: DeploymentView) -> Need | None:
    """Return what saturated replicas need: closed-loop clients send no faster than they are answered."""
    shares = _shares(view)
    if not shares or sum(shares) / len(shares) < SATURATED:
        return None
    return _by_shares(view, shares)


def _by_shares(view: DeploymentView, shares: list[float]) -> Need:
    """Return what so much work needs; those that were just made and not seen yet do none of it."""
    target = min(view.spec.scaling.target_utilization_percent / 100, SATURATED)
    why = f"utilisation {sum(shares) / len(shares):.2f} of {len(shares)} ready replicas ÷ {target:.2f}"
    return Need(math.ceil(round(sum(shares) / target * (1 - TOLERANCE), 6)), why)


def _shares(view: DeploymentView) -> list[float]:
    replicas = view.signals.replicas if view.signals else ()
    return [min(1.0, r.utilization) for r in replicas if not r.missing and r.utilization is not None]


def by_queue(view: DeploymentView) -> Need | None:
    """Return one replica more than are ready where frames wait for much of the objective.

    Not before those that came last had time to help: connections are made anew every few seconds.
    """
    if view.signals is None or view.signals.queue_us is None or view.signals.unbroken_s < SETTLE_S:
        return None
    bound_ms = view.spec.objective.p99_latency_milliseconds
    waits_ms, ready = view.signals.queue_us / 1000, _ready(view)
    if waits_ms < bound_ms * QUEUE_SHARE:
        return None
    return Need(ready + 1, f"frames queue for {waits_ms:.0f} ms of {bound_ms}: one more than {ready}")


def unseen(view: DeploymentView) -> tuple[str, ...]:
    """Return why nothing may go down: ready pods without signals, and pods that are not there yet, or no longer."""
    return (*_silent(view), *(f"pod {pod.name}: it is not ready" for pod in view.pods if _lost(pod)))


def hidden(view: DeploymentView) -> tuple[str, ...]:
    """Return why the load is not seen whole; a replica that never served yet hides none."""
    lost = (pod for pod in view.pods if _lost(pod) and not pod.unborn)
    return (*_silent(view), *(f"pod {pod.name}: it is not ready" for pod in lost))


def _silent(view: DeploymentView) -> tuple[str, ...]:
    ready = {pod.name for pod in view.pods if pod.ready and not pod.terminating}
    known = {replica.pod for replica in view.signals.replicas} if view.signals else set()
    silent = view.signals.missing if view.signals else ()
    unasked = tuple(f"pod {name}: not asked yet" for name in sorted(ready - known))
    return (*silent, *unasked)


def _lost(pod: PodView) -> bool:
    """Tell whether a pod is somewhere, not ready, and nobody says that it is broken."""
    return not (pod.ready or pod.terminating or pod.unschedulable or pod.init_failure or pod.crash)


def _ready(view: DeploymentView) -> int:
    return sum(pod.ready and not pod.terminating for pod in view.pods)


def _windowed(view: DeploymentView, memory: Memory, need: Need, least: int, now: datetime) -> Memory:
    if need.replicas is None:
        return memory
    floor = max(need.replicas, least)
    if floor >= memory.base:
        return replace(memory, base=floor, claims=())
    length = view.spec.scaling.scale_down.stabilization_window_seconds
    if unseen(view):  # what is missing may be the rest of the load: this need can only raise
        return replace(memory, claims=window.lifted(memory.claims, floor))
    claims = window.heard(memory.claims, floor, now)
    lower = window.largest(claims, window_s=length, now=now)
    if need.priced is not None:  # its own window is in the need; before that was seen whole, the spec's one counts
        claims, lower = memory.claims, (floor if need.priced.whole_window else None)
    proof = view.signals.unbroken_s if view.signals else 0.0
    if lower is None or (_ready(view) and proof < min(length, LONGEST_PROOF_S)):
        return replace(memory, claims=claims)
    return replace(memory, base=lower, claims=window.below(claims, lower))


@dataclass(frozen=True)
class _Facts:
    figures: Figures
    capacity: Capacity | None
    before: int
    now: datetime
    stale_s: float
    least: int
    floor: Floor


def _explained(view: DeploymentView, memory: Memory, need: Need, facts: _Facts) -> Desired:
    scaling = view.spec.scaling
    replicas = min(max(memory.base, facts.least), scaling.max_replicas)
    length = scaling.scale_down.stabilization_window_seconds
    claims = window.durable(memory.claims, window_s=length, now=facts.now)
    reason, message = _reason(view, memory, need, claims, facts)
    was = min(max(facts.before, scaling.min_replicas), scaling.max_replicas)
    changed = view.status.scaling is not None and was != replicas
    arrow = f"{message} → {replicas}" + (f" (was {was})" if changed else "")
    if facts.floor.wrong:
        arrow += f"; {facts.floor.wrong}"
    fresh = Shown(facts.now, view.generation, reason, replicas, arrow, fps_of(facts.figures), facts.figures)
    told = shown(fresh, memory.shown, waits=_only_waits(view, facts.stale_s))
    return Desired(
        replicas=replicas,
        reason=told.reason,
        message=told.message,
        fps=told.fps,
        figures=facts.figures,
        capacity=facts.capacity,
        claims=claims,
        memory=replace(memory, shown=told),
        due=window.due(memory.claims, window_s=length, now=facts.now),
        headroom=memory.forecast.choice.words if memory.forecast else "",
    )


def _reason(view: DeploymentView, memory: Memory, need: Need, claims: Claims, facts: _Facts) -> tuple[Reason, str]:
    scaling = view.spec.scaling
    missing = view.signals.missing if view.signals else ()
    if missing and scaling.mode != "Declared" and _stale(view, facts.stale_s):
        return Reason.SIGNALS_MISSING, f"{missing[0]}; nothing goes down until all ready pods are seen"
    if need.unknown_capacity:
        hint = "it follows once frames keep a replica busy for a quarter of its time"
        return Reason.CAPACITY_UNKNOWN, f"{need.why}: the engine has no curve; {hint}"
    if claims and claims[-1].replicas < min(memory.base, scaling.max_replicas):
        length = scaling.scale_down.stabilization_window_seconds
        lower = f"less was needed since {claims[0].since:%H:%M:%S}Z"
        return Reason.STABILIZING_DOWN, f"{need.why}: {lower}, replicas go after {length} s of it"
    if memory.base > scaling.max_replicas:
        return (
            Reason.AT_MAX_REPLICAS,
            f"{need.why} = {memory.base}, bound by scaling.maxReplicas {scaling.max_replicas}",
        )
    if memory.base <= facts.least:
        return Reason.AT_MIN_REPLICAS, f"{need.why}: {_floor(view, facts.floor)}"
    return Reason.FOLLOWING_DEMAND, need.why


def _floor(view: DeploymentView, floor: Floor) -> str:
    least = view.spec.scaling.min_replicas
    if floor.replicas <= least:
        return f"scaling.minReplicas {least}"
    started = start_of(view).words
    return f"scaling.schedules {floor.name} {floor.replicas}" + (f", {started}" if started else "")


def _stale(view: DeploymentView, stale_s: float) -> bool:
    return view.signals is not None and any(r.missing and r.age_s >= stale_s for r in view.signals.replicas)


def _only_waits(view: DeploymentView, stale_s: float) -> bool:
    """Tell whether pods have not been seen yet, and there was no time to: what stands is not taken back for that."""
    return bool(unseen(view)) and not _stale(view, stale_s)


def _external(view: DeploymentView) -> str:
    by = f"HorizontalPodAutoscaler {view.autoscalers[0]}" if view.autoscalers else "whoever writes /scale"
    return f"scaling.mode External: spec.replicas says {view.spec.replicas}, written by {by}"


def _told(view: DeploymentView, replicas: int, reason: Reason, message: str, *, now: datetime) -> Desired:
    """Return a decision that nobody computed; the figures are shown all the same."""
    before = memory_of(view).shown
    figures = figures_of(view)
    fresh = Shown(now, view.generation, reason, replicas, message, fps_of(figures), figures)
    told = shown(fresh, before, waits=False)
    memory = Memory(replicas, shown=told)
    return Desired(replicas, reason, message, told.fps, figures, memory=memory)


def _fps(value: float) -> str:
    """Write a rate with three digits, and never as a power of ten."""
    return f"{float(f'{value:.3g}'):g}" if value < THOUSAND else f"{value:.0f}"

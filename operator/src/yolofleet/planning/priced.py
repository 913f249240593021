"""A need with a headroom at its price: what the looks of a deployment say, where its spec prices an overload."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime
from statistics import median

from yolofleet.planning import forecast
from yolofleet.planning.capacity import Capacity
from yolofleet.planning.forecast import Forecast, Prices, Slice, Wanted
from yolofleet.planning.headroom import CHOICES, UNLEARNT, Choice
from yolofleet.planning.signals import ReplicaSignals, Signals, together
from yolofleet.planning.snapshot import DeploymentView

ABSURD = 10.0
"""No replica answers so many times what one carries: a counter is wrong."""
LONGEST_START_S = 3600.0
UNLEARNT_START_S = 30.0


def name_of(choice: Choice) -> str:
    """Say a choice in words; the status keeps it over a restart."""
    how = "growing" if choice.grows else "fixed"
    held = "all" if choice.band > 1 else f"{choice.band:.0%}"
    return f"{choice.headroom:.0%} {how}, {held} for {choice.window_s:.0f} s"


NAMES = {name_of(choice): place for place, choice in enumerate(CHOICES)}


def prices_of(view: DeploymentView) -> Prices | None:
    """Return the prices of the spec; None where a fixed target and window decide."""
    scaling = view.spec.scaling
    if scaling.overload_cost_seconds is None or scaling.mode == "Declared":
        return None
    return Prices(float(scaling.overload_cost_seconds), float(scaling.change_cost_seconds or 0))


def believed(signals: Signals | None, capacity: Capacity | None) -> Signals | None:
    """Take it that a pod was not seen where it counts what no pod can do.

    Where all count so, an observed capacity is what is wrong: it was seen in a bad hour, and they are believed.
    """
    if signals is None or capacity is None:
        return signals
    most = ABSURD * capacity.fps
    seen = {r.pod for r in signals.replicas if not r.missing}
    odd = {r.pod for r in signals.replicas if r.pod in seen and (r.served_fps or 0.0) > most}
    if not odd or (odd == seen and capacity.origin == "Observed"):
        return signals
    replicas = [_absurd(r, most) if r.pod in odd else r for r in signals.replicas]
    missing = (*signals.missing, *(r.missing for r in replicas if r.pod in odd))
    return together(replicas, missing=missing, unbroken_s=0.0, looked_at=signals.looked_at)


def _absurd(replica: ReplicaSignals, most: float) -> ReplicaSignals:
    words = (
        f"pod {replica.pod}: it counts {replica.served_fps:.0f} answers a second, more than {most:.0f} is not believed"
    )
    return ReplicaSignals(replica.pod, replica.profile, age_s=replica.age_s, missing=words)


def start_s_of(view: DeploymentView) -> float:
    """Return what a replica takes from wish to service, as those took that serve now."""
    took = [pod.start_s for pod in view.pods if pod.start_s is not None and 0 < pod.start_s <= LONGEST_START_S]
    return median(took) if took else UNLEARNT_START_S


def worth_of(view: DeploymentView, capacity: Capacity) -> Slice:
    """Return what a replica carries, what share of it is planned for, and its start time."""
    return Slice(capacity.fps, view.spec.scaling.target_utilization_percent / 100, start_s_of(view))


def learnt(
    view: DeploymentView, known: Forecast | None, capacity: Capacity | None, *, whole: bool, now: datetime
) -> Forecast | None:
    """Return the forecast after this look; what was not seen whole teaches nothing."""
    prices, signals = prices_of(view), view.signals
    if prices is None or capacity is None or signals is None:
        return known if prices is not None else None
    fps = signals.recent_fps
    if not whole or fps is None or not math.isfinite(fps):
        return known
    if known is None:
        told = view.status.scaling.headroom if view.status.scaling else None
        return forecast.begun(signals.looked_at, fps, chosen=NAMES.get(told or "", UNLEARNT))
    window = view.spec.scaling.scale_down.stabilization_window_seconds
    if fps == 0 and signals.looked_at - known.at < window:
        return known  # cameras seldom stop all at once: so does a page that stands still
    worth = worth_of(view, capacity)
    clock_s = now.timestamp()
    return forecast.after(known, signals.looked_at, fps, clock_s=clock_s, worth=worth, prices=prices)


def wanted(view: DeploymentView, known: Forecast, capacity: Capacity, *, whole: bool, declared: float | None) -> Wanted:
    """Return the count and its terms; while not all is seen, what is seen may raise it."""
    seen = 0.0 if whole or view.signals is None else view.signals.arrival_fps or 0.0
    told = forecast.wanted(known, worth=worth_of(view, capacity), floor_fps=max(seen, declared or 0.0))
    return replace(told, origin="seen so far") if told.origin == "declared" and seen > (declared or 0.0) else told

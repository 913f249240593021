"""A need with a headroom at its price: what the looks of a deployment say, where its spec prices an overload.

Loaded only where a spec has a price: it brings numpy along, 20 MiB of an operator's memory.
"""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime

from yolofleet.planning.scaling import forecast
from yolofleet.planning.scaling.capacity import Capacity
from yolofleet.planning.scaling.forecast import Forecast, Prices, Slice, Wanted
from yolofleet.planning.scaling.headroom import CHOICES, UNLEARNT
from yolofleet.planning.scaling.starting import start_s_of
from yolofleet.planning.snapshot import DeploymentView

NAMES = {choice.words: place for place, choice in enumerate(CHOICES)}


def prices_of(view: DeploymentView) -> Prices | None:
    """Return the prices of the spec; None where a fixed target and window decide."""
    scaling = view.spec.scaling
    if scaling.overload_cost_seconds is None or scaling.mode == "Declared":
        return None
    return Prices(float(scaling.overload_cost_seconds), float(scaling.change_cost_seconds or 0))


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


def wanted(
    view: DeploymentView, known: Forecast, capacity: Capacity, *, standing: int, whole: bool, declared: float | None
) -> Wanted:
    """Return the count and its terms; while not all is seen, what is seen may raise it."""
    seen = 0.0 if whole or view.signals is None else view.signals.arrival_fps or 0.0
    floor_fps = max(seen, declared or 0.0)
    told = forecast.wanted(known, worth=worth_of(view, capacity), standing=standing, floor_fps=floor_fps)
    return replace(told, origin="seen so far") if told.origin == "declared" and seen > (declared or 0.0) else told

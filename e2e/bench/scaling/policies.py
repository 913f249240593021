"""Scaling policies as others run them, by their real rules and defaults, and ours by the operator's own code.

HorizontalPodAutoscaler: k8s.io/kubernetes/pkg/controller/podautoscaler, 1.36. KEDA: its metrics adapter before the same
controller. Knative's KPA: knative.dev/serving/pkg/autoscaler/scaling.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field

from e2e.bench.scaling.plant import Meter
from e2e.bench.scaling.traces import REPLICA_FPS
from yolofleet.planning.scaling import forecast
from yolofleet.planning.scaling.forecast import Forecast, Prices, Slice

HPA_SYNC_S = 15
HPA_TOLERANCE = 0.1
HPA_MOST_MORE = 4
LOOK_S = 2


@dataclass
class Hpa:
    """The controller with a Pods metric in frames per second, or with an external one, as KEDA serves it.

    Pods that start have no metric: up they count as 0, down as the target. Behaviour: up by 100 % or 4 pods in 15 s, at
    once; down by 100 % in 15 s, to the largest recommendation of the window.
    """

    target: float = 0.7
    window_s: int = 300
    metric_s: int = 30
    external: bool = False
    every_s: int = HPA_SYNC_S
    _told: deque[tuple[int, int]] = field(default_factory=deque)

    def decide(self, meter: Meter) -> int | None:
        wanted = self._recommended(meter)
        self._told.append((meter.now, wanted))
        while self._told[0][0] <= meter.now - self.window_s and len(self._told) > 1:
            self._told.popleft()
        wanted = max(count for _, count in self._told) if wanted < meter.replicas else wanted
        wanted = min(wanted, meter.replicas) if self._recommended(meter) < meter.replicas else wanted
        return max(1, min(wanted, max(2 * meter.replicas, meter.replicas + HPA_MOST_MORE)))

    def _recommended(self, meter: Meter) -> int:
        each, total = self.target * REPLICA_FPS, meter.fps(self.metric_s)
        counted = meter.replicas if self.external else meter.ready
        missing = 0 if self.external else meter.starting
        if counted == 0:
            return meter.replicas
        ratio = total / (counted * each)
        if missing and ratio != 1:
            with_missing = total if ratio > 1 else total + missing * each
            again = with_missing / ((counted + missing) * each)
            if abs(1 - again) <= HPA_TOLERANCE or (ratio > 1) != (again > 1):
                return meter.replicas
            return math.ceil(round(again * (counted + missing), 6))
        if abs(1 - ratio) <= HPA_TOLERANCE:
            return meter.replicas
        return math.ceil(round(ratio * counted, 6))

    def restart(self) -> None:
        self._told.clear()


@dataclass
class Kpa:
    """Stable and panic window on requests per second; `delay_s`: scale-down-delay."""

    target: float = 0.7
    stable_s: int = 60
    panic_s: int = 6
    threshold: float = 2.0
    delay_s: int = 0
    every_s: int = 2
    _panic_since: int | None = None
    _panic_most: int = 0
    _told: deque[tuple[int, int]] = field(default_factory=deque)

    def decide(self, meter: Meter) -> int | None:
        if meter.now == 0:
            return None
        each, ready = self.target * REPLICA_FPS, max(1, meter.ready)
        least, most = ready // 2, math.ceil(1000 * ready)
        stable, panic = (
            min(max(math.ceil(round(meter.fps(window) / each, 6)), least), most)
            for window in (self.stable_s, self.panic_s)
        )
        if math.ceil(meter.fps(self.panic_s) / each) / ready >= self.threshold:
            self._panic_since = meter.now
        elif self._panic_since is not None and meter.now - self._panic_since > self.stable_s:
            self._panic_since, self._panic_most = None, 0
        wanted = stable
        if self._panic_since is not None:
            self._panic_most = max(self._panic_most, panic)
            wanted = max(self._panic_most, stable)
        return max(1, self._delayed(wanted, meter.now))

    def _delayed(self, wanted: int, now: int) -> int:
        if not self.delay_s:
            return wanted
        while self._told and self._told[-1][1] <= wanted:
            self._told.pop()
        self._told.append((now, wanted))
        while self._told[0][0] <= now - self.delay_s:
            self._told.popleft()
        return self._told[0][1]

    def restart(self) -> None:
        self._panic_since, self._panic_most = None, 0
        self._told.clear()


@dataclass
class Ours:
    """The operator's forecast, looked at every two seconds; `day` counts the days that it has been seen."""

    prices: Prices
    every_s: int = LOOK_S
    target: float = 1.0
    warm: int = 0
    replica_fps: int = REPLICA_FPS
    known: Forecast | None = None
    day: int = 0

    def decide(self, meter: Meter) -> int | None:
        if meter.now == 0:
            return None
        clock = float(self.day * 86_400 + meter.now)
        worth = Slice(float(self.replica_fps), self.target, meter.start_s)
        fps = meter.fps(self.every_s)
        if self.known is None:
            self.known = forecast.begun(clock, fps)
        else:
            self.known = forecast.after(self.known, clock, fps, clock_s=clock, worth=worth, prices=self.prices)
        told = forecast.wanted(self.known, worth=worth, standing=meter.replicas - self.warm)
        count = told.replicas + self.warm
        return count if told.whole_window or count > meter.replicas else max(count, meter.replicas)

    def restart(self) -> None:
        if self.known is not None:
            known = self.known
            self.known = forecast.begun(known.at, known.arrivals.fps, chosen=known.shadows.chosen)

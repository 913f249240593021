"""The settings that are compared: ours by its prices, the known ones by a grid that is searched on the tuning seeds."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from e2e.bench.scaling.plant import Policy
from e2e.bench.scaling.policies import Hpa, Kpa, Ours
from yolofleet.planning.scaling.forecast import Prices

PRICE_S = 50
FEW_CHANGES = (30, 8)
OURS = "yolofleet"


@dataclass(frozen=True)
class Setting:
    """A policy by name, what it is set to in words, and how to make one anew."""

    policy: str
    words: str
    made: Callable[[], Policy]

    @property
    def key(self) -> tuple[str, str]:
        return self.policy, self.words


def ours(overload_s: float, change_s: float = 0.0, warm: int = 0) -> Setting:
    words = f"overloadCostSeconds {overload_s:g}, changeCostSeconds {change_s:g}, warmReplicas {warm}"
    return Setting(OURS, words, lambda: Ours(Prices(overload_s, change_s), warm=warm))


def hpa(target: float, window_s: int, metric_s: int, *, keda: bool = False) -> Setting:
    words = f"target {target}, window {window_s} s, metric {metric_s} s"
    return Setting("KEDA" if keda else "HPA", words, lambda: Hpa(target, window_s, metric_s, external=keda))


def kpa(target: float, stable_s: int, panic_s: int, threshold: float, delay_s: int) -> Setting:
    words = f"target {target}, windows {stable_s}/{panic_s} s, panic at {threshold}, delay {delay_s} s"
    return Setting("KPA", words, lambda: Kpa(target, stable_s, panic_s, threshold, delay_s))


DEFAULTS = (hpa(0.7, 300, 30), hpa(0.7, 300, 30, keda=True), kpa(0.7, 60, 6, 2.0, 0))
KPA_DEFAULT = DEFAULTS[2]


def grid() -> Iterator[Setting]:
    """Yield the settings that the known policies are tuned over."""
    for target, window, metric, keda in itertools.product((0.6, 0.7, 0.8, 0.9), (30, 120, 300), (5, 30), (False, True)):
        yield hpa(target, window, metric, keda=keda)
    for told in itertools.product((0.6, 0.7, 0.8, 0.9), (15, 60), (3, 6), (1.1, 2.0), (0, 60)):
        yield kpa(*told)

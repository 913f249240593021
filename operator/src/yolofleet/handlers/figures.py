"""The fleet in figures: what the last decision on each deployment saw, as Prometheus series that vanish with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache, partial

from prometheus_client import Metric
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from yolofleet.handlers.exposition import Gauges, Row
from yolofleet.observe.cache import Key
from yolofleet.planning.plan import DeploymentPlan
from yolofleet.planning.scaling.memory import Figures as FpsFigures
from yolofleet.planning.scaling.replicas import Desired
from yolofleet.planning.scaling.signals import Signals
from yolofleet.planning.slices.pools import SliceUse

OBJECT = ("namespace", "yolodeployment")
MICROSECONDS = 1e-6


Conditions = tuple[tuple[str, str, str], ...]


@dataclass(frozen=True)
class Figure:
    """One deployment as it was last decided on, without words: thousands of these stay in memory."""

    desired: int
    reason: str
    capacity_fps: float | None
    demand: FpsFigures
    signals: Signals | None
    conditions: Conditions
    replicas: int
    ready: int
    objective_ms: int


@lru_cache(maxsize=4096)
def _shared(conditions: Conditions) -> Conditions:
    """Return one tuple for all deployments that are alike."""
    return conditions


def figure_of(planned: DeploymentPlan) -> Figure:
    """Return the figures of one decision."""
    view, wanted = planned.view, planned.desired
    told = planned.judgement.named()
    return Figure(
        desired=wanted.replicas,
        reason=wanted.reason.value,
        capacity_fps=wanted.capacity.fps if wanted.capacity else None,
        demand=wanted.figures,
        signals=view.signals,
        conditions=_shared(tuple((kind, judged.status, judged.reason.value) for kind, judged in told.items())),
        replicas=sum(group.replicas for group in view.all_groups),
        ready=sum(group.ready_replicas for group in view.all_groups),
        objective_ms=view.spec.objective.p99_latency_milliseconds,
    )


Value = Callable[[Figure], float | None]


def _seen(part: str, scale: float = 1.0) -> Value:
    def value(figure: Figure) -> float | None:
        told = getattr(figure.signals, part) if figure.signals else None
        return None if told is None else told * scale

    return value


GAUGES: tuple[tuple[str, str, Value], ...] = (
    ("yolofleet_served_frames_per_second", "Frames answered.", _seen("served_fps")),
    ("yolofleet_failed_frames_per_second", "Frames that failed.", _seen("failed_fps")),
    (
        "yolofleet_capacity_frames_per_second",
        "What one replica carries at full use.",
        lambda f: f.capacity_fps,
    ),
    ("yolofleet_desired_replicas", "Replicas that were decided on.", lambda f: f.desired),
    ("yolofleet_replicas", "Replicas that exist.", lambda f: f.replicas),
    ("yolofleet_ready_replicas", "Replicas that serve.", lambda f: f.ready),
    ("yolofleet_p99_seconds", "99th percentile of the latency, of the worst pod.", _seen("p99_us", MICROSECONDS)),
    ("yolofleet_objective_p99_seconds", "What it should stay below.", lambda f: f.objective_ms / 1000),
    ("yolofleet_queue_seconds", "Mean time that a frame queues.", _seen("queue_us", MICROSECONDS)),
    ("yolofleet_mean_batch", "Mean batch, in frames.", _seen("mean_batch")),
    ("yolofleet_busy_ratio", "Share of the time that the models compute.", _seen("busy")),
    (
        "yolofleet_engine_active_ratio",
        "Share of the time that the GPU instances' engines work.",
        _seen("engine_active"),
    ),
    ("yolofleet_signals_age_seconds", "Age of the oldest replica's signals.", _seen("age_s")),
)


class Figures(Collector):
    """Answers a scrape from the last decisions; holds no series of its own."""

    def __init__(self) -> None:
        self._known: dict[Key, Figure] = {}
        self._decisions: dict[Key, Counter[tuple[str, str]]] = {}
        self.slices: Callable[[], Iterable[SliceUse]] = tuple
        self.engines: Callable[[], Mapping[str, int]] = dict

    def take(self, key: Key, figure: Figure) -> None:
        """Take a decision; another count than the last one is counted with its direction and reason."""
        before = self._known.get(key)
        self._known[key] = figure
        if before is not None and before.desired != figure.desired:
            direction = "up" if figure.desired > before.desired else "down"
            self._decisions.setdefault(key, Counter())[(direction, figure.reason)] += 1

    def see(self, key: Key, signals: Signals, wanted: Desired) -> None:
        """Take newer figures of a deployment whose decision stands."""
        if (known := self._known.get(key)) is not None:
            capacity = wanted.capacity.fps if wanted.capacity else None
            self._known[key] = replace(known, signals=signals, demand=wanted.figures, capacity_fps=capacity)

    def forget(self, key: Key) -> None:
        """Drop the series of a deployment that is gone."""
        self._known.pop(key, None)
        self._decisions.pop(key, None)

    def known(self) -> Mapping[Key, Figure]:
        """Return the figures of all deployments."""
        return self._known

    def describe(self) -> Iterable[Metric]:
        """Name nothing beforehand: the registry need not ask at start-up."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all families."""
        known = [(key.namespace, key.name, figure) for key, figure in list(self._known.items())]
        yield _demand(known)
        for name, told, value in GAUGES:
            yield Gauges(name, told, OBJECT, partial(_one_each, known, value))
        yield _conditions(known)
        yield self._counted()
        yield self._slices()
        engines = GaugeMetricFamily("yolofleet_engines", "Engines by stage.", labels=("stage",))
        for stage, count in sorted(self.engines().items()):
            engines.add_metric((stage,), count)
        yield engines

    def _counted(self) -> Metric:
        labels = (*OBJECT, "direction", "reason")
        family = CounterMetricFamily("yolofleet_scale_decisions", "Changes of the decided replicas.", labels=labels)
        for key, counts in list(self._decisions.items()):
            for (direction, reason), count in sorted(counts.items()):
                family.add_metric((key.namespace, key.name, direction, reason), count)
        return family

    def _slices(self) -> Metric:
        labels = ("product", "profile", "state")
        told = "Slices that nodes offer; used: by this fleet, foreign: by other people's pods."
        family = GaugeMetricFamily("yolofleet_slices", told, labels=labels)
        for use in self.slices():
            states = {"total": use.total, "used": use.used, "foreign": use.foreign, "free": use.free}
            for state, count in states.items():
                family.add_metric((use.product, use.profile, state), count)
        return family


Known = list[tuple[str, str, Figure]]


def _one_each(known: Known, value: Value) -> Iterator[Row]:
    for namespace, deployment, figure in known:
        if (seen := value(figure)) is not None:
            yield (namespace, deployment), seen


def _demand(known: Known) -> Metric:
    def rows() -> Iterator[Row]:
        for namespace, deployment, figure in known:
            told = figure.demand
            for kind, value in (("declared", told.declared), ("observed", told.observed), ("planned", told.planned)):
                if value is not None:
                    yield (namespace, deployment, kind), value

    return Gauges("yolofleet_demand_frames_per_second", "Frames that are asked for.", (*OBJECT, "kind"), rows)


def _conditions(known: Known) -> Metric:
    def rows() -> Iterator[Row]:
        for namespace, deployment, figure in known:
            for told in figure.conditions:
                yield (namespace, deployment, *told), 1

    labels = (*OBJECT, "type", "status", "reason")
    return Gauges("yolofleet_condition", "The conditions as they stand.", labels, rows)

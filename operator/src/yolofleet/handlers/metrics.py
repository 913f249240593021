"""What the operator counts about itself."""

from __future__ import annotations

from datetime import datetime

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from yolofleet.handlers.figures import Figures
from yolofleet.planning.builds.building import EnginePlan


class Metrics:
    """One registry, made at start-up and handed down."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.passes = Counter("yolofleet_passes", "Passes over the fleet.", registry=self.registry)
        self.pass_seconds = Histogram(
            "yolofleet_pass_seconds",
            "Duration of a pass.",
            buckets=(0.001, 0.005, 0.02, 0.1, 0.5, 2, 10, 60),
            registry=self.registry,
        )
        self.failed_passes = Counter("yolofleet_failed_passes", "Passes that ended in a bug.", registry=self.registry)
        self.dirty = Gauge("yolofleet_dirty_keys", "Keys that wait for a pass.", registry=self.registry)
        self.writes = Counter("yolofleet_writes", "Writes to the API server.", ["verb", "kind"], registry=self.registry)
        self.refusals = Counter(
            "yolofleet_refused_writes",
            "Writes that the API server refused.",
            ["kind", "status"],
            registry=self.registry,
        )
        self.decisions = Counter(
            "yolofleet_decisions", "Decisions by condition and reason.", ["condition", "reason"], registry=self.registry
        )
        self.missed = Counter(
            "yolofleet_missed_changes", "Changes that a watch did not tell.", ["kind"], registry=self.registry
        )
        self.objects = Gauge("yolofleet_objects", "Objects known.", ["kind"], registry=self.registry)
        self.builds = Counter(
            "yolofleet_engine_builds", "Builds of engines that ended.", ["result"], registry=self.registry
        )
        self.damages = Counter(
            "yolofleet_damaged_engines",
            "Published engines that a pod found damaged or lost in the store.",
            ["namespace"],
            registry=self.registry,
        )
        self.build_seconds = Histogram(
            "yolofleet_engine_build_seconds",
            "Duration of builds that succeeded.",
            buckets=(1, 5, 15, 30, 60, 120, 300, 600, 1200, 3600),
            registry=self.registry,
        )
        self.figures = Figures()
        self.registry.register(self.figures)

    def count_build(self, planned: EnginePlan, now: datetime) -> None:
        """Count a build in the pass that writes its end down, and damage in the one that writes that down."""
        before, after, job = planned.view.status, planned.status, planned.view.job
        if before.artifact is None and after.artifact is not None and job is not None:
            self.builds.labels("succeeded").inc()
            if job.started is not None:
                self.build_seconds.observe(max(0.0, ((job.ended or now) - job.started).total_seconds()))
        elif before.failure is None and after.failure is not None:
            self.builds.labels("failed" if after.next_attempt_time else "refused").inc()
        if after.damage is not None and after.damage != before.damage:
            self.damages.labels(planned.view.namespace).inc()

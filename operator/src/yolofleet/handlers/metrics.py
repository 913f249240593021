"""What the operator counts about itself."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram


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

"""Stories that `explain` tells: sections of plain sentences, made from objects and nothing else."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from yolofleet.cli.standing import Told

Object = dict[str, Any]
MOST_EVENTS = 8


@dataclass(frozen=True)
class Section:
    """A question, and the sentences that answer it."""

    title: str
    lines: tuple[str, ...]

    def wire(self) -> Object:
        """Return the section as a JSON object."""
        return {"title": self.title, "lines": list(self.lines)}


def holding_back(conditions: Sequence[Told], name: str) -> Section:
    """Say what is not as it should be, and what to do."""
    lines: list[str] = []
    for condition in conditions:
        if condition.needs_words:
            lines.append(f"{condition.type}={condition.status} {condition.reason}: {condition.message}")
            if condition.to_do:
                lines.append(f"  → {condition.to_do.replace('NAME', name)}")
    return Section("What holds it back", tuple(lines) or ("nothing",))


def happened(events: Sequence[Object] | str) -> Section:
    """Say what was told of it lately, the newest last; a string says why nobody can know."""
    if isinstance(events, str):
        return Section("What happened", (events,))
    ordered = sorted(events, key=_when)[-MOST_EVENTS:]
    lines = tuple(f"{_when(event)[:19]}  {event.get('reason', '')}: {event.get('message', '')}" for event in ordered)
    return Section("What happened", lines or ("no event is left (Kubernetes keeps them for an hour)",))


def _when(event: Object) -> str:
    series = event.get("series") or {}
    told = series.get("lastObservedTime") or event.get("lastTimestamp") or event.get("eventTime")
    return str(told or event["metadata"].get("creationTimestamp") or "")


def figure(value: float | None, unit: str = "") -> str:
    """Write a figure with three digits; `unknown` when nobody could see it."""
    if value is None:
        return "unknown"
    return f"{float(f'{value:.3g}'):g}{unit}"

"""How a YoloDeployment stands, read from its own spec and status: pure, and forgiving of other versions' fields."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from yolofleet.cli.remedies import what_to_do

Object = dict[str, Any]

ENDS = ("Ready", "EngineReady", "Placed")
"""Conditions that must be True, and Progressing must not be."""
ALWAYS_TOLD = frozenset({"AutoscalerIgnored", "AtMaxReplicas", "SignalsMissing"})
NO_TROUBLE = frozenset({"NotMeasured", "CapacityUnknown", "Suspended", "External"})
"""Reasons for which a condition is not True, and nobody has to do anything."""


@dataclass(frozen=True)
class Told:
    """One condition, and what to do about it; empty when there is nothing to do."""

    type: str
    status: str
    reason: str
    message: str
    to_do: str

    @property
    def needs_words(self) -> bool:
        """Tell whether a person who asks how things are must hear of it."""
        if self.type == "Progressing":
            return self.status == "True" or self.reason not in ("Stable", "Suspended")
        return self.reason in ALWAYS_TOLD or (self.status != "True" and self.reason not in NO_TROUBLE)


@dataclass(frozen=True)
class Standing:
    """A row of `status`; frames per second as the status writes them, to two digits, "" when nobody knows."""

    namespace: str
    name: str
    verdict: str
    ok: bool
    ready: int
    desired: int
    served_fps: str
    demanded_fps: str
    slices: str
    engine: str
    conditions: tuple[Told, ...]

    def wire(self) -> Object:
        """Return the row as a JSON object."""
        return {
            "namespace": self.namespace,
            "name": self.name,
            "allReady": self.ok,
            "verdict": self.verdict,
            "readyReplicas": self.ready,
            "desiredReplicas": self.desired,
            "framesPerSecond": {"served": number(self.served_fps), "demanded": number(self.demanded_fps)},
            "slices": self.slices,
            "engine": self.engine,
            "conditions": [
                {"type": c.type, "status": c.status, "reason": c.reason, "message": c.message, "toDo": c.to_do}
                for c in self.conditions
            ],
        }


def standing(obj: Object) -> Standing:
    """Read one YoloDeployment."""
    meta, spec, status = obj["metadata"], obj.get("spec") or {}, obj.get("status") or {}
    summary = status.get("summary") or {}
    scaling = status.get("scaling") or {}
    served, _, demanded = str(summary.get("fps") or "").partition("/")
    conditions = tuple(_told(condition) for condition in status.get("conditions") or [])
    ready = int(status.get("readyReplicas") or 0)
    desired = int(scaling.get("desiredReplicas", status.get("replicas", 0)) or 0)
    verdict = _verdict(obj, {c.type: c for c in conditions}, ready, desired)
    return Standing(
        namespace=meta.get("namespace", ""),
        name=meta["name"],
        verdict=verdict,
        ok=verdict == "ready" or (verdict == "suspended" and bool(spec.get("suspend"))),
        ready=ready,
        desired=desired,
        served_fps="" if served == "-" else served,
        demanded_fps="" if demanded == "-" else demanded,
        slices=str(summary.get("slices") or ""),
        engine=str(summary.get("engine") or ""),
        conditions=conditions,
    )


def _told(condition: Object) -> Told:
    kind, reason = str(condition.get("type", "")), str(condition.get("reason", ""))
    return Told(
        kind,
        str(condition.get("status", "Unknown")),
        reason,
        str(condition.get("message", "")),
        what_to_do(kind, reason),
    )


def _verdict(obj: Object, by_type: dict[str, Told], ready: int, desired: int) -> str:
    """Say in a word or two how it stands; only `ready` and `suspended` are as they were asked for."""
    meta, status = obj["metadata"], obj.get("status") or {}
    if "deletionTimestamp" in meta:
        return "being deleted"
    if int(status.get("observedGeneration") or 0) < int(meta.get("generation") or 0):
        return "not seen yet"
    if (obj.get("spec") or {}).get("suspend"):
        return "suspended" if ready == 0 else "stopping"
    at_rest = by_type["Progressing"].status == "False" if "Progressing" in by_type else True
    ended = all(kind in by_type and by_type[kind].status == "True" for kind in ENDS)
    if ended and at_rest and ready >= max(1, desired):
        return "ready"
    if ready == 0:
        return "not serving"
    return "serving, stuck" if at_rest else "serving, changing"


def number(told: str) -> float | None:
    """Return a figure of a status; None when there is none."""
    try:
        return float(told)
    except ValueError:
        return None

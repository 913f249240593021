"""Events for conditions that changed: what `kubectl describe` shows."""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from yolofleet.api import API_VERSION
from yolofleet.api.conditions import Condition, Reason
from yolofleet.render.meta import Object, digest

NOTE_LIMIT_BYTES = 1024
"""Kubernetes counts bytes there, not letters."""
REPORTER = "yolofleet.dev/operator"
ALARMING = frozenset(
    {
        Reason.BUILD_FAILED,
        Reason.BUILD_REFUSED,
        Reason.BACKING_OFF,
        Reason.ENGINE_DAMAGED,
        Reason.NOT_SUPPORTED,
        Reason.NO_MATCHING_PROFILE,
        Reason.POOL_NOT_FOUND,
        Reason.NO_ROOM,
        Reason.QUOTA_EXCEEDED,
        Reason.POD_REFUSED,
        Reason.MODEL_NOT_LOADED,
        Reason.INVALID_SPEC,
        Reason.SIGNALS_MISSING,
        Reason.AUTOSCALER_IGNORED,
        Reason.OBJECTIVE_MISSED,
        Reason.REQUESTS_FAILING,
        Reason.ROLLED_BACK,
    }
)


class Subject(Protocol):
    """What an Event is about."""

    @property
    def kind(self) -> str: ...  # noqa: D102
    @property
    def namespace(self) -> str: ...  # noqa: D102
    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def uid(self) -> str | None: ...  # noqa: D102


def events(subject: Subject, old: list[Condition], new: list[Condition], now: datetime) -> tuple[Object, ...]:
    """Return one Event per condition that changed and is worth a line: ends and alarms, not every step."""
    before = {c.type: (c.status, c.reason) for c in old}
    changed = [c for c in new if before.get(c.type) != (c.status, c.reason)]
    lost = {c.type for c in old if c.type == "Ready" and c.status == "True"}
    return tuple(_event(subject, c, now) for c in changed if c.type in lost or _worth_a_line(c))


def _worth_a_line(condition: Condition) -> bool:
    ends = condition.status == "True" and condition.type in ("Ready", "EngineReady", "Placed")
    return condition.reason in ALARMING or ends


def _event(subject: Subject, condition: Condition, now: datetime) -> Object:
    moment = now.strftime("%Y-%m-%dT%H:%M:%S.%fZ")
    told = [subject.kind, subject.namespace, subject.name, condition.wire(), moment]
    regarding = {
        "apiVersion": API_VERSION,
        "kind": subject.kind,
        "name": subject.name,
        "namespace": subject.namespace,
        "uid": subject.uid,
    }
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {"name": f"{subject.name}.{digest(told)}", "namespace": subject.namespace or "default"},
        "eventTime": moment,
        "reportingController": REPORTER,
        "reportingInstance": "yolofleet-operator",
        "action": condition.type,
        "reason": condition.reason,
        "regarding": {key: value for key, value in regarding.items() if value},
        "note": _cut(f"{condition.type}={condition.status}: {condition.message}"),
        "type": "Warning" if condition.reason in ALARMING else "Normal",
    }


def _cut(note: str) -> str:
    return note.encode()[:NOTE_LIMIT_BYTES].decode(errors="ignore")

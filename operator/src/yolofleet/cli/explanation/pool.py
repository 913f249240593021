"""Which nodes a MigPool has, what they offer, who uses it, and what its rules mean."""

from __future__ import annotations

from collections.abc import Sequence

from yolofleet.cli.explanation import Object, Section, happened
from yolofleet.cli.remedies import what_to_do

MODES = {
    "Static": "nobody cuts the GPUs: the slices that exist are used",
    "MigManager": "NVIDIA's mig-manager cuts the GPUs, as the operator asks it to",
    "DRA": "slices are claimed through dynamic resource allocation",
}


def story(obj: Object, users: Sequence[Object] | str, events: Sequence[Object] | str) -> tuple[Section, ...]:
    """Tell the story of one MigPool; `users` are the YoloDeployments that name it."""
    return (
        Section("Which nodes", tuple(_nodes(obj))),
        Section("What they offer", tuple(_slices(obj))),
        Section("Its rules", tuple(_rules(obj))),
        Section("Who uses it", (_users(users),)),
        happened(events),
    )


def _nodes(obj: Object) -> list[str]:
    labels = ((obj.get("spec") or {}).get("nodeSelector") or {}).get("matchLabels") or {}
    chosen = ", ".join(f"{key}={value}" for key, value in sorted(labels.items())) or "any label: all nodes with GPUs"
    status = obj.get("status") or {}
    lines = [f"{status.get('nodes', 'not counted yet:')} nodes, selected by {chosen}"]
    for condition in status.get("conditions") or []:
        good = "True" if condition["type"] == "Ready" else "False"
        if condition["status"] != good:
            lines.append(
                f"{condition['type']}={condition['status']} {condition['reason']}: {condition.get('message', '')}"
            )
            if told := what_to_do(condition["type"], condition["reason"]):
                lines.append(f"  → {told}")
    return lines


def _slices(obj: Object) -> list[str]:
    slices = (obj.get("status") or {}).get("slices") or []
    known = [f"{s['profile']}: {s.get('used', '?')} of {s['total']} held by this fleet" for s in slices]
    return [*known, "pods of others are not counted here"] if known else ["nothing"]


def _rules(obj: Object) -> list[str]:
    spec = obj.get("spec") or {}
    mode = (spec.get("partitioning") or {}).get("mode", "Static")
    lines = [f"partitioning {mode}: {MODES.get(mode, 'unknown to this plugin')}"]
    lines.append(f"at most {(spec.get('builds') or {}).get('maxConcurrent', 4)} builds at once")
    lines += [
        f"{held['count']} × {held['profile']} held back: {held.get('purpose', 'Build')}"
        for held in spec.get("reserved") or []
    ]
    overflow = spec.get("overflow", "LeavePending")
    rest = "stay Pending" if overflow == "LeavePending" else "are not made"
    lines.append(f"replicas that find no slice {rest} (overflow {overflow})")
    return lines


def _users(users: Sequence[Object] | str) -> str:
    if isinstance(users, str):
        return users
    names = sorted(f"{u['metadata']['namespace']}/{u['metadata']['name']}" for u in users)
    return f"{len(names)} YoloDeployments: {', '.join(names[:10])}" if names else "no YoloDeployment that you may see"

"""What a YoloEngine is made of, how far it is, who uses it, and what it is worth."""

from __future__ import annotations

from collections.abc import Sequence

from yolofleet.cli.explanation import Object, Section, happened
from yolofleet.cli.explanation.deployment import recipe
from yolofleet.cli.remedies import what_to_do


def story(obj: Object, events: Sequence[Object] | str) -> tuple[Section, ...]:
    """Tell the story of one YoloEngine."""
    return (
        Section("What it is", _what(obj)),
        Section("Who uses it", _users(obj)),
        Section("How far it is", tuple(_progress(obj))),
        Section("What it is worth", tuple(_curve(obj))),
        happened(events),
    )


def _what(obj: Object) -> tuple[str, ...]:
    return (
        recipe(obj),
        f"key {obj['spec']['key']}: the digest of all of that; any change is another engine",
    )


def _users(obj: Object) -> tuple[str, ...]:
    owners = [o["name"] for o in obj["metadata"].get("ownerReferences") or [] if o.get("kind") == "YoloDeployment"]
    if not owners:
        return ("nobody: it goes with its last user",)
    return (f"YoloDeployments {', '.join(sorted(owners))}: one build for all of them",)


def _progress(obj: Object) -> list[str]:
    status = obj.get("status") or {}
    ready: Object = next((c for c in status.get("conditions") or [] if c.get("type") == "Ready"), {})
    lines = [f"{ready.get('reason', 'not looked at yet')}: {ready.get('message', '')}".rstrip(": ")]
    if status.get("stage"):
        lines.append(
            f"stage {status['stage']}, {status.get('progressPercent', 0)} %, {status.get('attempts', 0)} builds started"
        )
    if failure := status.get("failure"):
        where = f"{failure['field']} ({failure.get('value', '')}): " if failure.get("field") else ""
        lines.append(f"the last build failed: {where}{failure['message']}")
        lines.append(f"  → {failure.get('remedy') or what_to_do('Ready', str(ready.get('reason', '')))}")
    if told := status.get("nextAttemptTime"):
        lines.append(f"tried again at {told}")
    if artifact := status.get("artifact"):
        lines.append(f"published: {artifact['sizeBytes'] / 1e6:.1f} MB, manifest sha256 {artifact['sha256'][:16]}…")
    return lines


def _curve(obj: Object) -> list[str]:
    status = obj.get("status") or {}
    told = [curve for curve in (status.get("curve"), *(status.get("curves") or [])) if curve]
    if not told:
        judged: Object = next((c for c in status.get("conditions") or [] if c.get("type") == "Measured"), {})
        return [judged.get("message") or "not measured: nobody knows yet what a slice of it carries"]
    return [line for curve in told for line in _points(curve)]


def _points(curve: Object) -> list[str]:
    head = f"{curve['source'].lower()} on {curve['profile']} of {curve['product']} ({curve['smCount']} SMs)"
    points = sorted(curve["points"], key=lambda p: (p["endpoint"], p["batch"], p["instances"]))
    return [head] + [
        f"{p['endpoint']} batch {p['batch']} × {p['instances']}: {p['framesPerSecond']} fps, "
        f"p50 {p['p50Microseconds'] / 1000:g} ms, p99 {p['p99Microseconds'] / 1000:g} ms"
        for p in points
    ]

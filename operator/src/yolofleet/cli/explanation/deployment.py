"""Why a YoloDeployment has this many replicas, this slice profile and this engine, and what would change it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from pydantic import ValidationError

from yolofleet.api.endpoints import SUFFIX
from yolofleet.api.migpool import DEFAULT_POOL
from yolofleet.api.recipe import Endpoint
from yolofleet.api.top import TopDeployment
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.cli.explanation import Object, Section, figure, happened, holding_back
from yolofleet.cli.standing import number, standing
from yolofleet.planning.sizing.curves import told_by
from yolofleet.planning.sizing.rates import Ask, rate_of
from yolofleet.planning.slices.profiles import size_of

BINDS = {
    "FollowingDemand": "the demand",
    "AtMinReplicas": "scaling.minReplicas: the demand asks for no more",
    "MinReplicas": "scaling.minReplicas",
    "AtMaxReplicas": "scaling.maxReplicas: the demand needs more",
    "StabilizingDown": "the window of scaling.scaleDown: less has been needed for too short a time",
    "CapacityUnknown": "nobody knows yet what one replica carries, so replicas stay as they are",
    "SignalsMissing": "missing data: nothing goes down until every ready replica is seen",
    "External": "spec.replicas, which an autoscaler or a person writes (scaling.mode External)",
    "Suspended": "spec.suspend",
}


@dataclass(frozen=True)
class Seen:
    """All that the story is made from; what could not be had is None or says why."""

    obj: Object
    engines: Mapping[str, Object]
    pool: Object | str
    events: Sequence[Object] | str
    row: TopDeployment | None = None
    not_live: str = ""


def story(seen: Seen) -> tuple[Section, ...]:
    """Tell the story of one YoloDeployment."""
    row = standing(seen.obj)
    return (
        Section("In short", (_in_short(seen),)),
        Section("Why so many replicas", tuple(_replicas(seen))),
        Section("Why this slice profile", tuple(_profile(seen))),
        Section("Why this engine", tuple(_engine(seen))),
        Section("How Triton runs it", tuple(_tuning(seen))),
        Section("Does it meet its objective", tuple(_objective(seen))),
        holding_back(row.conditions, row.name),
        happened(seen.events),
    )


def _in_short(seen: Seen) -> str:
    row = standing(seen.obj)
    model = seen.obj["spec"].get("model") or {}
    source = next((f"{kind} {_of(value)}" for kind, value in model.items() if kind != "task"), "?")
    on = f" on {row.slices}" if row.slices else ""
    return f"{row.namespace}/{row.name} serves {source}: {row.ready} of {row.desired} replicas ready{on}; {row.verdict}"


def _of(value: object) -> str:
    if isinstance(value, dict):
        parts = (value.get(key) for key in ("url", "claimName", "bucket", "image", "path", "key"))
        return " ".join(str(part) for part in parts if part)
    return str(value)


@dataclass(frozen=True)
class Sum:
    """The figures of demand ÷ (capacity × target)."""

    declared: float | None
    demand: float | None
    capacity: float | None
    origin: str
    target: float
    warm: int

    @property
    def needed(self) -> int | None:
        """Return the replicas that the figures need, before bounds; None when a figure is unknown."""
        if self.demand is None or not self.capacity:
            return None
        return math.ceil(round(self.demand / (self.capacity * self.target), 6)) + self.warm


def sum_of(seen: Seen) -> Sum:
    """Read the figures from spec, status, and what was seen live."""
    spec = seen.obj["spec"]
    scaling, declared = spec.get("scaling") or {}, spec.get("demand")
    groups = (seen.obj.get("status") or {}).get("groups") or []
    per = [(g["framesPerSecondPerReplica"], g.get("curve", "")) for g in groups if g.get("framesPerSecondPerReplica")]
    capacity = seen.row.capacity_fps if seen.row else None
    if capacity is None and per:
        capacity = float(per[0][0])
    told = number(standing(seen.obj).demanded_fps)
    return Sum(
        declared=declared["streams"] * float(declared["framesPerSecond"]) if declared else None,
        demand=seen.row.demand_fps if seen.row and seen.row.demand_fps is not None else told,
        capacity=capacity,
        origin=str(per[0][1]).lower() if per else "",
        target=int(scaling.get("targetUtilizationPercent", 80)) / 100,
        warm=int(scaling.get("warmReplicas", 0)),
    )


def _replicas(seen: Seen) -> list[str]:
    spec, told = seen.obj["spec"], (seen.obj.get("status") or {}).get("scaling") or {}
    scaling = spec.get("scaling") or {}
    if not told:
        return ["the operator has not decided yet"]
    desired, reason = int(told.get("desiredReplicas", 0)), str(told.get("reason", ""))
    figures = sum_of(seen)
    lines = [f"{desired} replicas, decided by the operator: {reason}: {told.get('message', '')}"]
    if demand := spec.get("demand"):
        each = f"{demand['streams']} streams × {demand['framesPerSecond']} frames/s"
        lines.append(f"demand declared: {each} = {figure(figures.declared)} fps")
    served = figure(seen.row.served_fps if seen.row else number(standing(seen.obj).served_fps), " fps")
    lines.append(f"demand that counts (scaling.mode {scaling.get('mode', 'Auto')}): {figure(figures.demand, ' fps')}")
    lines.append(f"served now: {served}")
    origin = f" ({figures.origin})" if figures.origin else ""
    lines.append(
        f"one replica carries: {figure(figures.capacity, ' fps')}{origin}; planned for {figures.target:.0%} of it"
    )
    lines += _arithmetic(figures, desired)
    lines.append(f"bounds: scaling.minReplicas {scaling.get('minReplicas')}, maxReplicas {scaling.get('maxReplicas')}")
    lines.append(f"what binds: {_binds(reason, figures, desired)}")
    lines += _thresholds(figures, desired, scaling)
    return lines if not seen.not_live else [*lines, f"(figures from status, not live: {seen.not_live})"]


def _binds(reason: str, figures: Sum, desired: int) -> str:
    """Say what keeps the count from being another one; the figures may have moved on since it was decided."""
    if reason == "FollowingDemand" and figures.needed is not None and figures.needed < desired:
        return "what was needed when it was decided; less is needed now, and replicas go only after a window of that"
    return BINDS.get(reason, reason)


def _arithmetic(figures: Sum, desired: int) -> list[str]:
    if figures.needed is None or figures.demand is None:
        return []
    exact = figures.demand / ((figures.capacity or 1) * figures.target)
    warm = f" + {figures.warm} warm" if figures.warm else ""
    told = (
        f"{figure(figures.demand)} ÷ ({figure(figures.capacity)} × {figures.target:.2f}) = {exact:.2f}{warm} "
        f"→ {figures.needed}"
    )
    return [told if figures.needed == desired else f"{told}; {desired} stands, for the reason above"]


def _thresholds(figures: Sum, desired: int, scaling: Object) -> list[str]:
    """Say at which demand the count would change, with the capacity as it is."""
    if not figures.capacity or desired < 1:
        return []
    one = figures.capacity * figures.target
    base = desired - figures.warm
    lines = []
    if desired < int(scaling.get("maxReplicas", 8)) and base >= 1:
        lines.append(f"one more from {figure(base * one)} fps on, at once")
    if desired > int(scaling.get("minReplicas", 1)) and base > 1:
        window = (scaling.get("scaleDown") or {}).get("stabilizationWindowSeconds", 300)
        lines.append(f"one less below {figure((base - 1) * one)} fps, once that has held for {window} s")
    return [f"what would change it: {'; '.join(lines)}"] if lines else []


def _profile(seen: Seen) -> list[str]:
    row, placement = standing(seen.obj), seen.obj["spec"].get("placement") or {}
    placed = next((c for c in row.conditions if c.type == "Placed"), None)
    lines = [placed.message if placed else "the operator has not placed it yet"]
    asked = [f"{key} {', '.join(placement[key])}" for key in ("profiles", "products") if placement.get(key)]
    lines.append(f"asked for in spec.placement: {'; '.join(asked) or 'nothing in particular'}")
    groups = (seen.obj.get("status") or {}).get("groups") or []
    lines += [
        f"{g['readyReplicas']} of {g['replicas']} on {g['profile']} {g.get('product', '')}".rstrip()
        for g in groups
        if "replicas" in g and "readyReplicas" in g
    ]
    lines += by_curves(seen)
    name = (placement.get("poolRef") or {}).get("name", DEFAULT_POOL)
    if isinstance(seen.pool, str):
        lines.append(f"MigPool {name}: {seen.pool}")
    else:
        lines.append(f"MigPool {name} offers: {offered(seen.pool)}")
    lines.append(
        "what would change it: another objective, demand or list in spec.placement.profiles, or other slices on offer"
    )
    return lines


def by_curves(seen: Seen) -> list[str]:
    """Say what a slice of each kind is worth to this deployment, or why nothing, by its engines' curves."""
    spec = seen.obj["spec"]
    bound = float((spec.get("objective") or {}).get("p99LatencyMilliseconds", 100))
    use = int((spec.get("scaling") or {}).get("targetUtilizationPercent", 80))
    endpoints = spec.get("endpoints") or ["Ultralytics"]
    endpoint: Endpoint = next((one for one in SUFFIX if one in endpoints), "Ultralytics")
    lines = []
    for name in sorted(seen.engines):
        try:
            curves = told_by(YoloEngineStatus.model_validate(seen.engines[name].get("status") or {}))
        except ValidationError:
            continue  # another version wrote it
        for curve in sorted(curves, key=lambda one: (one.product, size_of(one.profile))):
            rate = rate_of(curve, Ask("", 0.0, bound, utilization_percent=use, endpoint=endpoint))
            told = rate if isinstance(rate, str) else f"within {bound:.0f} ms {rate.message}"
            whose = " of a portable engine" if _portable(seen.engines[name]) else ""
            lines.append(f"by {curve.source.lower()} curve{whose}: {curve.profile} of {curve.product}: {told}")
    return lines


def _portable(engine: Object) -> bool:
    return bool((engine["spec"].get("target") or {}).get("hardwareCompatibility"))


def offered(pool: Object) -> str:
    """Say what a pool's nodes offer: `1g.10gb 3 of 7 used`."""
    slices = (pool.get("status") or {}).get("slices") or []
    return ", ".join(f"{s['profile']} {s.get('used', '?')} of {s['total']} used" for s in slices) or "nothing"


def _engine(seen: Seen) -> list[str]:
    row = standing(seen.obj)
    judged = next((c for c in row.conditions if c.type == "EngineReady"), None)
    lines = [judged.message] if judged else ["the operator has not said which engine it needs"]
    groups = (seen.obj.get("status") or {}).get("groups") or []
    serving = sorted({(g.get("engineRef") or {}).get("name", "") for g in groups} - {""})
    lines += [
        f"{'serving' if name in serving else 'being made'}: {name}: {recipe(seen.engines[name])}"
        for name in sorted({*serving, *seen.engines})
        if name in seen.engines
    ]
    lines.append(
        "what would change it: spec.model, spec.engine or spec.endpoints, another builder or TensorRT version; "
        "scaling, placement and thresholds would not"
    )
    return lines


def _tuning(seen: Seen) -> list[str]:
    """Say batch, instances and the rest of each endpoint's model, and the curve that they follow from."""
    lines = []
    for group in (seen.obj.get("status") or {}).get("groups") or []:
        for one in group.get("tuning") or []:
            head = f"batches up to {one.get('maxBatchSize', '?')}, instances {one.get('instances', 1)}"
            lines.append(f"{one.get('endpoint', '?')} on {group.get('profile', '?')}: {head}")
            lines += [f"  {part}" for part in str(one.get("message", "")).split("; ") if part]
    if not lines:
        batch = (seen.obj["spec"].get("engine") or {}).get("maxBatchSize", 32)
        return [f"no curve speaks for it: one instance, batches up to {batch}, no delay, no CUDA graphs"]
    return [
        *lines,
        "what would change it: another objective, or another curve (a measured one goes before an estimate)",
    ]


def recipe(engine: Object) -> str:
    """Say what an engine is made of."""
    told, builder = engine["spec"]["recipe"], engine["spec"].get("builder") or {}
    size = told.get("imageSize") or {}
    parts = [
        f"{told.get('backend')} {told.get('precision')}",
        f"{told.get('task')} from {str(told.get('weights'))[:80]}",
        f"{size.get('width')}×{size.get('height')} pixels, batches to {told.get('maxBatchSize')}",
        f"builder {builder.get('version')}",
    ]
    if version := builder.get("tensorrtVersion"):
        parts.append(f"TensorRT {version}")
    if target := engine["spec"].get("target"):
        parts.append(
            f"for {target['smCount']} SMs, {target['memoryMiB']} MiB, compute capability {target['computeCapability']}"
        )
        if level := target.get("hardwareCompatibility"):
            parts.append(f"portable ({level}): it runs on slices that are as large or larger, too")
    return ", ".join(parts)


def _objective(seen: Seen) -> list[str]:
    objective = (seen.obj["spec"].get("objective") or {}).get("p99LatencyMilliseconds", 100)
    lines = [f"asked for: 99 of 100 frames within {objective} ms, at the server"]
    row = seen.row
    if row is None or row.p99_ms is None:
        return [*lines, "seen: nobody could see it yet"]
    verdict = "it does" if row.p99_ms <= objective else "it does not"
    shares = f"queue {figure(row.queue_ms, ' ms')}, batch {figure(row.mean_batch)}, busy {figure(row.busy)}"
    return [*lines, f"seen: {figure(row.p99_ms, ' ms')} at the worst replica: {verdict} ({shares})"]

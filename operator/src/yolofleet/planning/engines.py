"""Which engine a deployment wants, what its condition says of it, and which endpoints its engines serve."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from yolofleet.api.conditions import Reason
from yolofleet.api.endpoints import ANSWER_ROWS, SUFFIX
from yolofleet.api.recipe import Builder, Endpoint, Target, engine_key, engine_name
from yolofleet.api.sources import Source
from yolofleet.api.yolodeployment import AccuracyGate, YoloDeploymentSpec
from yolofleet.api.yoloengine import YoloEngineSpec, YoloEngineStatus
from yolofleet.planning.placing.choice import Choice
from yolofleet.planning.rollout.accuracy import lost
from yolofleet.planning.sizing.curves import labelled, recipe_from
from yolofleet.planning.slices.profiles import GPU_RESOURCE, WHOLE
from yolofleet.planning.snapshot import DeploymentView, EngineView

SUPPORTED_SOURCES = ("builtin", "http", "pvc")
ARCHIVE_SOURCES = ("http", "pvc")
"""What labelled sets and calibration pictures are fetched from."""


@dataclass(frozen=True)
class Wish:
    """An engine that a deployment wants: its name and the spec that makes it."""

    name: str
    spec: YoloEngineSpec


@dataclass(frozen=True)
class Verdict:
    """A condition's status, reason and message."""

    ok: bool
    reason: Reason
    message: str


def unsupported(spec: YoloDeploymentSpec) -> Verdict | None:
    """Say which part of a valid spec this version cannot carry out yet; None when it can do all of it."""
    kind = spec.model.kind
    if kind not in SUPPORTED_SOURCES:
        told = f"spec.model.{kind}: this version fetches {', '.join(SUPPORTED_SOURCES)}; use one of them"
        return Verdict(ok=False, reason=Reason.NOT_SUPPORTED, message=told)
    unserved = _unmeasured(spec) or _uncalibrated(spec) or _unserved(spec)
    return Verdict(ok=False, reason=Reason.NOT_SUPPORTED, message=unserved) if unserved else None


def _unmeasured(spec: YoloDeploymentSpec) -> str | None:
    """Say why accuracy can't be measured as the spec asks for."""
    gate = spec.engine.accuracy_gate
    if gate is None:
        return None
    if gate.dataset.kind not in ARCHIVE_SOURCES:
        where = f"spec.engine.accuracyGate.dataset.{gate.dataset.kind}"
        return f"{where}: this version fetches labelled sets from {', '.join(ARCHIVE_SOURCES)}; use one of them"
    if spec.model.task != "Detect":
        return (
            f"spec.engine.accuracyGate: mAP is measured for task Detect only (got {spec.model.task}); leave it out: "
            "the engine is compared with what it was made from on a few frames"
        )
    return None


def _uncalibrated(spec: YoloDeploymentSpec) -> str | None:
    """Say why no scales can be taken as the spec asks for."""
    asked = spec.engine.calibration
    if asked is None:
        return None
    if spec.engine.precision == "FP8":
        return "spec.engine.precision: this version makes no FP8 engines (got FP8); set INT8 or FP16"
    if asked.source.kind not in ARCHIVE_SOURCES:
        where = f"spec.engine.calibration.source.{asked.source.kind}"
        return f"{where}: this version fetches pictures from {', '.join(ARCHIVE_SOURCES)}; use one of them"
    if spec.model.task == "Classify":
        return (
            "spec.engine.precision: an INT8 engine is judged by its boxes, and a classifier has none (got Classify); "
            f"set {'FP32' if spec.engine.backend == 'ONNXRuntime' else 'FP16'}, and leave calibration out"
        )
    return None


def _unserved(spec: YoloDeploymentSpec) -> str | None:
    """Say which endpoint can't be served with what else the spec says."""
    if spec.endpoints == ["Ultralytics"]:
        return None
    most = spec.postprocess.max_detections
    if most > ANSWER_ROWS:
        return (
            f"spec.postprocess.maxDetections: endpoints Frames and JPEG answer with at most {ANSWER_ROWS} boxes "
            f"(got {most}); set {ANSWER_ROWS} or less"
        )
    if spec.model.task == "Classify" and ("JPEG" in spec.endpoints or (spec.frames and spec.frames.source_size)):
        return (
            "spec.endpoints: a classifier looks at the middle of a picture, which only its client cuts out (got "
            f"{', '.join(spec.endpoints)}); leave JPEG and frames.sourceSize out"
        )
    return None


def wish(spec: YoloDeploymentSpec, *, builder: Builder, target: Target | None) -> Wish:
    """Return the engine that a spec asks for on a target."""
    recipe = recipe_from(spec)
    key = engine_key(recipe=recipe, target=target, builder=builder)
    source = Source.model_validate(spec.model.model_dump(exclude={"task"}))
    made = YoloEngineSpec(
        key=key,
        source=source,
        labelled=labelled(spec),
        calibration=spec.engine.calibration,
        recipe=recipe,
        target=target,
        builder=builder,
    )
    return Wish(engine_name(key), made)


def target_of(spec: YoloDeploymentSpec, choice: Choice, labels: Mapping[str, str]) -> Target | Verdict | None:
    """Return the hardware to compile for, read from the node's labels; None where the backend does not care."""
    if spec.engine.backend == "ONNXRuntime":
        return None
    found = target_in(labels, choice.resource, choice.profile)
    if isinstance(found, Target):
        return found
    told = f"node labels {', '.join(found)} are missing; run NVIDIA's GPU feature discovery on the nodes"
    return Verdict(ok=False, reason=Reason.NO_MATCHING_PROFILE, message=told)


def target_in(labels: Mapping[str, str], resource: str, profile: str) -> Target | tuple[str, ...]:
    """Return what a node's labels say of one kind of its slices, or which labels are missing."""
    prefix = GPU_RESOURCE if profile == WHOLE else resource
    asked = {
        "major": "nvidia.com/gpu.compute.major",
        "minor": "nvidia.com/gpu.compute.minor",
        "sms": f"{prefix}.multiprocessors",
        "memory": f"{prefix}.memory",
    }
    seen = {key: labels.get(label, "") for key, label in asked.items()}
    if missing := tuple(asked[key] for key, value in seen.items() if not value.isdigit()):
        return missing
    return Target(
        compute_capability=f"{seen['major']}.{seen['minor']}",
        sm_count=int(seen["sms"]),
        memory_mib=int(seen["memory"]),
    )


def served_endpoints(view: DeploymentView, engines: Mapping[tuple[str, str], EngineView]) -> tuple[Endpoint, ...]:
    """Return the endpoints that answer whichever pod a client meets; before a pod is ready, those that will."""
    serving = {pod.engine for pod in view.pods if pod.ready and not pod.terminating}
    names = serving or {group.engine for group in view.groups}
    made = [engines[key].spec.recipe.endpoints for name in names if (key := (view.namespace, name)) in engines]
    return tuple(one for one in SUFFIX if made and all(one in endpoints for endpoints in made))


def verdict(engine: EngineView | None, *, name: str, gate: AccuracyGate | None = None) -> Verdict:
    """Say how far an engine is, and whether it is accepted, in the words of a deployment's condition EngineReady."""
    if engine is None:
        return Verdict(ok=False, reason=Reason.WAITING_FOR_BUILD, message=f"YoloEngine {name} is being created")
    status = engine.status
    if status.artifact is not None:
        return _published(status, name, gate)
    ready = next((c for c in status.conditions if c.type == "Ready"), None)
    if ready is not None and ready.reason == Reason.WAITING_FOR_BUILD_SLICE:
        told = f"YoloEngine {name} waits for a slice to be built on: {ready.message}"
        return Verdict(ok=False, reason=Reason.WAITING_FOR_BUILD_SLICE, message=told)
    if status.failure is not None:
        return _failed(engine, status)
    if status.stage is None:
        return Verdict(ok=False, reason=Reason.WAITING_FOR_BUILD, message=_waiting(engine))
    told = f"YoloEngine {name}: {status.stage} {status.progress_percent} % {status.message}".rstrip()
    return Verdict(ok=False, reason=Reason.BUILDING, message=told)


def _published(status: YoloEngineStatus, name: str, gate: AccuracyGate | None) -> Verdict:
    if why := lost(gate, status.gate):
        return Verdict(ok=False, reason=Reason.BUILD_REFUSED, message=why)
    return Verdict(ok=True, reason=Reason.ENGINE_READY, message=f"YoloEngine {name} is published")


def _failed(engine: EngineView, status: YoloEngineStatus) -> Verdict:
    told = status.failure.sentence() if status.failure else ""
    if status.next_attempt_time is None:
        return Verdict(ok=False, reason=Reason.BUILD_REFUSED, message=told)
    again = f"{told} (attempt {status.attempts} of YoloEngine {engine.name}; the next at {status.next_attempt_time})"
    return Verdict(ok=False, reason=Reason.BUILD_FAILED, message=again)


def _waiting(engine: EngineView) -> str:
    queued = next((c.message for c in engine.status.conditions if c.type == "Ready"), "")
    return queued or f"YoloEngine {engine.name} waits for its build to start"

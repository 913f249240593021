"""How many replicas: for now the bounds of the spec decide, demand does not."""

from __future__ import annotations

from dataclasses import dataclass

from yolofleet.api.yolodeployment import YoloDeploymentSpec


@dataclass(frozen=True)
class Desired:
    """A count, and why."""

    replicas: int
    reason: str
    message: str


def desired(spec: YoloDeploymentSpec) -> Desired:
    """Return the replicas that a spec asks for."""
    scaling = spec.scaling
    if spec.suspend:
        return Desired(0, "Suspended", "spec.suspend is true: no replicas")
    if scaling.mode == "External":
        return Desired(spec.replicas, "External", f"scaling.mode External: spec.replicas says {spec.replicas}")
    return Desired(
        scaling.min_replicas,
        "MinReplicas",
        f"scaling.minReplicas {scaling.min_replicas} (replicas do not follow the load yet)",
    )

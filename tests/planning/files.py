"""Small snapshot files for tests: one node of two H100, mixed slices, three deployments of one model."""

from __future__ import annotations

from typing import Any

H100, A100 = "NVIDIA-H100-80GB-HBM3", "NVIDIA-A100-SXM4-80GB"
WORTH = {"1g.10gb": (400, 40), "2g.20gb": (850, 20), "3g.40gb": (1500, 9)}
"""Frames per second and p99 in ms, by profile."""
SLICES = {"nvidia.com/mig-1g.10gb": 5, "nvidia.com/mig-2g.20gb": 1, "nvidia.com/mig-3g.40gb": 2}
Document = dict[str, Any]


def curve(profile: str, fps: int, p99_ms: int, product: str = H100) -> Document:
    point = {"endpoint": "Ultralytics", "batch": 8, "instances": 1, "framesPerSecond": fps}
    point |= {"p50Microseconds": p99_ms * 500, "p99Microseconds": p99_ms * 1000}
    return {"source": "Measured", "product": product, "profile": profile, "smCount": 16, "points": [point]}


def recipe(model: str = "yolo26n", **parts: Any) -> Document:
    return {
        "weights": f"builtin:{model}",
        "task": "Detect",
        "backend": "TensorRT",
        "precision": "FP16",
        "imageSize": {"height": 640, "width": 640},
        "maxBatchSize": 32,
        "endpoints": ["Ultralytics"],
    } | parts


def engine(name: str = "e-1", factor: float = 1, **parts: Any) -> Document:
    told = [curve(profile, round(fps * factor), ms) for profile, (fps, ms) in WORTH.items()]
    return {"namespace": "cams", "name": name, "recipe": recipe(**parts), "curves": told}


def deployment(name: str, streams: int | None, ms: int, runs: dict[str, int] | None = None, **spec: Any) -> Document:
    demand = {} if streams is None else {"demand": {"streams": streams, "framesPerSecond": "15"}}
    groups = [
        {"profile": profile, "product": H100, "replicas": n, "readyReplicas": n} for profile, n in (runs or {}).items()
    ]
    asked = {"model": {"builtin": "yolo26n"}, "objective": {"p99LatencyMilliseconds": ms}} | demand | spec
    return {"namespace": "cams", "name": name, "spec": asked, "groups": groups}


def holder(resource: str, deployment: str | None, name: str = "") -> Document:
    return {"name": name or f"{deployment or 'other/x'}-1", "resource": f"nvidia.com/mig-{resource}"} | (
        {"deployment": deployment} if deployment else {}
    )


def node(*holders: Document, name: str = "n1", slices: dict[str, int] | None = None, **parts: Any) -> Document:
    resources = {key: {"allocatable": n} for key, n in (SLICES if slices is None else slices).items()}
    return {"name": name, "product": H100, "gpuCount": 2, "resources": resources, "holders": list(holders)} | parts


def snapshot(**parts: Any) -> Document:
    """Return a snapshot: gate and yard run, yard on more than it needs; dock does not yet; a slice is somebody's."""
    held = [holder("1g.10gb", "cams/gate"), holder("1g.10gb", None), holder("3g.40gb", "cams/yard")]
    return {
        "version": 1,
        "takenAt": "2026-01-01T12:00:00Z",
        "nodes": [node(*held)],
        "deployments": [
            deployment("gate", 30, 100, {"1g.10gb": 1}),
            deployment("yard", 10, 30, {"3g.40gb": 1}),
            deployment("dock", 40, 12),
        ],
        "engines": [engine()],
        "pools": [{"name": "default", "spec": {"costs": [{"product": H100, "perGPUHour": "4"}]}}],
    } | parts

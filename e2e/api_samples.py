"""The samples of crds/ as bases for odd values: together they have every field of every kind."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import yaml

SAMPLES = Path(__file__).resolve().parent.parent / "crds/samples"
DIGEST = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
MODELS: tuple[dict[str, Any], ...] = (
    {"builtin": "yolo26n"},
    {"pvc": {"claimName": "weights", "path": "a/best.pt", "sha256": DIGEST}},
    {
        "s3": {
            "bucket": "models",
            "key": "a/best.pt",
            "endpoint": "https://s3.example.com",
            "secretRef": {"name": "reader"},
            "sha256": DIGEST,
        }
    },
    {"oci": {"image": f"registry.example.com/models/a@sha256:{DIGEST}"}},
)
SCHEDULE = {"name": "rush", "cron": "30 6 * * 1-5", "durationMinutes": 60, "minReplicas": 3}
EDGES: tuple[dict[str, Any], ...] = (
    {"scaling": {"mode": "Declared"}, "demand": {"streams": 1, "framesPerSecond": "15"}},
    {"scaling": {"mode": "External"}, "placement": {"profiles": ["gpu"]}},
    {"scaling": {"minReplicas": 3, "maxReplicas": 3, "schedules": [SCHEDULE]}},
    {"engine": {"backend": "ONNXRuntime", "precision": "FP32"}},
    {"engine": {"backend": "ONNXRuntime", "precision": "INT8", "calibration": {"source": {"builtin": "yolo26n"}}}},
    {"engine": {"backend": "ONNXRuntime", "portable": "IfPresent"}},
    {"engine": {"precision": "FP8", "calibration": {"source": {"builtin": "yolo26n"}}}},
    {"serving": {"resources": {"requests": {"cpu": "1000m", "memory": "1Ki"}, "limits": {"cpu": 1, "memory": 1024}}}},
    {"serving": {"tolerations": [{"operator": "Exists", "value": ""}]}},
    {"serving": {"tolerations": [{"key": "a", "effect": "NoExecute", "tolerationSeconds": 0}]}},
)
"""Specs that just satisfy a rule across fields, so that one odd value breaks it."""
ENGINE: dict[str, Any] = {
    "key": DIGEST,
    "labelled": {"source": {"pvc": {"claimName": "datasets", "path": "val.zip"}}, "images": 500},
    "calibration": {
        "source": {"http": {"url": "https://files.example.com/frames.zip", "sha256": DIGEST}},
        "images": 512,
    },
    "recipe": {
        "weights": f"sha256:{DIGEST}",
        "task": "Detect",
        "backend": "TensorRT",
        "precision": "INT8",
        "imageSize": {"height": 640, "width": 384},
        "maxBatchSize": 16,
        "endpoints": ["Ultralytics", "Frames"],
        "calibration": f"sha256:{DIGEST} x512",
        "dataset": "pvc:datasets/val.zip x500",
        "frames": {"format": "NV12", "sourceSize": {"height": 1080, "width": 1920}},
    },
    "target": {
        "computeCapability": "9.0",
        "smCount": 16,
        "memoryMiB": 9984,
        "hardwareCompatibility": "SameComputeCapability",
    },
    "builder": {"image": "localhost/yolofleet/builder:dev", "version": "1", "tensorrtVersion": "10.9.0"},
}


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the manifests of one file."""
    return list(yaml.safe_load_all(path.read_text()))


@functools.cache
def base_specs(kind: str) -> list[Any]:
    """Return specs of a kind that have every field, every source, and stand at the edge of every rule."""
    if kind == "MigPool":
        pool = _sample("migpool-mig-manager")
        return [pool, pool | {"partitioning": {"mode": "DRA", "dra": {"deviceClassName": "mig.nvidia.com"}}}]
    full = _sample("yolodeployment-full")
    if kind == "YoloDeployment":
        return [full, *({"model": model} for model in MODELS), *({"model": MODELS[0]} | edge for edge in EDGES)]
    http = {"http": full["model"]["http"]}
    return [{"source": source} | ENGINE for source in (http, *MODELS)]


def _sample(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = documents(SAMPLES / f"{name}.yaml")[0]["spec"]
    return spec

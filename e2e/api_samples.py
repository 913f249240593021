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
ENGINE: dict[str, Any] = {
    "key": DIGEST,
    "recipe": {
        "weights": f"sha256:{DIGEST}",
        "task": "Detect",
        "backend": "TensorRT",
        "precision": "INT8",
        "imageSize": {"height": 640, "width": 384},
        "maxBatchSize": 16,
        "endpoints": ["Ultralytics", "Frames"],
        "calibration": f"sha256:{DIGEST}",
    },
    "target": {"computeCapability": "9.0", "smCount": 16, "memoryMiB": 9984},
    "builder": {"image": "localhost/yolofleet/builder:dev", "version": "1", "tensorrtVersion": "10.9.0"},
}


def documents(path: Path) -> list[dict[str, Any]]:
    """Return the manifests of one file."""
    return list(yaml.safe_load_all(path.read_text()))


@functools.cache
def base_specs(kind: str) -> list[Any]:
    """Return specs of a kind that have every field: the fullest sample, and one for each other source."""
    if kind == "MigPool":
        pool = _sample("migpool-mig-manager")
        return [pool, pool | {"partitioning": {"mode": "DRA", "dra": {"deviceClassName": "mig.nvidia.com"}}}]
    full = _sample("yolodeployment-full")
    if kind == "YoloDeployment":
        return [full, *({"model": model} for model in MODELS)]
    http = {"http": full["model"]["http"]}
    return [{"source": source} | ENGINE for source in (http, *MODELS)]


def _sample(name: str) -> dict[str, Any]:
    spec: dict[str, Any] = documents(SAMPLES / f"{name}.yaml")[0]["spec"]
    return spec

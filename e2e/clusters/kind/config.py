"""The configuration that kind makes the cluster from."""

from __future__ import annotations

from typing import Any

from e2e.clusters.kind.place import GPUS_IN_NODE, KindPlace

# The default node image of kind v0.33.0, as its own source names it. Another one: README.md, "Versions".
NODE_IMAGE = "kindest/node:v1.37.0@sha256:a1ed56cfb0e7b93589bdf97c8cd566405a265939e3620fc4f5de89adff580ae5"
FAKE_GPUS_LABEL = "yolofleet.dev/fake-gpus"
REAL_GPUS_LABEL = "nvidia.com/gpu.present"


def kind_config(place: KindPlace, *, real: bool, image: str = NODE_IMAGE) -> dict[str, Any]:
    """A control plane and one worker with GPUs; no feature gate is needed, and containerd stays as kind has it."""
    return {
        "kind": "Cluster",
        "apiVersion": "kind.x-k8s.io/v1alpha4",
        "name": place.cluster,
        "nodes": [{"role": "control-plane", "image": image}, _worker(place, real=real, image=image)],
    }


def _worker(place: KindPlace, *, real: bool, image: str) -> dict[str, Any]:
    """With real GPUs a mount asks NVIDIA's runtime for all of them: an environment variable cannot be set with kind."""
    if real:
        mount = {"hostPath": "/dev/null", "containerPath": "/var/run/nvidia-container-devices/all"}
        label = REAL_GPUS_LABEL
    else:
        mount = {"hostPath": str(place.gpus()), "containerPath": str(GPUS_IN_NODE)}
        label = FAKE_GPUS_LABEL
    return {"role": "worker", "image": image, "labels": {label: "true"}, "extraMounts": [mount]}

"""A Triton python-based backend that stands in for NVIDIA's `tensorrt` backend: one execution context per instance.

It serves the same repository (`model.plan` beside a `config.pbtxt` whose backend is "tensorrt") where Triton's own
backend was built for another TensorRT than the one that made the engine. CUDA graphs are taken for the batches that the
configuration names, as there.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from backend_parts.joining import Feed, JoiningModel
from backend_parts.served_engine import ServedEngine


class TritonPythonModel(JoiningModel):
    """One instance of the model."""

    backend = "tensorrt"
    model_file = "model.plan"

    def open(
        self, path: Path, config: Mapping[str, Any], args: Mapping[str, str]
    ) -> tuple[Sequence[str], Sequence[str]]:
        """Load the engine on the instance's GPU."""
        cuda = config.get("optimization", {}).get("cuda", {})
        graphs = [int(spec["batch_size"]) for spec in cuda.get("graph_spec", [])] if cuda.get("graphs") else []
        self._engine = ServedEngine(path, graph_batches=graphs, device=int(args.get("model_instance_device_id") or 0))
        return self._engine.inputs, self._engine.outputs

    def run(self, feed: Feed, outputs: Sequence[str]) -> list[np.ndarray]:
        """Run one batch."""
        results = self._engine.run(feed)
        return [results[name] for name in outputs]

    def finalize(self) -> None:
        """Give the GPU's memory back."""
        self._engine.close()

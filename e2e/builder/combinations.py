"""Runs where the builder image and Triton are one: loads every combination of a repository into the real server.

Task × endpoints × largest batch × instances × tuned or not, with one model of each task; prints one JSON object.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tritonclient import grpc

from e2e.builder import inside, served
from model_repo_builder.config_lint import repository_findings
from model_repo_builder.triton_config import parse

if TYPE_CHECKING:
    from collections.abc import Iterator

SIZE = 96
BATCHES, INSTANCES = (1, 8), (1, 3)
ENDPOINTS: list[tuple[str, ...]] = [("Ultralytics",), ("Frames",), ("Ultralytics", "Frames")]
PICTURES: list[tuple[str, ...]] = [("JPEG",), ("Ultralytics", "JPEG"), ("Ultralytics", "Frames", "JPEG")]
"""Of all tasks but Classify, which is not served pictures."""
CAMERAS = "NV12:64x128"
NAME = "gate"
NUMPY = {"FP32": np.float32, "UINT8": np.uint8}


@contextmanager
def triton() -> Iterator[grpc.InferenceServerClient]:
    """Run the real server with the operator's own arguments; models come and go as they are asked for."""
    told = [f"--model-repository={inside.MODELS}" if "--model-repo" in one else one for one in served.ARGUMENTS]
    # What ends connections after seconds would end this one in the middle of a call.
    told = [one for one in told if "--grpc-max-connection-age" not in one]
    server = subprocess.Popen(["tritonserver", *told], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with grpc.InferenceServerClient(served.ADDRESS) as asked:
            until = time.monotonic() + 60
            while not served.ready(asked):
                if server.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("tritonserver did not start")
                time.sleep(0.2)
            yield asked
    finally:
        server.terminate()
        server.wait(60)


def tuned(endpoints: tuple[str, ...], batch: int, instances: int) -> tuple[str, ...]:
    """Return the arguments that tune a repository by a curve of one point."""
    point = {"batch": batch, "instances": instances, "framesPerSecond": 100, "p50Microseconds": 1, "p99Microseconds": 9}
    place = {"source": "Measured", "product": "CPU", "profile": "gpu", "smCount": 1}
    path = inside.WORK / "curve.json"
    path.write_text(json.dumps(place | {"points": [point | {"endpoint": one} for one in endpoints]}))
    return "--curve", str(path), "--objective-ms", "100"


def loaded(server: grpc.InferenceServerClient) -> list[str]:
    """Load what lies in the repository, ask each model that takes frames once, and say what is wrong."""
    wrong: list[str] = []
    configs = {path.parent.name: parse(path.read_text()) for path in sorted(inside.MODELS.glob("*/config.pbtxt"))}
    wrong += [str(one) for one in repository_findings(list(configs.values()), ultralytics=NAME)]
    names = sorted(configs, key=lambda name: len(configs[name].ensemble_scheduling.step))
    for name in names:
        try:
            server.load_model(name)
            kept = server.get_model_config(name).config
            if (kept.max_batch_size, len(kept.input)) != (configs[name].max_batch_size, len(configs[name].input)):
                wrong.append(f"{name}: the server has another configuration")
            if name in (NAME, f"{NAME}_frames"):
                _asked(server, name, configs[name])
        except grpc.InferenceServerException as error:
            wrong.append(f"{name}: {error.message()}")
    for name in reversed(names):
        server.unload_model(name)
    return wrong


def _asked(server: grpc.InferenceServerClient, name: str, config: Any) -> None:
    """Send one frame, and nothing that is optional."""
    first = config.input[0]
    kind = {11: "FP32", 2: "UINT8"}[first.data_type]  # inference.DataType
    value = np.zeros((1, *first.dims), NUMPY[kind])
    tensor = grpc.InferInput(first.name, list(value.shape), kind)
    tensor.set_data_from_numpy(value)
    if not server.infer(name, [tensor]).get_response().outputs:
        raise RuntimeError(f"{name} answers nothing")


def _built(path: Path, task: str, frames: str) -> str:
    """Build a model with all endpoints that it may have; return its key."""
    endpoints = ["Ultralytics", "Frames", *(["JPEG"] if task != "Classify" and frames == "RGB" else [])]
    chosen = [part for one in endpoints for part in ("--endpoint", one)]
    return inside.key_of(inside.build(path, task, SIZE, SIZE, *chosen, "--frames", frames)[0])


def run() -> dict[str, Any]:
    """Build each task, assemble each combination, load it, tell."""
    for folder in (inside.WORK, inside.STORE, inside.MODELS):
        folder.mkdir(parents=True)
    told: dict[str, list[str]] = {}
    with triton() as server:
        for name, task in served.MODELS.items():
            path = inside.saved(inside.random_model(name), name)
            sets = [*ENDPOINTS, *(PICTURES if task != "Classify" else [])]
            cases = [(one, "RGB") for one in sets]
            cases += [(("Ultralytics", "Frames"), CAMERAS)] if task != "Classify" else []
            keys = {frames: _built(path, task, frames) for frames in {frames for _, frames in cases}}
            for (endpoints, frames), batch, instances, by_curve in product(cases, BATCHES, INSTANCES, (False, True)):
                shutil.rmtree(inside.MODELS)
                inside.MODELS.mkdir()
                chosen = [part for one in endpoints for part in ("--endpoint", one)]
                numbers = ["--max-batch-size", str(batch), "--instances", str(instances)]
                more = tuned(endpoints, batch, instances) if by_curve else ()
                inside.assemble(keys[frames], NAME, *chosen, *numbers, *more)
                case = f"{task} {'+'.join(endpoints)} {frames} batch {batch} x{instances} curve {by_curve}"
                told[case] = loaded(server)
                print(case, told[case], file=sys.stderr, flush=True)
    return told


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    print(json.dumps(run()))

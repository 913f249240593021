"""Engines of the builder's store through the real tritonserver: boxes beside ONNX Runtime's, speed beside no server.

`python -m e2e.gpu.served --store S --data D --rows R --scratch /tmp/served --model NAME`, where `tritonserver` is on
PATH: in NVIDIA's image, or as `python -m e2e.gpu.triton_root` packs it. The store holds engines of one model, one of
them for ONNX Runtime: the others are compared with that.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from e2e.gpu import pictures
from e2e.gpu.bench import Row, Sheet, told
from model_repo_builder import boxes, frame_layout, gates, heads, measure, onnx_graph, repository, served_curve
from model_repo_builder.endpoints import boxes_of
from model_repo_builder.manifest import FRAMES_FILE, MODEL_FILE, Manifest
from model_repo_builder.store import FolderStore
from yolofleet.api.build import ServeRequest
from yolofleet.api.endpoints import model_name
from yolofleet.api.recipe import Endpoint
from yolofleet.api.tuning import ModelTuning

if TYPE_CHECKING:
    import numpy.typing as npt
    from tritonclient import grpc

    Arrays = dict[str, npt.NDArray[Any]]

NAME = "served"
ENDPOINTS: tuple[Endpoint, ...] = ("Ultralytics", "Frames")
LIMITS = boxes.Thresholds()
INSTANCES = (1, 2)
CLIENTS = (1, 4, 16)
SECONDS = 3.0


def engines(store: Path) -> Iterator[Manifest]:
    """Yield what is published, every checksum verified."""
    for folder in sorted(store.iterdir()):
        found = FolderStore(store).find(folder.name) if (folder / "manifest.json").is_file() else None
        if found is not None:
            yield found.manifest


def inputs(endpoint: Endpoint, frames: npt.NDArray[np.uint8], one: Manifest) -> Arrays:
    """Return what a client sends for RGB frames of the network's size."""
    if endpoint == "Ultralytics":
        return {one.inputs[0].name: pictures.normalised(frames)}
    layout = frame_layout.layout_of(one.recipe.image_size, frame_layout.FrameFormat())
    values = frame_layout.defaults(layout, confidence=LIMITS.confidence, iou=LIMITS.iou, most=LIMITS.max_detections)
    kinds = {"INT32": np.int32, "FP32": np.float32}
    graph = one.frames
    assert graph is not None
    limits = {
        each.name: np.repeat(np.array([values[each.name]], kinds[each.data_type]), len(frames), axis=0)
        for each in graph.optional_inputs
    }
    return {graph.inputs[0].name: frames, **limits}


def seen(endpoint: Endpoint, answer: Arrays, one: Manifest) -> list[boxes.Boxes]:
    """Return the boxes of an answer."""
    head = heads.derived(one.recipe.task, tuple(tuple(each.dims[1:]) for each in one.outputs))
    assert head is not None
    if endpoint == "Ultralytics":
        return boxes.from_raw([answer[each.name] for each in one.outputs], head, LIMITS)
    return [boxes_of(answer, index, head) for index in range(len(answer["num_dets"]))]


def by_onnx(store: Path, one: Manifest, endpoint: Endpoint, frames: npt.NDArray[np.uint8]) -> list[boxes.Boxes]:
    """Return what ONNX Runtime sees, frame by frame, in the graph that was published for it."""
    name = (MODEL_FILE if endpoint == "Ultralytics" else FRAMES_FILE)["ONNXRuntime"]
    session = onnx_graph.session(str(store / one.key / name))
    outputs = [output.name for output in session.get_outputs()]
    found = []
    for frame in frames:
        answer = session.run(None, inputs(endpoint, frame[None], one))
        found += seen(endpoint, dict(zip(outputs, answer, strict=True)), one)
    return found


class Client:
    """Asks one model of a server for batches; each thread has its own."""

    def __init__(self, url: str, model: str) -> None:
        from tritonclient import grpc

        self._grpc, self._model = grpc, model
        self._server: grpc.InferenceServerClient = grpc.InferenceServerClient(url)

    def ask(self, given: Arrays) -> Arrays:
        """Return all outputs."""
        kinds = {"uint8": "UINT8", "float32": "FP32", "int32": "INT32"}
        sent = []
        for name, value in given.items():
            sent.append(self._grpc.InferInput(name, list(value.shape), kinds[value.dtype.name]))
            sent[-1].set_data_from_numpy(value)
        answer = self._server.infer(self._model, sent)
        return {each.name: answer.as_numpy(each.name) for each in answer.get_response().outputs}


def agreement(url: str, one: Manifest, endpoint: Endpoint, wanted: list[boxes.Boxes], frames: Any) -> Row:
    """Return how the served engine's boxes compare with ONNX Runtime's; zero-filled answers would have none."""
    client, found = Client(url, model_name(NAME, endpoint)), list[boxes.Boxes]()
    for start in range(0, len(frames), one.max_batch_size):
        some = frames[start : start + one.max_batch_size]
        found += seen(endpoint, client.ask(inputs(endpoint, some, one)), one)
    told = gates.agree(lambda _: wanted, lambda _: found, frames)
    return {"boxes": told.boxes, "gate": told.sentence(), "failings": told.failings()}


def closed_loop(steps: list[Any], batch: int) -> Row:
    """Run each step in a thread of its own for some seconds; latencies are of whole steps."""
    runs: list[tuple[float, float]] = []
    lock = threading.Lock()
    until = time.monotonic() + SECONDS

    def work(step: Any) -> None:
        step()
        mine: list[tuple[float, float]] = []
        while time.monotonic() < until:
            began = time.monotonic()
            step()
            mine.append((began, time.monotonic()))
        with lock:
            runs.extend(mine)

    threads = [threading.Thread(target=work, args=(step,)) for step in steps]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    point = measure.summed("Ultralytics", batch, len(steps), runs, weight=0)
    return {
        "images_per_s": point.frames_per_second,
        "p50_ms": point.p50_microseconds / 1e3,
        "p99_ms": point.p99_microseconds / 1e3,
    }


def without_triton(store: Path, one: Manifest, endpoint: Endpoint, given: Arrays, instances: int) -> list[Any]:
    """Return steps of the same backend's engine in this process, host to host, one execution context each."""
    from e2e.images.triton.backend_parts.served_engine import ServedEngine

    plan = store / one.key / (MODEL_FILE if endpoint == "Ultralytics" else FRAMES_FILE)["TensorRT"]
    batch = len(next(iter(given.values())))
    made = [ServedEngine(plan, graph_batches=[batch]) for _ in range(instances)]
    return [lambda engine=engine: engine.run(given) for engine in made]


def speeds(sheet: Sheet, base: Row, url: str, store: Path, one: Manifest, endpoint: Endpoint, frames: Any) -> None:
    """Measure one endpoint: the curve through Triton, the same points without it, and clients with a frame each."""
    batches = tuple(sorted({1, one.max_batch_size}))
    model = model_name(NAME, endpoint)
    ask = measure.Ask(url=url, model=model, endpoint=endpoint, batches=batches, instances=INSTANCES, budget_s=20.0)
    with told(sheet, {**base, "path": "triton_curve"}) as row:
        row["points"] = [point.wire() for point in measure.curve_points(ask, lambda _fraction, _words: None)]
    if one.backend == "TensorRT":
        for batch in batches:
            for instances in INSTANCES:
                with told(sheet, {**base, "path": "no_triton", "batch": batch, "instances": instances}) as row:
                    given = inputs(endpoint, frames[:batch], one)
                    row.update(closed_loop(without_triton(store, one, endpoint, given, instances), batch))
    single = inputs(endpoint, frames[:1], one)
    for clients in CLIENTS:
        with told(sheet, {**base, "path": "triton", "batch": 1, "clients": clients}) as row:
            several = [Client(url, model) for _ in range(clients)]
            row.update(closed_loop([lambda client=client: client.ask(single) for client in several], 1))


def serve(asked: argparse.Namespace, sheet: Sheet, one: Manifest, reference: Manifest, frames: Any) -> None:
    """Assemble one engine as a pod does, serve it, compare, measure."""
    endpoints = [each for each in ENDPOINTS if each in one.recipe.endpoints and each in reference.recipe.endpoints]
    batches = sorted({1, one.max_batch_size})
    tuning = [
        ModelTuning(endpoint=each, max_batch_size=one.max_batch_size, cuda_graph_batches=batches) for each in endpoints
    ]
    request = ServeRequest(
        key=one.key,
        model_name=NAME,
        max_batch_size=one.max_batch_size,
        endpoints=endpoints,
        tuning=tuning if one.backend == "TensorRT" else None,
    )
    shutil.rmtree(asked.scratch, ignore_errors=True)
    models = asked.scratch / "models"
    models.mkdir(parents=True)
    repository.assemble(FolderStore(asked.store), request, models)
    wanted = {each: by_onnx(asked.store, reference, each, frames) for each in endpoints}
    with served_curve.running(models, asked.scratch / "server.log") as url:
        for each in endpoints:
            base = {"model": asked.model, "engine": one.key[:12], "precision": one.recipe.precision, "endpoint": each}
            with told(sheet, {**base, "path": "boxes"}) as row:
                row.update(agreement(url, one, each, wanted[each], frames))
            speeds(sheet, base, url, asked.store, one, each, frames)


def parser() -> argparse.ArgumentParser:
    """Return what this step takes."""
    made = argparse.ArgumentParser(description=__doc__)
    for name in ("store", "data", "rows"):
        made.add_argument(f"--{name}", type=Path, required=True)
    made.add_argument("--model", required=True, help="what the rows call it")
    made.add_argument("--backend", default="TensorRT", choices=["TensorRT", "ONNXRuntime"], help="whose engines")
    made.add_argument("--frames", type=int, default=32, help="labelled frames that are compared")
    made.add_argument("--scratch", type=Path, required=True, help="emptied; the server must see it by the same name")
    return made


def main() -> int:
    """Serve every engine."""
    asked = parser().parse_args()
    if shutil.which(served_curve.SERVER) is None:
        raise SystemExit("tritonserver is not on PATH: run this in NVIDIA's Triton image, or see e2e.gpu.triton_root")
    published = list(engines(asked.store))
    reference = next((one for one in published if one.backend == "ONNXRuntime"), None)
    wanted = [one for one in published if one.backend == asked.backend]
    if reference is None or not wanted:
        raise SystemExit(
            f"{asked.store} holds no engine for {asked.backend if reference else 'ONNXRuntime'}: build one"
        )
    sheet, frames = Sheet(asked.rows), pictures.load(asked.data, "val", asked.frames).frames
    for one in wanted:
        serve(asked, sheet, one, reference, frames)
    return 0


if __name__ == "__main__":
    sys.exit(main())

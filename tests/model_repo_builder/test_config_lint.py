"""Every trap of a config.pbtxt is found where it is planted, and none where the builder writes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from tritonclient.grpc import model_config_pb2

from model_repo_builder import endpoint_models, repository, triton_config
from model_repo_builder.config_lint import findings, repository_findings
from model_repo_builder.heads import Head
from model_repo_builder.manifest import FRAMES_FILE, MODEL_FILE, FramesGraph, Manifest, TensorSpec
from model_repo_builder.metadata import Facts, triton_metadata
from model_repo_builder.triton_config import config_of, parse, text_of
from tests.model_repo_builder.test_triton_config import CASES, DETECT, POSE, metadata
from yolofleet.api.build import ServeRequest
from yolofleet.api.curve import Curve
from yolofleet.api.recipe import Backend, Endpoint, ImageSize, Recipe, Task
from yolofleet.api.tuning import ModelTuning, Tuned, Wanted, tuned

Config = Any
GPU = replace(DETECT, backend="TensorRT")


def names(config: Config, *, client: bool = True) -> list[str]:
    return [found.name for found in findings(config, for_ultralytics=client)]


def planted(change: Callable[[Config], object], model: triton_config.TritonModel = DETECT) -> list[str]:
    config = config_of(model)
    assert names(config) == []
    change(config)
    return names(config)


def told(**changes: Any) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        made = {**DETECT.metadata, **changes} if DETECT.metadata else {}
        config.parameters["metadata"].string_value = repr({k: v for k, v in made.items() if v is not None})

    return change


def literal(text: str) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        config.parameters["metadata"].string_value = text

    return change


def kind(name: str) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        config.input[0].data_type = model_config_pb2.DataType.Value(name)

    return change


def batcher(**changes: int) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        for key, value in changes.items():
            setattr(config.dynamic_batching, key, value)

    return change


def preferred(size: int, *, policy: bool = False) -> Callable[[Config], None]:
    def change(config: Config) -> None:
        config.dynamic_batching.preferred_batch_size.append(size)
        if policy:
            config.dynamic_batching.default_queue_policy.max_queue_size = 8

    return change


def another_input(config: Config) -> None:
    config.input.add(name="more", data_type=model_config_pb2.DataType.Value("TYPE_FP32"), dims=[1])
    config.model_warmup[0].inputs["more"].zero_data = True


def swapped(config: Config) -> None:
    config.output.add(name="boxes", dims=[1])


def graph(config: Config) -> None:
    config.optimization.cuda.graph_spec.add(batch_size=3)


TRAPS: dict[str, tuple[Callable[[Config], object], triton_config.TritonModel]] = {
    "uint8-for-ultralytics": (kind("TYPE_UINT8"), DETECT),
    "client-type": (kind("TYPE_BF16"), DETECT),
    "client-inputs": (another_input, DETECT),
    "outputs-out-of-order": (swapped, DETECT),
    "no-metadata": (literal(""), DETECT),
    "metadata-no-literal": (literal('{"end2end": true, "names": null}'), DETECT),
    "metadata-incomplete": (told(stride=None), DETECT),
    "metadata-batch": (told(batch=8), DETECT),
    "metadata-dynamic": (told(args={"dynamic": True}), DETECT),
    "metadata-keypoints": (told(task="pose"), DETECT),
    "metadata-names": (told(names={"0": "person"}), DETECT),
    "metadata-size": (told(imgsz=[384, 640]), DETECT),
    "no-dynamic-batching": (lambda config: config.ClearField("dynamic_batching"), DETECT),
    "queue-delay": (batcher(max_queue_delay_microseconds=20_000), DETECT),
    "preferred-with-policy": (preferred(4, policy=True), DETECT),
    "preferred-too-large": (preferred(64), DETECT),
    "no-instance-group": (lambda config: config.ClearField("instance_group"), DETECT),
    "gpu-by-number": (lambda config: config.instance_group[0].gpus.append(0), GPU),
    "engine-off-the-gpu": (lambda config: setattr(config.instance_group[0], "kind", 2), GPU),
    "no-platform": (lambda config: setattr(config, "platform", ""), GPU),
    "name": (lambda config: setattr(config, "name", "v2/models/gate"), DETECT),
    "free-size": (lambda config: config.input[0].dims.__setitem__(1, -1), DETECT),
    "optional-in-a-plan": (lambda config: setattr(config.input[0], "optional", True), GPU),
    "decoupled": (lambda config: setattr(config.model_transaction_policy, "decoupled", True), DETECT),
    "no-warm-up": (lambda config: config.ClearField("model_warmup"), DETECT),
    "warm-up-input": (lambda config: config.model_warmup[0].inputs.clear(), DETECT),
    "graph-not-warmed": (graph, GPU),
}


@pytest.mark.parametrize("name", TRAPS)
def test_a_planted_trap_is_found(name: str) -> None:
    change, model = TRAPS[name]
    assert name in planted(change, model)


@pytest.mark.parametrize("name", CASES)
def test_golden_files_have_none(name: str) -> None:
    assert names(config_of(CASES[name])) == []


def test_graphs_of_batches_are_warmed_up() -> None:
    assert names(config_of(replace(GPU, graph_batches=(1, 2, 4, 8)))) == []


HEADS: dict[Task, tuple[Head, list[TensorSpec]]] = {
    "Detect": (Head(task="Detect", classes=2), [TensorSpec(name="output0", data_type="FP32", dims=[-1, 6, 8400])]),
    "Segment": (
        Head(task="Segment", classes=1, masks=32),
        [
            TensorSpec(name="output0", data_type="FP32", dims=[-1, 37, 8400]),
            TensorSpec(name="output1", data_type="FP32", dims=[-1, 32, 160, 160]),
        ],
    ),
    "Pose": (POSE, [TensorSpec(name="output0", data_type="FP32", dims=[-1, 56, 8400])]),
    "OBB": (Head(task="OBB", classes=2), [TensorSpec(name="output0", data_type="FP32", dims=[-1, 7, 8400])]),
    "Classify": (Head(task="Classify", classes=2), [TensorSpec(name="output0", data_type="FP32", dims=[-1, 2])]),
}
FRAMES = FramesGraph(
    inputs=[TensorSpec(name="frames", data_type="UINT8", dims=[-1, 640, 640, 3])],
    optional_inputs=[
        TensorSpec(name="confidence", data_type="FP32", dims=[-1, 1]),
        TensorSpec(name="geometry", data_type="FP32", dims=[-1, 5]),
    ],
    outputs=[TensorSpec(name="boxes", data_type="FP32", dims=[-1, 300, 4])],
)


def told_of(task: Task, backend: Backend, endpoints: list[Endpoint], kind_of_input: str) -> Manifest:
    head, outputs = HEADS[task]
    facts = Facts(head=head, names=tuple(f"it's {index}" for index in range(head.classes)))
    recipe = {"weights": "x", "task": task, "backend": backend, "precision": "FP32", "imageSize": {}}
    return Manifest.model_validate(
        {
            "key": "0" * 64,
            "backend": backend,
            "maxBatchSize": 8,
            "files": [
                {"path": name, "sha256": "0" * 64, "sizeBytes": 1}
                for name in (MODEL_FILE[backend], FRAMES_FILE[backend])
            ],
            "inputs": [TensorSpec(name="images", data_type=kind_of_input, dims=[-1, 3, 640, 640])],
            "outputs": outputs,
            "metadata": triton_metadata(facts, ImageSize()),
            "recipe": Recipe.model_validate({**recipe, "maxBatchSize": 8, "endpoints": endpoints}),
            "provenance": {},
            "frames": FRAMES,
        }
    )


ENDPOINTS: list[list[Endpoint]] = [["Ultralytics"], ["Ultralytics", "Frames"], ["Frames"], ["Ultralytics", "JPEG"]]
BACKENDS: list[Backend] = ["ONNXRuntime", "TensorRT"]


def tuned_by_a_curve(
    backend: Backend, endpoints: list[Endpoint], batch: int, instances: int
) -> list[ModelTuning] | None:
    """Return what the operator would send: a batch, instances, a delay, and on a GPU graphs."""
    point = {"batch": batch, "instances": instances, "framesPerSecond": 500, "p50Microseconds": 1, "p99Microseconds": 1}
    points = [point | {"endpoint": endpoint} for endpoint in endpoints]
    place = {"source": "Measured", "product": "x", "profile": "gpu", "smCount": 1}
    curve = Curve.model_validate(place | {"points": points})
    found = [tuned(curve, Wanted(endpoint=one, backend=backend, p99_ms=50)) for one in endpoints]
    return [one.model for one in found if isinstance(one, Tuned)]


@pytest.mark.parametrize(("backend", "endpoints"), list(product(BACKENDS, ENDPOINTS)))
def test_every_combination_parses_and_has_no_trap(backend: Backend, endpoints: list[Endpoint]) -> None:
    for task, kind_of_input, batch, instances, by_curve in product(
        HEADS, ("FP32", "FP16"), (1, 8), (1, 3), (False, True)
    ):
        manifest = told_of(task, backend, endpoints, kind_of_input)
        request = ServeRequest(
            key="0" * 64,
            model_name="gate",
            max_batch_size=batch,
            instances=instances,
            endpoints=endpoints,
            tuning=tuned_by_a_curve(backend, endpoints, batch, instances) if by_curve else None,
        )
        parts = [repository._raw(manifest, request)] if "Ultralytics" in endpoints else []
        parts += endpoint_models.parts(manifest, request) if endpoints != ["Ultralytics"] else []
        configs = [parse(text_of(part.config)) for part in parts]
        assert configs == [part.config for part in parts]
        assert repository_findings(configs, ultralytics="gate") == []


def test_steps_of_an_ensemble_are_looked_at() -> None:
    endpoints: list[Endpoint] = ["Ultralytics", "JPEG"]
    manifest = told_of("Detect", "ONNXRuntime", endpoints, "FP32")
    request = ServeRequest(key="0" * 64, model_name="gate", max_batch_size=8, endpoints=endpoints)
    raw, *rest = [part.config for part in endpoint_models.parts(manifest, request)]
    ensemble = rest[-1]
    assert [each.name for each in repository_findings([raw, ensemble])] == ["step-unknown"]
    ensemble.max_batch_size = 9
    ensemble.ensemble_scheduling.step[1].input_map.pop("frames")
    found = [each.name for each in repository_findings([raw, *rest])]
    assert found == ["step-batch", "step-input", "step-batch"]


def test_metadata_of_a_pose_is_whole() -> None:
    assert names(config_of(replace(DETECT, metadata=metadata(POSE, "person")))) == []

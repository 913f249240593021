"""Finds in a config.pbtxt what others fell into: each trap has a name, and a sentence on what it does."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from model_repo_builder.triton_protobufs import model_config_pb2

if TYPE_CHECKING:
    from collections.abc import Sequence

Config: TypeAlias = "model_config_pb2.ModelConfig"
CLIENT_TYPES = frozenset({"TYPE_FP32", "TYPE_FP16"})
REQUIRED = ("task", "names", "stride", "imgsz")
LONGEST_DELAY_US = 10_000
FREE = -1
IMAGE_RANK = 3


@dataclass(frozen=True)
class Finding:
    """One trap, where, and what it does."""

    name: str
    model: str
    message: str


Rule: TypeAlias = Callable[[Config], Iterator[tuple[str, str]]]


def findings(config: Config, *, for_ultralytics: bool = False) -> list[Finding]:
    """Return the traps in one configuration; `for_ultralytics`: its own client is to read it."""
    rules = [*RULES, *(CLIENT_RULES if for_ultralytics else ())]
    return [Finding(name, config.name, told) for rule in rules for name, told in rule(config)]


def repository_findings(configs: Sequence[Config], *, ultralytics: str | None = None) -> list[Finding]:
    """Return the traps of all models of a repository; `ultralytics` is the one that its own client reads."""
    told = [each for config in configs for each in findings(config, for_ultralytics=config.name == ultralytics)]
    known = {config.name: config for config in configs}
    for config in configs:
        for step in config.ensemble_scheduling.step:
            told += [Finding(name, config.name, words) for name, words in _step(config, step, known)]
    return told


def _step(config: Config, step: Any, known: dict[str, Config]) -> Iterator[tuple[str, str]]:
    inner = known.get(step.model_name)
    if inner is None:
        yield "step-unknown", f"the step {step.model_name} is no model of this repository: the ensemble never loads"
        return
    missing = [each.name for each in inner.input if not each.optional and each.name not in step.input_map]
    if missing:
        yield "step-input", f"{step.model_name} needs {', '.join(missing)}, and nothing feeds it"
    if 0 < inner.max_batch_size < config.max_batch_size or (config.max_batch_size and not inner.max_batch_size):
        yield (
            "step-batch",
            f"{step.model_name} takes {inner.max_batch_size} frames, the ensemble {config.max_batch_size}",
        )


def _batching(config: Config) -> Iterator[tuple[str, str]]:
    if config.ensemble_scheduling.step or config.backend in {"python", "dali"}:
        return
    if config.max_batch_size > 1 and not config.HasField("dynamic_batching"):
        yield "no-dynamic-batching", "frames of different cameras are run one by one, whatever the batch"
    if config.dynamic_batching.max_queue_delay_microseconds > LONGEST_DELAY_US:
        yield (
            "queue-delay",
            f"every frame may wait {config.dynamic_batching.max_queue_delay_microseconds} µs for others",
        )
    if config.dynamic_batching.preferred_batch_size and config.dynamic_batching.HasField("default_queue_policy"):
        yield "preferred-with-policy", "preferred batches and a queue policy together stall for half a second at times"
    if any(size > config.max_batch_size for size in config.dynamic_batching.preferred_batch_size):
        yield "preferred-too-large", "a preferred batch above max_batch_size: the model does not load"


def _places(config: Config) -> Iterator[tuple[str, str]]:
    if config.ensemble_scheduling.step:
        return
    kinds = {each.Kind.Name(each.kind) for each in config.instance_group}
    if not kinds and config.backend != "dali":
        yield "no-instance-group", "Triton makes an instance for each GPU that it sees, or one on the CPU"
    if any(each.gpus for each in config.instance_group):
        yield "gpu-by-number", "a slice has no number: a pod sees one device, whichever it is"
    if config.backend == "tensorrt" and kinds - {"KIND_GPU"}:
        yield "engine-off-the-gpu", "an engine runs on a GPU only"
    if config.backend == "tensorrt" and config.platform != "tensorrt_plan":
        yield "no-platform", "Triton does not tell a plan by its backend alone"


def _shapes(config: Config) -> Iterator[tuple[str, str]]:
    if not config.name or "/" in config.name:
        yield "name", "clients address a model by one segment of a path"
    for each in config.input:
        if len(each.dims) >= IMAGE_RANK and FREE in each.dims[-IMAGE_RANK:]:
            yield "free-size", f"{each.name} takes any size: frames of different sizes are never batched"
        if each.optional and config.backend == "tensorrt":
            yield "optional-in-a-plan", f"{each.name} may be left out, and a plan has no default for it"
    if config.model_transaction_policy.decoupled:
        yield "decoupled", "clients that wait for one answer get none"


def _warm(config: Config) -> Iterator[tuple[str, str]]:
    if config.backend not in {"tensorrt", "onnxruntime"}:
        return
    if not config.model_warmup:
        yield "no-warm-up", "the first frames wait for kernels and memory: seconds"
    needed = {each.name for each in config.input if not each.optional}
    for warmup in config.model_warmup:
        if missing := sorted(needed - set(warmup.inputs)):
            yield "warm-up-input", f"{warmup.name} lacks {', '.join(missing)}: the model does not load"
    warmed = {warmup.batch_size for warmup in config.model_warmup}
    for spec in config.optimization.cuda.graph_spec:
        if spec.batch_size not in warmed:
            yield "graph-not-warmed", f"the graph of batch {spec.batch_size} is recorded while frames wait"


def _client_input(config: Config) -> Iterator[tuple[str, str]]:
    for each in config.input:
        kind = model_config_pb2.DataType.Name(each.data_type)
        if kind == "TYPE_UINT8":
            yield "uint8-for-ultralytics", "the client casts normalised floats to UINT8: every pixel becomes zero"
        elif kind not in CLIENT_TYPES:
            yield "client-type", f"the client knows no {kind}: it fails when it connects"
    if len(config.input) != 1:
        yield "client-inputs", "the client sends one tensor"
    names = [each.name for each in config.output]
    if names != sorted(names):
        yield "outputs-out-of-order", f"the client takes outputs by name, here {', '.join(names)}: boxes must be first"


def _client_metadata(config: Config) -> Iterator[tuple[str, str]]:
    text = config.parameters["metadata"].string_value if "metadata" in config.parameters else ""
    if not text:
        yield "no-metadata", "classes are called class0 to class998, and poses, masks and rotated boxes break"
        return
    try:
        told = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        told = None
    if not isinstance(told, dict):
        yield "metadata-no-literal", "the client reads a Python literal: JSON's true and null fail when it connects"
        return
    yield from _told(config, told)


def _told(config: Config, told: dict[str, Any]) -> Iterator[tuple[str, str]]:
    if missing := [key for key in REQUIRED if key not in told]:
        yield "metadata-incomplete", f"without {', '.join(missing)} the client guesses"
    args = told.get("args")
    if told.get("batch", 1) != 1 and not (isinstance(args, dict) and args.get("dynamic")):
        yield "metadata-batch", f"every request is padded to {told['batch']} frames"
    if isinstance(args, dict) and args.get("dynamic"):
        yield "metadata-dynamic", "the client sends rectangles, which a graph of fixed size refuses"
    if told.get("task") == "pose" and "kpt_shape" not in told:
        yield "metadata-keypoints", "without kpt_shape a pose can't be read"
    if not isinstance(told.get("names"), dict) or not all(isinstance(key, int) for key in told["names"]):
        yield "metadata-names", "names must be numbered by integers"
    dims = list(config.input[0].dims)[-2:] if config.input else []
    if FREE not in dims and list(told.get("imgsz", dims)) != dims:
        yield "metadata-size", f"imgsz {told['imgsz']} is not the input's size {dims}: the server refuses every frame"


RULES: tuple[Rule, ...] = (_batching, _places, _shapes, _warm)
CLIENT_RULES: tuple[Rule, ...] = (_client_input, _client_metadata)

"""Typed values → Triton's own protobuf → the text of config.pbtxt; nothing is written by string templates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from google.protobuf import text_format

from model_repo_builder.metadata import literal
from model_repo_builder.triton_protobufs import model_config_pb2

if TYPE_CHECKING:
    from collections.abc import Mapping

    from yolofleet.api.recipe import Backend

Device = Literal["CPU", "GPU"]
TRITON_BACKEND: dict[Backend, str] = {"ONNXRuntime": "onnxruntime", "TensorRT": "tensorrt"}
PLATFORM: dict[Backend, str] = {"ONNXRuntime": "", "TensorRT": "tensorrt_plan"}
"""Triton derives onnxruntime's platform from the backend; an engine's must be said."""
DEVICE: dict[Backend, Device] = {"ONNXRuntime": "CPU", "TensorRT": "GPU"}
"""ONNX Runtime is the backend of machines without a GPU; an engine has no other place to run."""


@dataclass(frozen=True)
class TritonTensor:
    """An input or output with all its axes, the batch first."""

    name: str
    data_type: str
    dims: tuple[int, ...]
    optional: bool = False


@dataclass(frozen=True, kw_only=True)
class TritonModel:
    """One model of a repository; `max_batch_size` 0 is a graph whose batch axis is fixed.

    `metadata` is what the Ultralytics client reads; None for models that it must not take for its own.
    """

    name: str
    backend: Backend
    max_batch_size: int
    inputs: tuple[TritonTensor, ...]
    outputs: tuple[TritonTensor, ...]
    metadata: Mapping[str, Any] | None
    instances: int = 1
    queue_delay_microseconds: int = 0
    preferred_batches: tuple[int, ...] = ()
    graph_batches: tuple[int, ...] = ()


def config_of(model: TritonModel) -> model_config_pb2.ModelConfig:
    """Return the model's configuration as Triton's protobuf."""
    _in_name_order(model.outputs)
    config = model_config_pb2.ModelConfig(
        name=model.name,
        backend=TRITON_BACKEND[model.backend],
        platform=PLATFORM[model.backend],
        max_batch_size=model.max_batch_size,
        input=[_input(tensor, model) for tensor in model.inputs],
        output=[_tensor(model_config_pb2.ModelOutput, tensor, model) for tensor in model.outputs],
        instance_group=[_instances(model)],
        model_warmup=[_warmup(model, batch) for batch in _warm_batches(model)],
    )
    if model.max_batch_size > 1:
        config.dynamic_batching.max_queue_delay_microseconds = model.queue_delay_microseconds
        config.dynamic_batching.preferred_batch_size.extend(model.preferred_batches)
    if model.graph_batches:
        _with_graphs(config, model)
    if model.metadata is not None:
        config.parameters["metadata"].string_value = literal(model.metadata)
    return config


def text_of(config: model_config_pb2.ModelConfig) -> str:
    """Write a configuration as config.pbtxt."""
    return text_format.MessageToString(config)


def parse(text: str) -> model_config_pb2.ModelConfig:
    """Read a config.pbtxt."""
    return text_format.Parse(text, model_config_pb2.ModelConfig())


def _in_name_order(outputs: tuple[TritonTensor, ...]) -> None:
    """Hold on to the client's rule: it takes outputs in the order of their names, boxes before prototypes."""
    names = [output.name for output in outputs]
    if names != sorted(names):
        raise ValueError(f"outputs must be in the order of their names, they are {names}")


def _dims(tensor: TritonTensor, model: TritonModel) -> tuple[int, ...]:
    """Triton leaves the batch axis out where it batches, and wants it where it does not."""
    return tensor.dims[1:] if model.max_batch_size > 0 else tensor.dims


def _type(tensor: TritonTensor) -> int:
    return int(model_config_pb2.DataType.Value(f"TYPE_{tensor.data_type}"))


def _tensor(kind: Any, tensor: TritonTensor, model: TritonModel) -> Any:
    return kind(name=tensor.name, data_type=_type(tensor), dims=_dims(tensor, model))


def _input(tensor: TritonTensor, model: TritonModel) -> model_config_pb2.ModelInput:
    made: model_config_pb2.ModelInput = _tensor(model_config_pb2.ModelInput, tensor, model)
    made.optional = tensor.optional
    return made


def _instances(model: TritonModel) -> model_config_pb2.ModelInstanceGroup:
    kind = model_config_pb2.ModelInstanceGroup.Kind.Value(f"KIND_{DEVICE[model.backend]}")
    return model_config_pb2.ModelInstanceGroup(count=model.instances, kind=kind)


def _with_graphs(config: model_config_pb2.ModelConfig, model: TritonModel) -> None:
    """Let Triton record a CUDA graph of each of these batches; all are warmed up, so recorded before frames come."""
    cuda = config.optimization.cuda
    cuda.graphs = True
    cuda.output_copy_stream = True
    for batch in model.graph_batches:
        spec = cuda.graph_spec.add(batch_size=batch)
        for tensor in model.inputs:
            spec.input[tensor.name].dim.extend(_dims(tensor, model))


def _warm_batches(model: TritonModel) -> list[int]:
    """A GPU is warmed at both ends of the batch range; a CPU at the small one, as the large one takes seconds."""
    largest = model.max_batch_size if DEVICE[model.backend] == "GPU" else min(model.max_batch_size, 1)
    return sorted({min(model.max_batch_size, 1), largest, *model.graph_batches})


def _warmup(model: TritonModel, batch: int) -> model_config_pb2.ModelWarmup:
    warmup = model_config_pb2.ModelWarmup(name=f"batch{max(batch, 1)}", batch_size=batch)
    for tensor in model.inputs:
        if tensor.optional:
            continue
        warmup.inputs[tensor.name].data_type = _type(tensor)
        warmup.inputs[tensor.name].dims.extend(_dims(tensor, model))
        warmup.inputs[tensor.name].zero_data = True
    return warmup

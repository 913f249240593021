"""The Triton models of the endpoints Frames and JPEG: the graph of frames, and a picture's decoder in front of it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from importlib.resources import files
from typing import TYPE_CHECKING

from model_repo_builder import onnx_defaults, triton_config
from model_repo_builder.errors import Refused
from model_repo_builder.frame_layout import FRAMES, GEOMETRY, PLACE, defaults, frame_format, layout_of
from model_repo_builder.manifest import FRAMES_FILE, MODEL_FILE
from model_repo_builder.triton_config import TritonModel, TritonTensor
from model_repo_builder.triton_protobufs import model_config_pb2
from yolofleet.api.endpoints import DECODE, Postprocess, model_name

if TYPE_CHECKING:
    from collections.abc import Sequence

    from model_repo_builder.manifest import FramesGraph, Manifest, TensorSpec
    from yolofleet.api.build import ServeRequest
    from yolofleet.api.recipe import Backend
    from yolofleet.api.tuning import ModelTuning

JPEG = "jpeg"
DECODER: dict[Backend, tuple[str, str, str]] = {
    "ONNXRuntime": ("python", "decode_jpeg.py", "model.py"),
    "TensorRT": ("dali", "decode_jpeg_dali.py", "dali.py"),
}
"""How pictures are decoded beside a backend: Triton's backend for it, our file, and the name that it looks for."""
PYTHON_INSTANCES = 2
"""Decoding on the CPU is one process an instance."""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One model's folder: its configuration, and a file that is copied from the store, or written, or both.

    `source` is the file's name in the store, `content` what is written or appended under the name `target`.
    """

    config: model_config_pb2.ModelConfig
    target: str = ""
    source: str = ""
    content: bytes = b""


def parts(told: Manifest, request: ServeRequest) -> list[Part]:
    """Return the models that a request asks for beyond the raw one."""
    graph = told.frames
    if graph is None:
        raise Refused(
            field="spec.endpoints",
            value=", ".join(request.endpoints or []),
            message="the engine was built without the graph of frames",
            remedy="use operator and builder of one version; endpoints are a part of an engine's key",
        )
    made = [_frames(told, graph, request)]
    if "JPEG" in (request.endpoints or []):
        made += [_decoder(told, graph, request), _jpeg(told, graph, request)]
    return made


def _frames(told: Manifest, graph: FramesGraph, request: ServeRequest) -> Part:
    """The graph's optional inputs get defaults where its backend has a place for them: in an ONNX file's end."""
    model = TritonModel(
        name=model_name(request.model_name, "Frames"),
        backend=told.backend,
        max_batch_size=min(request.max_batch_size, told.max_batch_size),
        inputs=(*_tensors(graph.inputs), *_tensors(graph.optional_inputs, optional=_has_defaults(told))),
        outputs=_tensors(graph.outputs),
        metadata=None,
        instances=request.instances,
        queue_delay_microseconds=request.queue_delay_microseconds,
    )
    return Part(
        # A picture's boxes come from the graph of frames too: where JPEG alone is served, its numbers are this one's.
        config=triton_config.config_of(tuned_model(model, request.tuning_of("Frames", "JPEG"))),
        source=FRAMES_FILE[told.backend],
        target=MODEL_FILE[told.backend],
        content=_appendix(told, graph, request.postprocess or Postprocess()) if _has_defaults(told) else b"",
    )


def tuned_model(model: TritonModel, told: ModelTuning | None) -> TritonModel:
    """Return a model with the numbers that were decided for it; a batch that the graph can't do is none."""
    if told is None or model.max_batch_size < 1:
        return model
    most = min(told.max_batch_size, model.max_batch_size)
    return replace(
        model,
        max_batch_size=most,
        instances=told.instances,
        queue_delay_microseconds=told.queue_delay_microseconds,
        preferred_batches=tuple(size for size in told.preferred_batches or () if size <= most),
        graph_batches=tuple(size for size in told.cuda_graph_batches or () if size <= most),
    )


def _has_defaults(told: Manifest) -> bool:
    """A TensorRT plan has no place for them: there every input must be sent."""
    return told.backend == "ONNXRuntime"


def _appendix(told: Manifest, graph: FramesGraph, chosen: Postprocess) -> bytes:
    kinds = {tensor.name: tensor.data_type for tensor in graph.optional_inputs}
    values = defaults(
        layout_of(told.recipe.image_size, frame_format(told.recipe.frames)),
        confidence=float(chosen.confidence),
        iou=float(chosen.iou),
        most=chosen.max_detections,
    )
    return onnx_defaults.appendix({name: (kinds[name], values[name]) for name in kinds})


def _tensors(specs: Sequence[TensorSpec], *, optional: bool = False) -> tuple[TritonTensor, ...]:
    return tuple(TritonTensor(spec.name, spec.data_type, tuple(spec.dims), optional) for spec in specs)


def _decoder(told: Manifest, graph: FramesGraph, request: ServeRequest) -> Part:
    """Return the model from a picture's bytes to a frame of the network's size, and how the picture lies in it."""
    backend, source, target = DECODER[told.backend]
    (frame,) = _tensors(graph.inputs)
    config = model_config_pb2.ModelConfig(
        name=model_name(request.model_name, "JPEG") + DECODE,
        backend=backend,
        max_batch_size=request.max_batch_size if backend == "dali" else 1,
        input=[_io(model_config_pb2.ModelInput, TritonTensor(JPEG, "UINT8", (-1, -1)))],
        output=[
            _io(model_config_pb2.ModelOutput, frame),
            _io(model_config_pb2.ModelOutput, TritonTensor(GEOMETRY, "FP32", (-1, len(PLACE)))),
        ],
    )
    if backend == "dali":
        config.input[0].allow_ragged_batch = True
        config.dynamic_batching.SetInParent()
        config.parameters["num_threads"].string_value = "4"
    else:
        kind = model_config_pb2.ModelInstanceGroup.Kind.Value("KIND_CPU")
        config.instance_group.add(count=PYTHON_INSTANCES, kind=kind)
    text = files("model_repo_builder").joinpath(source).read_text(encoding="utf-8")
    height, width = frame.dims[1:3]
    content = text.replace("HEIGHT, WIDTH = 640, 640", f"HEIGHT, WIDTH = {height}, {width}")
    return Part(config=config, target=target, content=content.encode())


def _jpeg(told: Manifest, graph: FramesGraph, request: ServeRequest) -> Part:
    """Return the ensemble: one picture a request; those of different requests meet in the graph of frames."""
    thresholds = [
        tensor for tensor in _tensors(graph.optional_inputs, optional=_has_defaults(told)) if tensor.name != GEOMETRY
    ]
    outputs = _tensors(graph.outputs)
    decoder = model_config_pb2.ModelEnsembling.Step(
        model_name=model_name(request.model_name, "JPEG") + DECODE,
        model_version=-1,
        input_map={JPEG: JPEG},
        output_map={FRAMES: FRAMES, GEOMETRY: GEOMETRY},
    )
    names = [FRAMES, GEOMETRY, *(tensor.name for tensor in thresholds)]
    boxes = model_config_pb2.ModelEnsembling.Step(
        model_name=model_name(request.model_name, "Frames"),
        model_version=-1,
        input_map={name: name for name in names},
        output_map={tensor.name: tensor.name for tensor in outputs},
    )
    inputs = [TritonTensor(JPEG, "UINT8", (-1, -1)), *thresholds]
    config = model_config_pb2.ModelConfig(
        name=model_name(request.model_name, "JPEG"),
        platform="ensemble",
        max_batch_size=1,
        input=[_io(model_config_pb2.ModelInput, tensor) for tensor in inputs],
        output=[_io(model_config_pb2.ModelOutput, tensor) for tensor in outputs],
        ensemble_scheduling=model_config_pb2.ModelEnsembling(step=[decoder, boxes]),
    )
    return Part(config=config)


def _io(kind: type, tensor: TritonTensor) -> model_config_pb2.ModelInput | model_config_pb2.ModelOutput:
    """A model that batches leaves the batch axis out."""
    made = kind(
        name=tensor.name,
        data_type=model_config_pb2.DataType.Value(f"TYPE_{tensor.data_type}"),
        dims=tensor.dims[1:],
    )
    if tensor.optional:
        made.optional = True
    return made

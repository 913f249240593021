"""Assembles the models of a Triton repository from a published engine, every byte verified on the way."""

from __future__ import annotations

import re
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_repo_builder import endpoint_models, metadata, store, triton_config
from model_repo_builder.endpoint_models import Part
from model_repo_builder.errors import Damaged, Failed, Refused
from model_repo_builder.manifest import MODEL_FILE
from model_repo_builder.triton_config import TritonModel, TritonTensor
from yolofleet.api import tuning

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.manifest import Manifest, TensorSpec
    from yolofleet.api.build import ServeRequest
    from yolofleet.api.curve import Curve

CONFIG = "config.pbtxt"
VERSION = "1"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")


@dataclass(frozen=True)
class ByHand:
    """A curve and the 99th percentile in milliseconds that a person tunes a repository by."""

    curve: Curve
    p99_ms: float

    def tuned(self, told: Manifest, request: ServeRequest) -> ServeRequest:
        """Return the request with Triton's numbers, where the curve has some for its endpoints."""
        curve = tuning.doable(self.curve, min(told.max_batch_size, request.max_batch_size))
        wanted = [
            tuning.Wanted(endpoint=endpoint, backend=told.backend, p99_ms=self.p99_ms)
            for endpoint in request.endpoints or ["Ultralytics"]
        ]
        found = [one.model for each in wanted if not isinstance(one := tuning.tuned(curve, each), str)]
        return request.model_copy(update={"tuning": found or None})


def assemble(engines: store.Shelf, request: ServeRequest, models: Path, *, by: ByHand | None = None) -> Path:
    """Write `<models>/<name>/` and its like, one for each endpoint; return the first. Each is whole or not there.

    `by` is a curve that a person gives, where no operator has tuned the request.
    """
    if not NAME.fullmatch(request.model_name):
        raise Refused(
            field="modelName",
            value=request.model_name,
            message="a model's name is a folder's name and a part of a URL",
            remedy="use letters, digits, `-`, `_` and `.`",
        )
    try:
        stored = engines.peek(request.key)
        if stored is None:
            raise Damaged(
                message="no engine is published under this key",
                value=request.key,
                remedy="wait for the build to end; look at the YoloEngine's conditions",
            )
        asked = by.tuned(stored.manifest, request) if by else request
        return _write(engines, stored, asked, models)
    except store.DamagedError as error:
        raise Damaged(
            message=str(error), remedy="the operator has it built again; look at the YoloEngine's conditions"
        ) from error
    except OSError as error:
        raise Failed(
            message=f"the repository can't be written: {error.strerror}",
            value=str(error.filename or models),
            remedy="check the volume's room (emptyDir sizeLimit) and that uid 1000 may write",
        ) from error


def _write(engines: store.Shelf, stored: store.Stored, request: ServeRequest, models: Path) -> Path:
    asked = request.endpoints or ["Ultralytics"]
    parts = [_raw(stored.manifest, request)] if "Ultralytics" in asked else []
    if {"Frames", "JPEG"} & set(asked):
        parts += endpoint_models.parts(stored.manifest, request)
    first, *_ = [_put(engines, stored, part, models) for part in parts]
    return first


def _raw(told: Manifest, request: ServeRequest) -> Part:
    source = MODEL_FILE[told.backend]
    return Part(config=triton_config.config_of(model_of(told, request)), source=source, target=source)


def _put(engines: store.Shelf, stored: store.Stored, part: Part, models: Path) -> Path:
    """Write one model's folder beside its place, then rename it."""
    partial = models / f".{part.config.name}.partial"
    shutil.rmtree(partial, ignore_errors=True)
    (partial / VERSION).mkdir(parents=True)
    if part.source:
        told = stored.manifest.file(part.source)
        if told is None:
            raise store.DamagedError(f"{stored.artifact.uri}: the manifest lists no {part.source}")
        engines.take(stored, told, partial / VERSION / part.target)
    if part.content:
        with (partial / VERSION / part.target).open("ab") as model:
            model.write(part.content)
    (partial / CONFIG).write_text(triton_config.text_of(part.config), encoding="utf-8")
    target = models / part.config.name
    shutil.rmtree(target, ignore_errors=True)
    return partial.rename(target)


def model_of(told: Manifest, request: ServeRequest) -> TritonModel:
    """Return the model as it is to be served: never a larger batch than the graph can do."""
    free = all(tensor.dims[0] < 0 for tensor in told.inputs)
    model = TritonModel(
        name=request.model_name,
        backend=told.backend,
        max_batch_size=min(request.max_batch_size, told.max_batch_size) if free else 0,
        inputs=tuple(map(_tensor, told.inputs)),
        outputs=tuple(map(_tensor, told.outputs)),
        metadata=metadata.from_json(told.metadata),
        instances=request.instances,
        queue_delay_microseconds=request.queue_delay_microseconds,
    )
    return endpoint_models.tuned_model(model, request.tuning_of("Ultralytics"))


def _tensor(spec: TensorSpec) -> TritonTensor:
    return TritonTensor(spec.name, spec.data_type, tuple(spec.dims))

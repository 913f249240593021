"""Reads what a pod was asked to do, and refuses at the door what it can't."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from model_repo_builder.errors import Refused, clip
from yolofleet.api.base import ApiModel
from yolofleet.api.recipe import engine_key

if TYPE_CHECKING:
    from yolofleet.api.build import BuildRequest

M = TypeVar("M", bound=ApiModel)
SPEC_FIELDS = {
    "source": "spec.model",
    "recipe": "spec.engine",
    "labelled": "spec.engine.accuracyGate",
    "calibration": "spec.engine.calibration",
}
RECIPE_FIELDS = {"task": "spec.model.task", "endpoints": "spec.endpoints", "weights": "spec.model"}
"""Where a user wrote what a request carries."""


def read(kind: type[M], text: str | None, *, variable: str) -> M:
    """Read a request from an environment variable's JSON."""
    if not text:
        raise Refused(
            field=variable, value="", message="the variable is not set", remedy="it holds the request as JSON"
        )
    try:
        return kind.model_validate_json(text)
    except ValidationError as error:
        raise refusal_of(error, variable=variable) from None


def refusal_of(error: ValidationError, *, variable: str, part: str | None = None) -> Refused:
    """Return the first thing wrong with a request (or with one part of it), under the name that the user wrote it."""
    first = error.errors(include_url=False, include_context=False)[0]
    return Refused(
        field=spec_field((part, *first["loc"]) if part else first["loc"]) or variable,
        value=clip(str(told if isinstance(told := first["input"], str | int) else json.dumps(told)), 200),
        message=first["msg"].lower(),
        remedy="give a value that the field's schema allows (kubectl explain yolodeployment.spec)",
    )


def spec_field(location: tuple[int | str, ...]) -> str:
    """Return the user's field for a place in a request: recipe.imageSize.height → spec.engine.imageSize.height."""
    parts = [part for part in map(str, location) if not part.isdecimal()]
    if parts[:1] == ["recipe"] and len(parts) > 1 and parts[1] in RECIPE_FIELDS:
        return ".".join([RECIPE_FIELDS[parts[1]], *parts[2:]])
    return ".".join([SPEC_FIELDS.get(parts[0], parts[0]), *parts[1:]]) if parts else ""


def check(request: BuildRequest) -> None:
    """Refuse a request that contradicts itself or asks for what this version does not do."""
    recipe = request.recipe
    _refuse_unless(
        request.key == engine_key(recipe=recipe, target=request.target, builder=request.builder),
        field="key",
        value=request.key,
        message="the key is not that of this recipe, target and builder",
        remedy="use operator and builder of one version",
    )
    _refuse_unless(
        recipe.weights == request.source.identity,
        field="spec.model",
        value=request.source.identity,
        message=f"the recipe is for {recipe.weights}",
        remedy="use operator and builder of one version",
    )
    _check_labelled(request)
    _check_calibration(request)
    _refuse_unless(
        recipe.task != "Classify" or "JPEG" not in recipe.endpoints,
        field="spec.endpoints",
        value=", ".join(recipe.endpoints),
        message="a classifier looks at the middle of a picture, which only its client cuts out",
        remedy="leave JPEG out of spec.endpoints",
    )
    if recipe.backend == "TensorRT":
        _refuse_unless(
            recipe.endpoints == ["Ultralytics"],
            field="spec.endpoints",
            value=", ".join(recipe.endpoints),
            message="the graph of frames is not compiled into an engine yet",
            remedy="set spec.endpoints: [Ultralytics], or spec.engine.backend: ONNXRuntime",
        )
        return
    _refuse_unless(
        recipe.precision in ("FP32", "INT8"),
        field="spec.engine.precision",
        value=recipe.precision,
        message="the backend ONNXRuntime runs FP32 and INT8 here",
        remedy="set spec.engine.precision: FP32 or INT8, or leave it out",
    )


def _check_labelled(request: BuildRequest) -> None:
    recipe = request.recipe
    dataset = request.labelled.identity if request.labelled else None
    _refuse_unless(
        recipe.dataset == dataset,
        field="spec.engine.accuracyGate",
        value=str(dataset),
        message=f"the recipe is for {recipe.dataset}",
        remedy="use operator and builder of one version",
    )
    _refuse_unless(
        dataset is None or recipe.task == "Detect",
        field="spec.engine.accuracyGate",
        value=recipe.task,
        message="mAP is measured for task Detect only",
        remedy="leave spec.engine.accuracyGate out",
    )


def _check_calibration(request: BuildRequest) -> None:
    recipe = request.recipe
    pictures = request.calibration.identity if request.calibration else None
    _refuse_unless(
        recipe.calibration == pictures,
        field="spec.engine.calibration",
        value=str(pictures),
        message=f"the recipe is for {recipe.calibration}",
        remedy="use operator and builder of one version",
    )
    _refuse_unless(
        (pictures is not None) == (recipe.precision in ("INT8", "FP8")),
        field="spec.engine.calibration",
        value=str(pictures),
        message=f"scales are taken from pictures with INT8 and FP8, and only then; this is {recipe.precision}",
        remedy="give pictures of the cameras (spec.engine.calibration.source, --calibration), or set another precision",
    )
    _refuse_unless(
        pictures is None or recipe.task != "Classify",
        field="spec.engine.precision",
        value=recipe.precision,
        message="an INT8 engine is judged by its boxes, and a classifier has none",
        remedy="set spec.engine.precision: FP32 or FP16, and leave spec.engine.calibration out",
    )


def check_device(request: BuildRequest) -> None:
    """Refuse a request that this machine's GPU can't carry out."""
    if request.recipe.backend == "TensorRT":
        from model_repo_builder import cuda_device, engine_from_onnx

        engine_from_onnx.ready(request.recipe.precision, cuda_device.look(), engine_from_onnx.installed_version())


def _refuse_unless(condition: bool, **refusal: Any) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise Refused(**refusal)

"""The verb `estimate`: a curve for a model that was never measured, to plan with until one is."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import onnx
from google.protobuf.message import DecodeError
from pydantic import ValidationError

from model_repo_builder import graph_work, onnx_graph
from model_repo_builder.errors import Refused
from model_repo_builder.request import refusal_of
from yolofleet.api.curve import Curve
from yolofleet.api.estimate import H200, UNSEEN, Place, Rates, Work, estimated_points

if TYPE_CHECKING:
    import argparse

KNOWN = {"H200": H200}
"""Products whose rates were measured, by a word of their names."""
FLOAT_BYTES = 4


def run(asked: argparse.Namespace) -> None:
    """Write the curve."""
    text = json.dumps(estimated(asked).wire(), indent=1) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


def estimated(asked: argparse.Namespace) -> Curve:
    """Return the curve that the arguments ask for; Refused for what no figure stands behind."""
    model = _model(asked)
    rates = _rates(asked)
    *_, channels, height, width = onnx_graph.inputs_of(model)[0].dims
    pixels = channels * height * width
    if pixels <= 0:
        raise Refused(
            field="--model",
            value=str(asked.model),
            message="its input's size is free, so that nothing tells a frame's work",
            remedy="export it at the size that is served",
        )
    try:
        place = Place(
            rates=rates,
            sms=asked.sm_count or rates.sms,
            endpoint=asked.endpoint,
            host_bytes=pixels * FLOAT_BYTES if asked.endpoint == "Ultralytics" else pixels,
        )
        return Curve(
            source="Estimated",
            error=UNSEEN,
            product=asked.product,
            profile=asked.profile,
            sm_count=place.sms,
            points=estimated_points(_work(asked, model), place, sorted(set(asked.batch or (1, 4, 8, 16, 32)))),
        )
    except ValidationError as error:
        raise refusal_of(error, variable="arguments") from None


def _model(asked: argparse.Namespace) -> onnx.ModelProto:
    try:
        return onnx.load(str(asked.model))
    except (OSError, DecodeError) as error:
        raise Refused(
            field="--model",
            value=str(asked.model),
            message=f"no ONNX file can be read there: {error}",
            remedy="give the model.onnx of an engine in the store, or export one",
        ) from None


def _work(asked: argparse.Namespace, model: onnx.ModelProto) -> Work:
    try:
        return graph_work.work_of(model)
    except graph_work.UncountedError as error:
        raise Refused(
            field="--model",
            value=str(asked.model),
            message=f"what it asks of a GPU can't be counted: {error}",
            remedy="export it with fixed sizes, the batch aside",
        ) from None


def _rates(asked: argparse.Namespace) -> Rates:
    known = next((rates for word, rates in KNOWN.items() if word in asked.product), None)
    if asked.tflops and asked.gb_s and asked.gpu_sms:
        return Rates(asked.tflops, asked.gb_s, asked.gpu_sms)
    if known is None:
        raise Refused(
            field="--product",
            value=asked.product,
            message="its rates were never measured here",
            remedy="run python -m e2e.gpu.roofline rates on one, and give --tflops, --gb-s and --gpu-sms",
        )
    return known

"""The verb `measure`: a served model's curve as JSON, and what it tunes Triton to."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from pydantic import ValidationError

from model_repo_builder import cuda_device, measure
from model_repo_builder.errors import Refused
from model_repo_builder.progress import Board, Log
from model_repo_builder.request import refusal_of
from yolofleet.api.curve import Curve
from yolofleet.api.tuning import Wanted, tuned

if TYPE_CHECKING:
    import argparse


def run(asked: argparse.Namespace) -> None:
    """Measure, write the curve, and say what it means for an objective."""
    product, sm_count = _device(asked)
    log = Log()
    board = Board(listeners=(log.show,))
    ask = measure.Ask(
        url=asked.url,
        model=asked.model,
        endpoint=asked.endpoint,
        batches=tuple(asked.batch or ()),
        instances=tuple(asked.instances or (1, 2)),
        budget_s=asked.budget,
    )
    points = measure.curve_points(ask, board.stage("Measure"))
    log.close()
    told = {"source": "Measured", "product": product, "profile": asked.profile, "smCount": sm_count, "points": points}
    try:
        curve = Curve.model_validate(told)
    except ValidationError as error:
        raise refusal_of(error, variable="arguments") from None
    text = json.dumps(curve.wire(), indent=1) + "\n"
    if asked.out:
        asked.out.write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)
    if asked.objective_ms is not None:
        _explain(curve, asked)


def _device(asked: argparse.Namespace) -> tuple[str, int]:
    if asked.product and asked.sm_count:
        return asked.product, asked.sm_count
    device = cuda_device.look()
    if device is None:
        raise Refused(
            field="--product",
            value=asked.product or "",
            message="this process sees no GPU, so it can't tell what was measured",
            remedy="name --product and --sm-count of the slice that serves",
        )
    return asked.product or device.name.replace(" ", "-"), asked.sm_count or device.sm_count


def _explain(curve: Curve, asked: argparse.Namespace) -> None:
    wanted = Wanted(endpoint=asked.endpoint, backend="TensorRT", p99_ms=asked.objective_ms)
    found = tuned(curve, wanted)
    lines = [found] if isinstance(found, str) else [f"{name}: {why}" for name, why in found.reasons.items()]
    sys.stderr.write("\n".join(lines) + "\n")

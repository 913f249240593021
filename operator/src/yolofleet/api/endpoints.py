"""What an endpoint is asked with and under which name: its thresholds, and how its Triton model is called."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from yolofleet.api.base import ApiModel, Fraction
from yolofleet.api.recipe import Endpoint

SUFFIX: dict[Endpoint, str] = {"Ultralytics": "", "Frames": "_frames", "JPEG": "_jpeg"}
"""What an endpoint's Triton model is called after the deployment's name."""
DECODE = "_decode"
"""What the model that decodes pictures is called after that of the endpoint JPEG."""
ANSWER_ROWS = 300
"""Boxes that the graph of frames answers with, at most: its outputs have a fixed shape."""


class Postprocess(ApiModel):
    """Thresholds; inputs of the graph, so a change needs no engine."""

    confidence: Fraction = "0.25"
    """Lowest score of a box, a decimal string from 0 to 1."""
    iou: Fraction = "0.7"
    """Overlap above which the weaker of two boxes goes, a decimal string from 0 to 1."""
    max_detections: Annotated[int, Field(ge=1, le=3000)] = 300
    """Most boxes in a frame."""


def model_name(name: str, endpoint: Endpoint) -> str:
    """Return what Triton calls the model of an endpoint."""
    return f"{name}{SUFFIX[endpoint]}"

"""What a deployment asks of the planner; apart from the solver, which the operator does without."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Need:
    """What one deployment asks for: `demand` frames per second, and what one slice serves of it.

    `rates` maps (product, profile) to frames per second within the objective; what is absent is not allowed.
    """

    name: str
    demand: float
    rates: Mapping[tuple[str, str], float]

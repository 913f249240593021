"""What `simulate -o json` and `plan --layouts free -o json` write of one plan: figures, layouts, and the proof."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from yolofleet.api.base import ApiModel

Number = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class PlannedSlice(ApiModel):
    """A slice of a planned GPU."""

    profile: str
    """MIG profile."""
    start: int
    """First memory slice."""
    owner: Literal["fleet", "foreign", "reserved", "free"]
    """Who holds it."""
    deployment: str | None = None
    """The deployment, or the reserve, that it is for."""


class PlannedGpu(ApiModel):
    """A planned GPU."""

    product: str
    """GPU product."""
    slices: list[PlannedSlice]
    """Its slices."""


class PlannedDeployment(ApiModel):
    """What one deployment gets."""

    name: str
    """Its name."""
    unserved_fps: Number = 0.0
    """Frames per second that are not served."""


class PlannedReserve(ApiModel):
    """What is kept free."""

    name: str
    """Its name."""
    unserved: Number = 0.0
    """Slices that find no place."""


class Worth(ApiModel):
    """The price of a kind of slice in the proof."""

    product: str
    """GPU product."""
    profile: str
    """MIG profile."""
    worth: Number
    """Its price."""


class Proof(ApiModel):
    """The numbers from which the bound is recomputed."""

    bound: float
    """What is proved, before it is rounded up to whole GPUs."""
    slices: list[Worth]
    """What slices are worth."""
    rents: dict[str, Number]
    """What one more GPU of a scarce product would save."""


class PlanFile(ApiModel):
    """One plan; other fields are for readers, and not looked at."""

    pool: str = ""
    """The pool that it is for; empty: a fleet's."""
    cost: Number
    """What its GPUs cost an hour."""
    lower_bound: Number | None = None
    """What no plan can be cheaper than; null: not all is served."""
    proven: bool
    """Whether it claims that no plan is cheaper."""
    deployments: list[PlannedDeployment]
    """Who gets what."""
    reserved: list[PlannedReserve] = Field(default_factory=list)
    """What is kept free."""
    gpus: list[PlannedGpu]
    """Which GPU holds what."""
    proof: Proof
    """The proof."""

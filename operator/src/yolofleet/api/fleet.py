"""A fleet in a file: GPU products, models with their curves, deployments; what `simulate` plans without a cluster."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from yolofleet.api.base import ApiModel, ObjectName, PositiveDecimal, Product, Profile
from yolofleet.api.curve import Curve
from yolofleet.api.migpool import Reserved
from yolofleet.api.recipe import Endpoint
from yolofleet.api.yolodeployment import Demand, Objective


class FleetProduct(ApiModel):
    """GPUs of one product."""

    product: Product
    """GPU product as node label `nvidia.com/gpu.product` has it."""
    gpus: Annotated[int, Field(ge=0, le=1_000_000)] | None = None
    """How many there are; absent: as many as it takes."""
    per_gpu_hour: PositiveDecimal = Field(default="1", alias="perGPUHour")
    """Price of one GPU for one hour; where all are alike, the fewest GPUs are found."""
    host_gigabytes_per_second: PositiveDecimal | None = None
    """What frames may take of a GPU's link to the host, in 10⁹ bytes a second; absent: four fifths of the product's."""


class FleetModel(ApiModel):
    """A model, and what it serves on which kind of slice."""

    name: ObjectName
    """What deployments call it by."""
    curves: Annotated[list[Curve], Field(max_length=512)]
    """Its curves, measured or estimated."""


class FleetDeployment(ApiModel):
    """A deployment as planning sees it."""

    name: ObjectName
    """Its name, once in the file."""
    model: ObjectName
    """Name of a model of this file."""
    demand: Demand
    """What the cameras send."""
    objective: Objective = Field(default_factory=Objective)
    """What a frame may wait."""
    endpoint: Endpoint = "Ultralytics"
    """How clients speak to the model."""
    priority: Annotated[int, Field(ge=-1_000_000, le=1_000_000)] = 0
    """Who is served first when GPUs do not suffice: the higher."""
    target_utilization_percent: Annotated[int, Field(ge=1, le=100)] = 80
    """Share of a slice's throughput that is planned with, in percent."""
    profiles: list[Profile] = Field(default_factory=list)
    """Allowed MIG profiles; none: any."""
    products: list[Product] = Field(default_factory=list)
    """Allowed GPU products; none: any."""


class Fleet(ApiModel):
    """The whole file."""

    version: Literal[1] = 1
    """Version of this schema."""
    products: Annotated[list[FleetProduct], Field(min_length=1, max_length=32)]
    """GPU products there are, or could be bought."""
    models: Annotated[list[FleetModel], Field(max_length=10_000)]
    """Models and their curves."""
    deployments: Annotated[list[FleetDeployment], Field(max_length=100_000)]
    """What is to be served."""
    reserved: Annotated[list[Reserved], Field(max_length=32)] = Field(default_factory=list)
    """Slices that are cut and kept free, before anybody is served."""

    @model_validator(mode="after")
    def _names(self) -> Self:
        known = {model.name for model in self.models}
        for one in self.deployments:
            if one.model not in known:
                raise ValueError(f"deployments[{one.name}].model: no model {one.model!r}; models: {sorted(known)}")
        for what, names in (
            ("products", [one.product for one in self.products]),
            ("models", [one.name for one in self.models]),
            ("deployments", [one.name for one in self.deployments]),
        ):
            if len(set(names)) != len(names):
                raise ValueError(f"{what}: {max(names, key=names.count)!r} stands there twice; name each once")
        return self

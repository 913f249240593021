"""A fleet in a file, planned: sizes, slices, GPUs, the proof, and who cannot be served and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yolofleet.api.curve import Curve
from yolofleet.api.fleet import Fleet, FleetDeployment
from yolofleet.errors import Refused
from yolofleet.planning.capabilities import Capability, Gpu, Unknown, gpu_of
from yolofleet.planning.geometry import lattice_of
from yolofleet.planning.packing import (
    Certificate,
    FilledGpu,
    Product,
    Share,
    certificate,
    filled_gpus,
    pack_by_priority,
    shares,
)
from yolofleet.planning.sizing import Ask, Kind, Sized, sized


@dataclass(frozen=True)
class FleetPlan:
    """What to run where, what it costs, and how near that is to the least; `unserved` in frames per second."""

    shares: tuple[Share, ...]
    gpus: tuple[FilledGpu, ...]
    cost: float
    bound: float | None
    proof: Certificate
    unserved: Mapping[str, float]
    out: Mapping[str, Mapping[Kind, str]]

    @property
    def proven(self) -> bool:
        """Tell whether no plan can be cheaper."""
        return self.bound is not None and self.cost <= self.bound + 1e-6


def plan_fleet(fleet: Fleet) -> FleetPlan:
    """Plan a file's deployments on its products; unknown products are refused with what is known."""
    gpus = {one.product: known_gpu(one.product) for one in fleet.products}
    jpeg = any(one.endpoint == "JPEG" for one in fleet.deployments)
    profiles = {name: [one for one in gpu.profiles if _useful(one, gpu, jpeg=jpeg)] for name, gpu in gpus.items()}
    offered = {(name, one.profile): one for name, mine in profiles.items() for one in mine}
    stock = [
        Product(
            one.product,
            lattice_of(gpus[one.product], [worth.profile for worth in profiles[one.product]]),
            float(one.per_gpu_hour),
            one.gpus,
        )
        for one in fleet.products
    ]
    curves = {model.name: tuple(model.curves) for model in fleet.models}
    told = [sized(_ask(one, curves), offered) for one in fleet.deployments]
    return packed(stock, told, {one.name: one.priority for one in fleet.deployments})


def packed(stock: Sequence[Product], told: Sequence[Sized], priority: Mapping[str, int]) -> FleetPlan:
    """Pack what was sized on the products there are, and say what came of it."""
    servable = [one.need for one in told if one.need.rates]
    found = pack_by_priority(stock, servable, priority)
    real = {product.name for product in stock}
    gpus = tuple(gpu for gpu in filled_gpus(found.packing) if gpu.product in real)
    price = {product.name: product.price for product in stock}
    lost = {one.need.name: one.need.demand for one in told if not one.need.rates}
    return FleetPlan(
        shares=tuple(_real(share, real) for share in shares(found.packing)),
        gpus=gpus,
        cost=round(sum(price[gpu.product] for gpu in gpus), 6),
        # With a shortfall the bound is one on cost and penalties together: no sum to show.
        bound=None if found.unserved else found.packing.bound,
        proof=certificate(found.packing),
        unserved={**found.unserved, **lost},
        out={one.need.name: one.out for one in told},
    )


def _real(share: Share, real: set[str]) -> Share:
    kept = tuple((kind, count) for kind, count in share.slices if kind[0] in real)
    return Share(share.name, kept, share.demand, share.served, share.why)


def _ask(one: FleetDeployment, curves: Mapping[str, tuple[Curve, ...]]) -> Ask:
    return Ask(
        name=one.name,
        demand_fps=one.demand.streams * float(one.demand.frames_per_second),
        objective_ms=one.objective.p99_latency_milliseconds,
        utilization_percent=one.target_utilization_percent,
        endpoint=one.endpoint,
        profiles=tuple(one.profiles),
        products=tuple(one.products),
        curves=curves[one.model],
    )


def known_gpu(product: str) -> Gpu:
    """Return a product's capabilities; what no table knows is refused with what is known."""
    found = gpu_of(product)
    if isinstance(found, Unknown):
        raise Refused(field="products[].product", value=product, message=found.message, remedy="name a known product")
    return found


def plain(one: Capability) -> bool:
    """Leave slices with media extensions to those who need them: one per GPU, and scarce."""
    return not one.name.attributes


def _useful(one: Capability, gpu: Gpu, *, jpeg: bool) -> bool:
    """Leave out slices with media extensions, unless somebody needs a JPEG engine that the plain ones lack."""
    if not one.name.attributes:
        return True
    plain = [other for other in gpu.profiles if other.profile == one.profile.partition("+")[0]]
    return jpeg and bool(one.jpeg) and not any(other.jpeg for other in plain)

"""A fleet in a file, planned: sizes, slices, GPUs, the proof, and who cannot be served and why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from yolofleet.api.curve import Curve
from yolofleet.api.fleet import Fleet, FleetDeployment
from yolofleet.api.migpool import Reserved
from yolofleet.errors import Refused
from yolofleet.planning.capabilities import Capability, Gpu, Unknown, gpu_of, resolve
from yolofleet.planning.layouts.geometry import lattice_of
from yolofleet.planning.layouts.overlay import GpuState
from yolofleet.planning.packing import (
    FOREIGN,
    Certificate,
    FilledGpu,
    Product,
    Share,
    Shortfall,
    certificate,
    filled_gpus,
    pack_by_priority,
    reserve,
    shares,
)
from yolofleet.planning.sizing.curves import Kind
from yolofleet.planning.sizing.rates import Ask, Sized, sized
from yolofleet.planning.slices.host_link import GB

FIRST = 2**31
"""The priority of what a pool keeps free: above any PriorityClass."""


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
    stock, told, priority = asked_of(fleet)
    return planned(stock, told, priority)


def asked_of(fleet: Fleet) -> tuple[tuple[Product, ...], tuple[Sized, ...], dict[str, int]]:
    """Return a file as a problem: products, what each deployment and reserve needs, who is served first."""
    gpus = {one.product: known_gpu(one.product) for one in fleet.products}
    jpeg = any(one.endpoint == "JPEG" for one in fleet.deployments)
    kept, _ = reserves(fleet.reserved, gpus)
    offered = {
        (name, one.profile): one for name, gpu in gpus.items() for one in gpu.profiles if useful(one, gpu, jpeg=jpeg)
    }
    wanted = {*offered, *(kind for one in kept for kind in one.need.rates)}
    lattices = {name: lattice_of(gpu, [p for product, p in wanted if product == name]) for name, gpu in gpus.items()}
    stock = tuple(
        Product(one.product, lattices[one.product], float(one.per_gpu_hour), one.gpus) for one in fleet.products
    )
    curves = {model.name: tuple(model.curves) for model in fleet.models}
    links = links_of({p.product: float(told) for p in fleet.products if (told := p.host_gigabytes_per_second)})
    needs = [sized(_ask(one, curves, links), offered) for one in fleet.deployments]
    priority = {one.name: one.priority for one in fleet.deployments} | {one.need.name: FIRST for one in kept}
    return stock, (*needs, *kept), priority


def links_of(gb_s: Mapping[str, float]) -> tuple[tuple[str, float], ...]:
    """Return what links to the host carry as sizing has it, from GB/s by product."""
    return tuple((product, told * GB) for product, told in sorted(gb_s.items()))


def reserves(asked: Sequence[Reserved], gpus: Mapping[str, Gpu]) -> tuple[tuple[Sized, ...], tuple[str, ...]]:
    """Return what a pool keeps free as needs that go before all others, and which profiles no product has."""
    counts: Counter[tuple[str, str]] = Counter()
    for one in asked:
        counts[one.profile, one.purpose] += one.count
    made, notes = [], []
    for (profile, purpose), count in sorted(counts.items()):
        kinds = [(name, found.profile) for name, gpu in gpus.items() if (found := _known(gpu, profile)) is not None]
        if kinds:
            made.append(Sized(reserve(profile, count, purpose, kinds), {}))
        else:
            notes.append(f"reserved[{profile}]: no GPU here can be cut so: {count} are kept free of nothing")
    return tuple(made), tuple(notes)


def _known(gpu: Gpu, profile: str) -> Capability | None:
    found = resolve(gpu, profile)
    return found if isinstance(found, Capability) else None


def planned(stock: Sequence[Product], told: Sequence[Sized], priority: Mapping[str, int]) -> FleetPlan:
    """Pack what was sized on the products there are, and say what came of it."""
    return fleet_plan(packed(stock, told, priority), stock, told)


def packed(stock: Sequence[Product], told: Sequence[Sized], priority: Mapping[str, int]) -> Shortfall:
    """Pack what was sized on the products there are."""
    return pack_by_priority(stock, [one.need for one in told if one.need.rates], priority)


def fleet_plan(found: Shortfall, stock: Sequence[Product], told: Sequence[Sized]) -> FleetPlan:
    """Say what a packing means: who gets what, which GPU holds what, what it costs, what is proven, who goes short."""
    real = {product.name for product in stock}
    gpus = tuple(gpu for gpu in filled_gpus(found.packing) if gpu.product in real)
    lost = {one.need.name: one.need.demand for one in told if not one.need.rates}
    return FleetPlan(
        shares=tuple(_real(share, real) for share in shares(found.packing)),
        gpus=gpus,
        cost=cost_of(gpus, stock),
        # With a shortfall the bound is one on cost and penalties together: no sum to show.
        bound=None if found.unserved else found.packing.bound,
        proof=certificate(found.packing),
        unserved={**found.unserved, **lost},
        out={one.need.name: one.out for one in told},
    )


def cost_of(gpus: Iterable[FilledGpu | GpuState], stock: Sequence[Product]) -> float:
    """Return what GPUs cost an hour; those that others are on are there anyhow, and cost nothing more."""
    price = {product.name: product.price for product in stock}
    ours = [gpu for gpu in gpus if all(owner != FOREIGN for _, owner in gpu.slices)]
    return round(sum(price[gpu.product] for gpu in ours), 6)


def _real(share: Share, real: set[str]) -> Share:
    kept = tuple((kind, count) for kind, count in share.slices if kind[0] in real)
    return Share(share.name, kept, share.demand, share.served, share.why)


def _ask(
    one: FleetDeployment, curves: Mapping[str, tuple[Curve, ...]], links: tuple[tuple[str, float], ...] = ()
) -> Ask:
    return Ask(
        name=one.name,
        demand_fps=one.demand.streams * float(one.demand.frames_per_second),
        objective_ms=one.objective.p99_latency_milliseconds,
        utilization_percent=one.target_utilization_percent,
        endpoint=one.endpoint,
        profiles=tuple(one.profiles),
        products=tuple(one.products),
        curves=curves[one.model],
        links=links,
    )


def known_gpu(product: str) -> Gpu:
    """Return a product's capabilities; what no table knows is refused with what is known."""
    found = gpu_of(product)
    if isinstance(found, Unknown):
        raise Refused(field="products[].product", value=product, message=found.message, remedy="name a known product")
    return found


def useful(one: Capability, gpu: Gpu, *, jpeg: bool) -> bool:
    """Leave out slices with media extensions, unless somebody needs a JPEG engine that the plain ones lack."""
    if not one.name.attributes:
        return True
    plain = [other for other in gpu.profiles if other.profile == one.profile.partition("+")[0]]
    return jpeg and bool(one.jpeg) and not any(other.jpeg for other in plain)

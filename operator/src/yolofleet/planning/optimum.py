"""The best that a snapshot's GPUs could be cut for, pool by pool, and the steps there from what is today."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from yolofleet.api.snapshot import SnapshotFile
from yolofleet.planning.fleet import FleetPlan, packed
from yolofleet.planning.overlay import GpuState
from yolofleet.planning.packing import Need
from yolofleet.planning.sizing import Sized
from yolofleet.planning.survey import Survey, homeless, surveyed
from yolofleet.planning.transition import Transition, transition


@dataclass(frozen=True)
class PoolOptimum:
    """One pool's plan with its proof, the steps from today, and what both rest on."""

    survey: Survey
    plan: FleetPlan
    transition: Transition
    cost_now: float

    @property
    def gpus_now(self) -> int:
        """Count the GPUs that this fleet holds slices of."""
        return sum(any(owner for _, owner in gpu.slices) for gpu in self.survey.today)

    @property
    def rows(self) -> tuple[GpuState, ...]:
        """Return what every GPU would be, those that stay as they are too."""
        return tuple(sorted((*self.transition.final, *self.survey.fixed), key=lambda gpu: gpu.name))


def optima(snapshot: SnapshotFile) -> tuple[tuple[PoolOptimum, ...], tuple[str, ...]]:
    """Return each pool's optimum, and who has no pool."""
    return tuple(optimum(one) for one in surveyed(snapshot)), homeless(snapshot)


def optimum(survey: Survey) -> PoolOptimum:
    """Plan one pool, and find the steps there."""
    plan = planned(survey)
    rates = {one.need.name: one.need.rates for one in survey.sized}
    demand = {one.need.name: one.need.demand for one in survey.sized}
    steps = transition(survey.today, plan.gpus, survey.lattices, rates, demand)
    price = {product.name: product.price for product in survey.stock}
    busy = [gpu for gpu in survey.today if any(owner for _, owner in gpu.slices)]
    return PoolOptimum(survey, plan, steps, round(sum(price[gpu.product] for gpu in busy), 6))


def planned(survey: Survey, *, changed: Sequence[Sized] = (), more: str = "") -> FleetPlan:
    """Return the plan of one pool, with some needs changed, and one more GPU of a product."""
    other = {one.need.name: one for one in changed}
    told = [other.get(one.need.name, one) for one in survey.sized]
    stock = [replace(p, limit=(p.limit or 0) + 1) if p.name == more else p for p in survey.stock]
    return packed(stock, [one for one in told if one.need.demand > 0], survey.priority)


def scaled(one: Sized, demand: float) -> Sized:
    """Return a deployment's needs at another demand."""
    return replace(one, need=Need(one.need.name, demand, one.need.rates))

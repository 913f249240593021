"""The best that a snapshot's GPUs could be cut for, pool by pool, and the steps there from what is today."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from yolofleet.api.snapshot import SnapshotFile
from yolofleet.planning.layouts.movement import SLACK, settle
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState, overlay
from yolofleet.planning.layouts.spreading import bunched
from yolofleet.planning.layouts.transition import Transition, transition
from yolofleet.planning.packing import Need
from yolofleet.planning.sizing.rates import Sized
from yolofleet.planning.whatif.fleet import FleetPlan, cost_of, fleet_plan, packed
from yolofleet.planning.whatif.survey import Survey, homeless, surveyed


@dataclass(frozen=True)
class PoolOptimum:
    """One pool's plan with its proof, the steps from today, and what both rest on."""

    survey: Survey
    plan: FleetPlan
    transition: Transition
    cost_now: float
    bunched: tuple[str, ...] = ()

    @property
    def notes(self) -> tuple[str, ...]:
        """Return what was assumed, and who has all replicas in one place."""
        return (*self.survey.notes, *self.bunched)

    @property
    def gpus_now(self) -> int:
        """Count the GPUs that this fleet holds slices of."""
        return sum(any(owner and owner != FOREIGN for _, owner in gpu.slices) for gpu in self.survey.today)

    @property
    def rows(self) -> tuple[GpuState, ...]:
        """Return what every GPU would be, those that stay as they are too."""
        return tuple(sorted((*self.transition.final, *self.survey.fixed), key=lambda gpu: gpu.name))


def optima(snapshot: SnapshotFile, *, slack: float = SLACK) -> tuple[tuple[PoolOptimum, ...], tuple[str, ...]]:
    """Return each pool's optimum, and who has no pool."""
    return tuple(optimum(one, slack=slack) for one in surveyed(snapshot)), homeless(snapshot)


def optimum(survey: Survey, *, slack: float = SLACK) -> PoolOptimum:
    """Plan one pool, at most `slack` dearer than the least so that little moves, and find the steps there."""
    told = [one for one in survey.sized if one.need.demand > 0]
    found = packed(survey.stock, told, survey.priority)
    laid = None
    if not found.unserved:
        settled = settle(found.packing, survey.today, survey.lattices, slack=slack, where=survey.where)
        found = replace(found, packing=settled.packing)
        laid = (settled.goal, settled.missed)
    plan = fleet_plan(found, survey.stock, told)
    laid = laid or overlay(survey.today, plan.gpus, survey.lattices, where=survey.where)
    rates = {one.need.name: one.need.rates for one in survey.sized}
    demand = {one.need.name: one.need.demand for one in survey.sized}
    steps = transition(survey.today, plan.gpus, survey.lattices, rates, demand, laid=laid)
    busy = [gpu for gpu in survey.today if any(owner for _, owner in gpu.slices)]
    return PoolOptimum(survey, plan, steps, cost_of(busy, survey.stock), bunched(_replicas(steps.final), survey.where))


def _replicas(gpus: Sequence[GpuState]) -> dict[str, list[str]]:
    """Return the GPUs of each deployment's replicas."""
    found: dict[str, list[str]] = defaultdict(list)
    for gpu in gpus:
        for _, owner in gpu.slices:
            if owner not in (None, FOREIGN):
                found[str(owner)].append(gpu.name)
    return found


def planned(survey: Survey, *, changed: Sequence[Sized] = (), more: str = "") -> FleetPlan:
    """Return the plan of one pool, with some needs changed, and one more GPU of a product."""
    other = {one.need.name: one for one in changed}
    told = [other.get(one.need.name, one) for one in survey.sized]
    stock = [replace(p, limit=(p.limit or 0) + 1) if p.name == more else p for p in survey.stock]
    needs = [one for one in told if one.need.demand > 0]
    return fleet_plan(packed(stock, needs, survey.priority), stock, needs)


def scaled(one: Sized, demand: float) -> Sized:
    """Return a deployment's needs at another demand."""
    return replace(one, need=Need(one.need.name, demand, one.need.rates))

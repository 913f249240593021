"""From today's layouts to a plan's in ordered steps: surge first, nobody below the floor, foreign slices untouched.

Pods of one deployment on one kind of slice are alike, so the plan's GPUs are laid over those there are where most
busy slices stay. What cannot be reached without emptying a slice that must not be emptied is said, not forced.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from yolofleet.planning.layouts.geometry import Lattice, Slice, conflict, free_starts
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState, Holding, overlay, slices_by_start
from yolofleet.planning.packing.outcome import FilledGpu

Rates = Mapping[str, Mapping[tuple[str, str], float]]
"""Frames per second that a slice of (product, profile) serves of a deployment."""
_TINY = 1e-6


class Move(StrEnum):
    """What a step does to one slice."""

    CREATE = "create"
    START = "start"
    DRAIN = "drain"
    DESTROY = "destroy"


@dataclass(frozen=True)
class Step:
    """One move: which slice of which GPU, whose replica, and why now."""

    move: Move
    gpu: str
    slice: Slice
    owner: str | None
    why: str


@dataclass(frozen=True)
class Transition:
    """The steps, the state that they end in, and in words what they do not reach."""

    steps: tuple[Step, ...]
    final: tuple[GpuState, ...]
    unreached: tuple[str, ...]

    @property
    def drained(self) -> tuple[Step, ...]:
        """Return the steps that stop a replica."""
        return tuple(step for step in self.steps if step.move is Move.DRAIN)


def after(gpus: Sequence[GpuState], step: Step, lattices: Mapping[str, Lattice]) -> tuple[GpuState, ...]:
    """Return the state after a step; ValueError says why a step is not possible there."""
    gpu = next(one for one in gpus if one.name == step.gpu)
    held = dict(gpu.slices)
    if step.move is Move.CREATE:
        problem = conflict(lattices[gpu.product], [*held, step.slice])
        if problem:
            raise ValueError(f"{gpu.name}: {problem}")
        held[step.slice] = None
    elif step.slice not in held:
        raise ValueError(f"{gpu.name}: no {step.slice.profile} lies at {step.slice.start}")
    elif step.move is Move.DRAIN:
        if held[step.slice] in (None, FOREIGN):
            raise ValueError(f"{gpu.name}: {step.slice} is held by {held[step.slice]}, which is not ours to drain")
        held[step.slice] = None
    elif held[step.slice] is not None:
        raise ValueError(f"{gpu.name}: {step.slice} is held by {held[step.slice]}")
    elif step.move is Move.DESTROY:
        del held[step.slice]
    else:
        held[step.slice] = step.owner
    made = GpuState(gpu.name, gpu.product, slices_by_start(held))
    return tuple(made if one.name == gpu.name else one for one in gpus)


def served(gpus: Iterable[GpuState], rates: Rates) -> dict[str, float]:
    """Return what each deployment's replicas serve together, in frames per second."""
    total = dict.fromkeys(rates, 0.0)
    for gpu in gpus:
        for one, owner in gpu.slices:
            if owner in total:
                total[owner] += rates[owner].get((gpu.product, one.profile), 0.0)
    return total


class _Board:
    """The state while steps are found; `goal` is what each GPU shall become."""

    def __init__(
        self,
        today: Sequence[GpuState],
        goal: Mapping[str, Holding],
        lattices: Mapping[str, Lattice],
        rates: Rates,
        floors: Mapping[str, float],
    ) -> None:
        self.held: dict[str, Holding] = {gpu.name: dict(gpu.slices) for gpu in today}
        self.product = {gpu.name: gpu.product for gpu in today}
        self.goal, self.lattices, self.rates, self.floors = goal, lattices, rates, floors
        self.served = served(today, rates)
        self.steps: list[Step] = []
        self.borrowed: set[tuple[str, Slice]] = set()

    def rate(self, gpu: str, one: Slice, owner: str) -> float:
        return self.rates.get(owner, {}).get((self.product[gpu], one.profile), 0.0)

    def do(self, move: Move, gpu: str, one: Slice, owner: str | None, why: str) -> None:
        self.steps.append(Step(move, gpu, one, owner, why))
        if move is Move.DESTROY:
            del self.held[gpu][one]
            return
        self.held[gpu][one] = owner if move is Move.START else None
        if owner is not None and owner in self.served:
            self.served[owner] += self.rate(gpu, one, owner) * (1 if move is Move.START else -1)

    def spots(self, of: Mapping[str, Holding]) -> list[tuple[str, Slice, str | None]]:
        return [(gpu, one, of[gpu][one]) for gpu in sorted(of) for one in sorted(of[gpu])]

    def start(self) -> None:
        """Make what the plan wants and nothing forbids: slices first, then their replicas."""
        for gpu, one, owner in self.spots(self.goal):
            if one not in self.held[gpu] and conflict(self.lattices[self.product[gpu]], [*self.held[gpu], one]) is None:
                self.do(Move.CREATE, gpu, one, None, f"the plan wants a {one.profile} here, and the place is free")
            if owner not in (None, FOREIGN) and one in self.held[gpu] and self.held[gpu][one] is None:
                self.do(Move.START, gpu, one, owner, "a new replica before an old one goes")

    def surplus(self) -> list[tuple[str, Slice, str]]:
        """Return the replicas that the plan does not want where they are."""
        return [
            (gpu, one, owner)
            for gpu, one, owner in self.spots(self.held)
            if owner not in (None, FOREIGN) and owner is not None and self.goal[gpu].get(one) != owner
        ]

    def spares(self, gpu: str, one: Slice, owner: str) -> bool:
        """Tell whether a deployment stays at or above its floor without this replica."""
        left = self.served.get(owner, 0.0) - self.rate(gpu, one, owner)
        return left >= self.floors.get(owner, 0.0) * (1 - _TINY)

    def drain(self) -> None:
        for gpu, one, owner in self.surplus():
            if self.spares(gpu, one, owner):
                self.do(Move.DRAIN, gpu, one, owner, "its deployment stays at or above its floor without it")

    def destroy(self) -> None:
        """Remove free slices that lie where the plan wants others."""
        for gpu in sorted(self.goal):
            for one in sorted(self.held[gpu]):
                wanted = [slot for slot in self.goal[gpu] if slot not in self.held[gpu]]
                lattice = self.lattices[self.product[gpu]]
                free = self.held[gpu][one] is None and one not in self.goal[gpu]
                if free and any(conflict(lattice, [one, slot]) for slot in wanted):
                    self.do(Move.DESTROY, gpu, one, None, "free, and it lies where the plan wants another")

    def borrow(self) -> bool:
        """Start a replica for a while where there is room, so that one that is in the way can go."""
        for gpu, one, owner in self.surplus():
            if (gpu, one) in self.borrowed:
                continue
            found = self._room(owner, besides=gpu)
            if found is None:
                continue
            self.borrowed.add((gpu, one))
            there, slot = found
            why = f"for a while, so that {one.profile} at {one.start} of {gpu} can be emptied"
            if slot not in self.held[there]:
                self.do(Move.CREATE, there, slot, None, why)
            self.do(Move.START, there, slot, owner, why)
            self.borrowed.add((there, slot))
            return True
        return False

    def _room(self, owner: str, *, besides: str) -> tuple[str, Slice] | None:
        """Find a free slice, or a place for one, on a GPU other than the one to be changed; the most useful first."""
        found: list[tuple[float, str, Slice]] = []
        for gpu in sorted(self.held):
            if gpu == besides:
                continue
            free = [one for one, holder in self.held[gpu].items() if holder is None]
            lattice = self.lattices[self.product[gpu]]
            layout = tuple(sorted(self.held[gpu]))
            free += [
                Slice(s, kind.profile) for kind in lattice.kinds for s in free_starts(lattice, layout, kind.profile)
            ]
            found += [(-self.rate(gpu, one, owner), gpu, one) for one in free if self.rate(gpu, one, owner) > 0]
        return min(found)[1:] if found else None

    def missing(self) -> list[str]:
        """Say what the plan wants and the steps do not reach, and what is in the way."""
        told = []
        for gpu, one, owner in self.spots(self.goal):
            if self.held[gpu].get(one, "absent") == owner or (owner is None and one in self.held[gpu]):
                continue
            lattice = self.lattices[self.product[gpu]]
            blocking = [s for s in sorted(self.held[gpu]) if s == one or conflict(lattice, [s, one])]
            ways = ", ".join(f"{s.profile} at {s.start} ({self.held[gpu][s] or 'free'})" for s in blocking)
            told.append(
                f"{gpu}: {one.profile} at {one.start} for {owner or 'nobody yet'} needs {ways or 'a replica'} to go "
                f"first, and its deployment would fall below its floor: drain it in a window, or add a GPU"
            )
        return told


def transition(
    today: Sequence[GpuState],
    plan: Sequence[FilledGpu],
    lattices: Mapping[str, Lattice],
    rates: Rates,
    demand: Mapping[str, float],
    *,
    laid: tuple[Mapping[str, Holding], tuple[str, ...]] | None = None,
) -> Transition:
    """Return steps from today's GPUs to the plan's; a floor is the least of demand, what is served now, and then.

    `laid` is the plan laid over today's GPUs already, and what found no place there.
    """
    goal, unreached = laid or overlay(today, plan, lattices)
    then = served([GpuState(str(at), gpu.product, gpu.slices) for at, gpu in enumerate(plan)], rates)
    now = served(today, rates)
    floors = {name: min(now[name], then[name], demand.get(name, 0.0)) for name in rates}
    board = _Board(today, goal, lattices, rates, floors)
    before = -1
    while before != len(board.steps):
        before = len(board.steps)
        board.start()
        board.drain()
        board.destroy()
        if before == len(board.steps) and board.surplus():
            board.borrow()
    final = tuple(GpuState(g.name, g.product, slices_by_start(board.held[g.name])) for g in today)
    return Transition(tuple(board.steps), final, (*unreached, *board.missing()))

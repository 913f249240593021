"""Which GPU becomes which of the plan's: laid over one another so that most of what is busy stays where it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yolofleet.planning.geometry import Lattice, Slice, conflict
from yolofleet.planning.packing.outcome import FilledGpu

FOREIGN = "(foreign)"
"""Who holds a slice of somebody else's pod: no step may touch it. No deployment can have this name."""
Holding = dict[Slice, str | None]


@dataclass(frozen=True)
class GpuState:
    """A GPU with a name: its slices, and who holds each; None: nobody, FOREIGN: not ours."""

    name: str
    product: str
    slices: tuple[tuple[Slice, str | None], ...] = ()


def slices_by_start(held: Mapping[Slice, str | None]) -> tuple[tuple[Slice, str | None], ...]:
    """Return the slices as GpuState has them."""
    return tuple(sorted(held.items(), key=lambda item: item[0]))


def overlay(
    today: Sequence[GpuState], plan: Sequence[FilledGpu], lattices: Mapping[str, Lattice]
) -> tuple[dict[str, Holding], tuple[str, ...]]:
    """Return what each GPU shall become, and in words which of the plan's GPUs found none."""
    chosen, missed = _pairs(today, plan, lattices)
    queue: Counter[tuple[str, str, str | None]] = Counter(
        (gpu.product, one.profile, owner) for gpu in plan for one, owner in gpu.slices if owner
    )
    goal: dict[str, Holding] = {}
    for gpu in today:
        foreign = {one: owner for one, owner in gpu.slices if owner == FOREIGN}
        kept: Holding = dict(foreign)
        held = dict(gpu.slices)
        for one in chosen.get(gpu.name, ()):
            owner = held.get(one)
            stays = owner is not None and queue[gpu.product, one.profile, owner] > 0
            kept[one] = owner if stays else None
            queue[gpu.product, one.profile, owner] -= 1 if stays else 0
        goal[gpu.name] = kept
    _deal(today, goal, queue)
    return goal, missed


def _deal(today: Sequence[GpuState], goal: dict[str, Holding], queue: Counter[tuple[str, str, str | None]]) -> None:
    """Give slices that nobody keeps to deployments that still miss one of that kind, by name."""
    for gpu in sorted(today, key=lambda one: one.name):
        for one in sorted(goal[gpu.name]):
            if goal[gpu.name][one] is None:
                waiting = sorted(
                    str(key[2]) for key, n in queue.items() if n > 0 and key[:2] == (gpu.product, one.profile)
                )
                if waiting:
                    goal[gpu.name][one] = waiting[0]
                    queue[gpu.product, one.profile, waiting[0]] -= 1


def _pairs(
    today: Sequence[GpuState], plan: Sequence[FilledGpu], lattices: Mapping[str, Lattice]
) -> tuple[dict[str, tuple[Slice, ...]], tuple[str, ...]]:
    """Match the plan's layouts to GPUs, the pair with most to keep first; ties by place in the lists."""
    layouts = [tuple(one for one, _ in gpu.slices) for gpu in plan]
    scores = []
    for at, gpu in enumerate(today):
        for wanted, layout in enumerate(layouts):
            kept = _kept(gpu, layout, lattices) if plan[wanted].product == gpu.product else None
            if kept is not None:
                scores.append((-kept, at, wanted))
    chosen: dict[str, tuple[Slice, ...]] = {}
    given: set[int] = set()
    for _, at, wanted in sorted(scores):
        if today[at].name not in chosen and wanted not in given:
            chosen[today[at].name] = layouts[wanted]
            given.add(wanted)
    missed = Counter(gpu.product for at, gpu in enumerate(plan) if at not in given)
    words = tuple(
        f"{count} GPU(s) of {product} that the plan wants are not there, or foreign slices are in the way: add GPUs"
        for product, count in sorted(missed.items())
    )
    return chosen, words


def _kept(gpu: GpuState, layout: tuple[Slice, ...], lattices: Mapping[str, Lattice]) -> float | None:
    """Count busy slices that stay, free ones a little, less a trifle for each that goes; None: foreign in the way."""
    foreign = [one for one, owner in gpu.slices if owner == FOREIGN]
    if foreign and conflict(lattices[gpu.product], [*foreign, *layout]) is not None:
        return None
    stays = sum(0.01 if owner is None else 1.0 for one, owner in gpu.slices if one in layout)
    moves = sum(owner is not None for one, owner in gpu.slices if one not in layout)
    return stays - 0.001 * moves

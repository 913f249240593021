"""Which GPU becomes which of the plan's: laid over one another so that most of what is busy stays where it is."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from yolofleet.planning.layouts.geometry import Lattice, Layout, Slice, conflict
from yolofleet.planning.layouts.patterns import Pattern, assign
from yolofleet.planning.layouts.spreading import Floor, Place
from yolofleet.planning.packing.outcome import FOREIGN, FilledGpu
from yolofleet.planning.packing.stock import is_reserve

__all__ = ["FOREIGN", "GpuState", "Holding", "overlay", "slices_by_start"]

Holding = dict[Slice, str | None]
Replicas = Counter[tuple[str, str]]
"""How many replicas by profile and deployment."""
_Open = tuple[bool, str, Slice]
"""A slot for a replica: whether it must be cut, which GPU, which slice."""


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
    today: Sequence[GpuState],
    plan: Sequence[FilledGpu],
    lattices: Mapping[str, Lattice],
    *,
    most: Mapping[str, int] | None = None,
    where: Mapping[str, Place] | None = None,
) -> tuple[dict[str, Holding], tuple[str, ...]]:
    """Return what each GPU shall become, and in words which of the plan's slices found none.

    The plan says who gets how many slices of which kind, and how many GPUs of each product they may lie on; `most`
    allows other numbers. Where they lie is chosen here, since slices of a kind are alike. Free slices stay as they
    are unless they are in the way. With `where` new replicas are spread over zones and nodes.
    """
    wanted: dict[str, Replicas] = defaultdict(Counter)
    allowed: Counter[str] = Counter()
    for gpu in plan:
        ours = [(one.profile, owner) for one, owner in gpu.slices if owner is not None and owner != FOREIGN]
        wanted[gpu.product].update(ours)
        allowed[gpu.product] += bool(ours) and all(owner != FOREIGN for _, owner in gpu.slices)
    goal: dict[str, Holding] = {}
    words: list[str] = []
    for product in sorted({gpu.product for gpu in today} | set(wanted)):
        mine = [gpu for gpu in today if gpu.product == product]
        queue, slots, missing = _laid(
            mine, wanted[product], lattices[product], (most or allowed).get(product, 0), goal=goal
        )
        _deal(slots, queue, goal, where)
        for state in mine:
            _leave_free(state, goal[state.name], lattices[product])
        words += [
            f"{count} × {profile} of {product} that the plan wants find no GPU: too few are there, or foreign "
            "slices are in the way: add GPUs"
            for profile, count in sorted(missing.items())
        ]
    return {gpu.name: goal[gpu.name] for gpu in today}, tuple(words)


def _laid(
    gpus: Sequence[GpuState], wanted: Replicas, lattice: Lattice, most: int, *, goal: dict[str, Holding]
) -> tuple[Replicas, list[_Open], Mapping[str, int]]:
    """Lay one product's GPUs anew, with what stays; return who waits for a slot, open slots, and what finds none."""
    stays = _stays(gpus, wanted)
    groups: dict[Pattern, list[GpuState]] = defaultdict(list)
    for gpu in gpus:
        groups[_pattern(gpu, stays[gpu.name])].append(gpu)
    total: Counter[str] = Counter()
    for (profile, _), count in wanted.items():
        total[profile] += count
    found = assign(lattice, {pattern: len(mine) for pattern, mine in groups.items()}, total, most)
    queue = wanted.copy()
    open_slots: list[_Open] = []
    for pattern, mine in groups.items():
        layouts = (layout for layout, count in found.layouts[pattern] for _ in range(count))
        for gpu, layout in zip(mine, layouts, strict=True):
            kept = {one: owner for one, owner in stays[gpu.name].items() if one in layout}
            goal[gpu.name] = {**dict.fromkeys(pattern.foreign, FOREIGN), **kept}
            queue.subtract((one.profile, owner) for one, owner in kept.items())
            taken = {*kept, *pattern.foreign}
            cut = {one for one, _ in gpu.slices}
            open_slots += [(one not in cut, gpu.name, one) for one in layout if one not in taken]
    return queue, open_slots, found.missing


def _stays(gpus: Sequence[GpuState], wanted: Replicas) -> dict[str, dict[Slice, str]]:
    """Return which replicas the plan still wants; of those too many the ones go that sit on the emptiest GPUs."""
    left = wanted.copy()
    ours = {gpu.name: [(one, o) for one, o in gpu.slices if o is not None and o != FOREIGN] for gpu in gpus}
    stays: dict[str, dict[Slice, str]] = {gpu.name: {} for gpu in gpus}
    for gpu in sorted(gpus, key=lambda gpu: (-len(ours[gpu.name]), gpu.name)):
        for one, owner in ours[gpu.name]:
            if left[one.profile, owner] > 0:
                left[one.profile, owner] -= 1
                stays[gpu.name][one] = owner
    return stays


def _pattern(gpu: GpuState, stays: Mapping[Slice, str]) -> Pattern:
    foreign = tuple(sorted(one for one, owner in gpu.slices if owner == FOREIGN))
    busy: Layout = tuple(sorted(stays))
    free = tuple(sorted(one for one, _ in gpu.slices if one not in stays and one not in foreign))
    return Pattern(foreign, busy, free)


def _deal(slots: Sequence[_Open], queue: Replicas, goal: dict[str, Holding], where: Mapping[str, Place] | None) -> None:
    """Give open slots to replicas that still miss one, slots already cut first; the rest need not be cut.

    What is reserved is cut and left to nobody.
    """
    if where is not None:
        _spread(slots, queue, goal, where)
        return
    waiting: dict[str, list[str]] = defaultdict(list)
    for (profile, owner), count in sorted(queue.items(), reverse=True):
        waiting[profile] += [owner] * count
    for _, gpu, one in sorted(slots):
        if waiting[one.profile]:
            owner = waiting[one.profile].pop()
            goal[gpu][one] = None if is_reserve(owner) else owner


def _spread(slots: Sequence[_Open], queue: Replicas, goal: dict[str, Holding], where: Mapping[str, Place]) -> None:
    """Give slots of each kind to those with most replicas to place first, each far from what it has."""
    there: dict[str, list[str]] = defaultdict(list)
    for gpu, held in goal.items():
        for owner in held.values():
            if owner is not None:
                there[owner].append(gpu)
    for profile in sorted({profile for (profile, _), count in queue.items() if count > 0}):
        waiting = sorted((-count, owner) for (kind, owner), count in queue.items() if kind == profile and count > 0)
        offered = [(gpu, one) for _, gpu, one in sorted(slots) if one.profile == profile]
        floor = Floor(offered[: -sum(count for count, _ in waiting)], where)
        for count, owner in waiting:
            for gpu, one in floor.deal(-count, there[owner]):
                goal[gpu][one] = None if is_reserve(owner) else owner
                there[owner].append(gpu)


def _leave_free(gpu: GpuState, held: Holding, lattice: Lattice) -> None:
    """Keep slices that are cut today and in nobody's way."""
    for one, _ in gpu.slices:
        if one not in held and conflict(lattice, [*held, one]) is None:
            held[one] = None

"""Who sits on which slice of which GPU, as a snapshot tells it; places that nobody saw are worked out, and said so."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from yolofleet.api.snapshot import SnapshotDeployment, SnapshotGpu, SnapshotNode
from yolofleet.planning.capabilities import Gpu, Unknown, gpu_of, resolve
from yolofleet.planning.layouts.dealing import dealt
from yolofleet.planning.layouts.geometry import Lattice, Layout, Slice, conflict, lattice_of
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState, slices_by_start
from yolofleet.planning.slices.profiles import GPU_RESOURCE, PRODUCT_LABEL, WHOLE, profile_behind

SETTLED = (None, "", "success")
"""States of mig-manager in which a node's slices are what they seem."""


@dataclass(frozen=True)
class Seats:
    """GPUs with names (`node/index`), and what had to be assumed, or left out; `seen`: GPUs whose places were told."""

    gpus: tuple[GpuState, ...]
    notes: tuple[str, ...]
    seen: frozenset[str] = frozenset()


class _Unplaced(Exception):  # noqa: N818 - a way out, with the words that tell why
    """A node whose slices lie nowhere that is legal."""


def name_of(one: SnapshotDeployment) -> str:
    """Return the name by which plans know a deployment."""
    return f"{one.namespace}/{one.name}"


def seats_of(nodes: Iterable[SnapshotNode]) -> Seats:
    """Return the GPUs of Ready, schedulable nodes that are not being cut."""
    gpus: list[GpuState] = []
    notes: list[str] = []
    assumed = 0
    seen: set[str] = set()
    for node in sorted(nodes, key=lambda one: one.name):
        if (why := _out(node)) is not None:
            notes.append(f"node {node.name} is left out: {why}")
            continue
        try:
            gpus += _seated(node)
            assumed += node.gpus is None
            seen.update(f"{node.name}/{one.index}" for one in node.gpus or () if _places_told(one))
        except _Unplaced as error:
            notes.append(f"node {node.name} is left out: {error}")
    if assumed:
        notes.append(
            f"places of slices on {assumed} nodes are worked out from counts: nobody tells which GPU has which"
        )
    return Seats(tuple(gpus), tuple(notes), frozenset(seen))


def _places_told(one: SnapshotGpu) -> bool:
    return all(slot.start is not None for slot in one.layout)


def _out(node: SnapshotNode) -> str | None:
    state = node.mig_config.state if node.mig_config else None
    if not node.ready:
        return "it is not Ready"
    if not node.schedulable:
        return "it takes no pods (cordoned)"
    if state not in SETTLED:
        return f"nvidia.com/mig.config.state is {state}"
    if node.product is None:
        return f"no label {PRODUCT_LABEL} tells its product: run NVIDIA's GPU feature discovery"
    found = gpu_of(node.product)
    return found.message if isinstance(found, Unknown) else None


def _seated(node: SnapshotNode) -> list[GpuState]:
    assert node.product is not None  # noqa: S101 - for the type checker; the caller looked
    gpu = gpu_of(node.product)
    assert isinstance(gpu, Gpu)  # noqa: S101 - likewise
    lattice = lattice_of(gpu)
    whole = node.resources[GPU_RESOURCE].allocatable if _whole(node) else 0
    owners = _owners(node)
    if node.gpus is not None:
        made = [GpuState(f"{node.name}/{one.index}", node.product, _told(gpu, lattice, one)) for one in node.gpus]
    else:
        count = node.gpu_count - whole if node.gpu_count is not None else None
        made = _dealt(node, gpu, lattice, count, owners)
    seats = len(made)
    for at in range(whole):
        owner = owners[WHOLE].pop(0) if owners[WHOLE] else None
        made.append(GpuState(f"{node.name}/{seats + at}", node.product, ((Slice(0, WHOLE), owner),)))
    return made


def _whole(node: SnapshotNode) -> bool:
    """Tell whether `nvidia.com/gpu` means whole GPUs here: strategy *single* calls slices so."""
    return GPU_RESOURCE in node.resources and profile_behind(GPU_RESOURCE, node.labels) == WHOLE


def _owners(node: SnapshotNode) -> dict[str, list[str]]:
    """Return who holds slices of each profile: deployments by name, others last."""
    held: dict[str, list[str]] = defaultdict(list)
    for one in sorted(
        node.holders or (), key=lambda holder: (holder.deployment is None, holder.deployment, holder.name)
    ):
        if profile := profile_behind(one.resource, node.labels):
            held[profile] += [one.deployment or FOREIGN] * one.count
    return held


def _dealt(
    node: SnapshotNode, gpu: Gpu, lattice: Lattice, count: int | None, owners: Mapping[str, list[str]]
) -> list[GpuState]:
    counts: Counter[str] = Counter()
    waiting: dict[str, list[str]] = defaultdict(list)
    for resource, devices in sorted(node.resources.items()):
        profile = profile_behind(resource, node.labels)
        if profile in (None, WHOLE) or not (devices.allocatable or owners.get(profile or "")):
            continue
        known = _known(gpu, profile or "")
        counts[known] += max(devices.allocatable, len(owners[profile or ""]))
        waiting[known] += owners[profile or ""]
    # Where the label that counts GPUs says less than the slices need, the slices are believed.
    layouts = (dealt(lattice, counts, count) if count is not None else None) or dealt(lattice, counts)
    if layouts is None:
        told = ", ".join(f"{n}× {profile}" for profile, n in sorted(counts.items()))
        raise _Unplaced(f"{told} fit on no GPUs of {node.product}; check its labels")
    made = []
    for at, layout in enumerate(layouts):
        held = {one: waiting[one.profile].pop(0) if waiting[one.profile] else None for one in layout}
        made.append(GpuState(f"{node.name}/{at}", node.product or "", slices_by_start(held)))
    return made


def _known(gpu: Gpu, profile: str) -> str:
    found = resolve(gpu, profile)
    if isinstance(found, Unknown):
        raise _Unplaced(found.message)
    return found.profile


def _told(gpu: Gpu, lattice: Lattice, one: SnapshotGpu) -> tuple[tuple[Slice, str | None], ...]:
    """Return a GPU's slices where they were seen; starts that are missing are those of a legal layout."""
    named = [(_known(gpu, slot.profile), slot) for slot in one.layout]
    starts = _starts(lattice, [(profile, slot.start) for profile, slot in named])
    if starts is None or (problem := conflict(lattice, starts)) is not None:
        why = problem if starts is not None else "no legal layout has its slices"
        raise _Unplaced(f"gpus[{one.index}].layout: {why}; check start and profile")
    held = {"foreign": FOREIGN, "free": None}
    return slices_by_start(
        {at: held.get(slot.owner, slot.deployment) for at, (_, slot) in zip(starts, named, strict=True)}
    )


def _starts(lattice: Lattice, slots: Sequence[tuple[str, int | None]]) -> list[Slice] | None:
    if all(start is not None for _, start in slots):
        return [Slice(start or 0, profile) for profile, start in slots]
    layouts: tuple[Layout, ...] | None = dealt(lattice, Counter(profile for profile, _ in slots), 1)
    if layouts is None:
        return None
    left = list(layouts[0])
    found = []
    for profile, _ in slots:
        spot = next(one for one in left if one.profile == profile)
        left.remove(spot)
        found.append(spot)
    return found

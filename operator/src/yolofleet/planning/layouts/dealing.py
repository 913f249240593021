"""From counts to places: how the slices that a node offers may lie on its GPUs, where nobody tells."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

from yolofleet.planning.layouts.geometry import Counts, Lattice, Layout, counts_of, layouts

MOST_GPUS = 64


@cache
def _by_counts(lattice: Lattice) -> tuple[tuple[Counts, Layout], ...]:
    """Return one layout per multiset of slices, those that fill most of a GPU first."""
    found = {counts_of(lattice, one): one for one in layouts(lattice)}
    sizes = [kind.size for kind in lattice.kinds]

    def fullest(item: tuple[Counts, Layout]) -> tuple[int, tuple[int, ...]]:
        counts = item[0]
        filled = sum(count * size for count, size in zip(counts, sizes, strict=True))
        return -filled, tuple(-count for count in reversed(counts))

    return tuple(sorted(found.items(), key=fullest))


def dealt(lattice: Lattice, counts: Mapping[str, int], gpus: int | None = None) -> tuple[Layout, ...] | None:
    """Deal slices out to so many GPUs (None: the fewest that hold them), each with a legal layout; None: impossible."""
    wanted = tuple(counts.get(kind.profile, 0) for kind in lattice.kinds)
    if gpus is not None:
        found = _search(lattice, wanted, gpus, {})
        return None if found is None else (*found, *(() for _ in range(gpus - len(found))))
    size = sum(n * kind.size for n, kind in zip(wanted, lattice.kinds, strict=True))
    whole = max((start + kind.size for kind in lattice.kinds for start in kind.starts), default=1)
    for fewest in range(-(-size // whole), MOST_GPUS + 1):
        if (found := _search(lattice, wanted, fewest, {})) is not None:
            return found
    return None


def _search(
    lattice: Lattice, wanted: Counts, gpus: int, dead: dict[tuple[Counts, int], bool]
) -> tuple[Layout, ...] | None:
    if not any(wanted):
        return ()
    if gpus == 0 or (wanted, gpus) in dead:
        return None
    for counts, layout in _by_counts(lattice):
        if any(counts) and all(a <= b for a, b in zip(counts, wanted, strict=True)):
            left = tuple(b - a for a, b in zip(counts, wanted, strict=True))
            if (rest := _search(lattice, left, gpus - 1, dead)) is not None:
                return (layout, *rest)
    dead[wanted, gpus] = True
    return None

"""Where slices may lie on one GPU: legal layouts, what busy slices still allow, which layouts are worth counting.

Counts are not placements: two 2g and a 3g fit on an A100 only while the 3g lies in one half. A slice lies on
`size` memory slices from `start`; two slices must not share one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache

from yolofleet.planning.capabilities import Capability, Gpu

Counts = tuple[int, ...]
"""How many slices of each profile of a lattice, in its order."""


@dataclass(frozen=True)
class Kind:
    """A profile as geometry sees it: so many memory slices, these starts, at most `limit` on one GPU.

    Kinds with the same word in `shares` have that limit together: a GPU has one set of media extensions.
    """

    profile: str
    size: int
    starts: tuple[int, ...]
    limit: int
    shares: str = ""


@dataclass(frozen=True)
class Lattice:
    """The profiles that one GPU can be cut into."""

    kinds: tuple[Kind, ...]

    def index(self, profile: str) -> int:
        """Return the place of a profile; KeyError names what there is."""
        for place, kind in enumerate(self.kinds):
            if kind.profile == profile:
                return place
        raise KeyError(f"profile {profile!r}: this GPU has {[kind.profile for kind in self.kinds]}")

    @property
    def groups(self) -> tuple[int, ...]:
        """Return for each kind the first one with which it shares its limit: itself, for most."""
        words = [kind.shares or kind.profile for kind in self.kinds]
        return tuple(words.index(word) for word in words)


@dataclass(frozen=True, order=True)
class Slice:
    """A slice of a profile where it lies, in memory slices."""

    start: int
    profile: str


Layout = tuple[Slice, ...]
"""The slices of one GPU, by start."""


def lattice_of(gpu: Gpu, profiles: Iterable[str] | None = None) -> Lattice:
    """Return the lattice of a product, of these profiles only if some are named."""
    wanted = None if profiles is None else set(profiles)
    return Lattice(tuple(_kind(one) for one in gpu.profiles if wanted is None or one.profile in wanted))


def _kind(one: Capability) -> Kind:
    media = "+me" if one.name.attributes == "+me" else ""
    return Kind(one.profile, one.memory_slices, one.starts, one.limit, media)


def residual(lattice: Lattice, fixed: Layout) -> Lattice:
    """Return what is left of a GPU beside slices that stay: their places are gone, and so is their part of limits."""
    taken = {place for one in fixed for place in _places(lattice, one)}
    used = [lattice.groups[lattice.index(one.profile)] for one in fixed]
    kinds = []
    for kind, group in zip(lattice.kinds, lattice.groups, strict=True):
        starts = tuple(s for s in kind.starts if taken.isdisjoint(range(s, s + kind.size)))
        limit = kind.limit - used.count(group)
        if starts and limit > 0:
            kinds.append(Kind(kind.profile, kind.size, starts, limit, kind.shares))
    return Lattice(tuple(kinds))


def _places(lattice: Lattice, one: Slice) -> range:
    return range(one.start, one.start + lattice.kinds[lattice.index(one.profile)].size)


def conflict(lattice: Lattice, layout: Iterable[Slice]) -> str | None:
    """Say what is wrong with a layout; None when it is legal."""
    taken: dict[int, Slice] = {}
    counts: dict[str, int] = {}
    for one in layout:
        kind = lattice.kinds[lattice.index(one.profile)]
        if one.start not in kind.starts:
            return f"{one.profile} cannot start at {one.start}: it may at {list(kind.starts)}"
        word = kind.shares or one.profile
        counts[word] = counts.get(word, 0) + 1
        if counts[word] > kind.limit:
            return f"{counts[word]} of {kind.shares or one.profile}: a GPU has {kind.limit} at most"
        for place in range(one.start, one.start + kind.size):
            if place in taken:
                other = taken[place]
                return f"{one.profile} at {one.start} overlaps {other.profile} at {other.start}"
            taken[place] = one
    return None


def free_starts(lattice: Lattice, layout: Layout, profile: str) -> tuple[int, ...]:
    """Return where one more slice of a profile may lie beside what is there."""
    kind = lattice.kinds[lattice.index(profile)]
    return tuple(s for s in kind.starts if conflict(lattice, (*layout, Slice(s, profile))) is None)


@cache
def layouts(lattice: Lattice) -> tuple[Layout, ...]:
    """Return every legal layout, the empty one too."""
    places = [Slice(start, kind.profile) for kind in lattice.kinds for start in kind.starts]
    return tuple(sorted(tuple(sorted(found)) for found in _grown((), places, lattice)))


def _grown(layout: Layout, places: list[Slice], lattice: Lattice) -> Iterator[Layout]:
    yield layout
    for at, place in enumerate(places):
        if conflict(lattice, (*layout, place)) is None:
            yield from _grown((*layout, place), places[at + 1 :], lattice)


def completions(lattice: Lattice, fixed: Layout) -> tuple[Layout, ...]:
    """Return every layout that keeps these slices where they lie: what a GPU with busy ones can become."""
    kept = set(fixed)
    return tuple(one for one in layouts(lattice) if kept.issubset(one))


def maximal(lattice: Lattice, fixed: Layout = ()) -> tuple[Layout, ...]:
    """Return the completions into which no further slice fits."""
    return tuple(
        one
        for one in completions(lattice, fixed)
        if not any(free_starts(lattice, one, kind.profile) for kind in lattice.kinds)
    )


def counts_of(lattice: Lattice, layout: Layout) -> Counts:
    """Count a layout's slices by profile, in the lattice's order."""
    return tuple(sum(one.profile == kind.profile for one in layout) for kind in lattice.kinds)


@cache
def worthwhile(lattice: Lattice, fixed: Layout = ()) -> tuple[tuple[Counts, Layout], ...]:
    """Return the counts that no other completion's counts contain, each with one layout that has them.

    They suffice to count GPUs. Of layouts with equal counts the last is taken: large slices far right keep the
    left half free, where 4g must lie.
    """
    by_counts = {counts_of(lattice, one): one for one in completions(lattice, fixed)}
    undominated = [
        mine
        for mine in by_counts
        if not any(mine != other and all(a <= b for a, b in zip(mine, other, strict=True)) for other in by_counts)
    ]
    return tuple((counts, by_counts[counts]) for counts in sorted(undominated, reverse=True))

"""Who sits where when the slices of a deployment's own kind have run out: counts in, counts out.

Others are told in order of preference, the cheapest first; the dearest are left first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Slices of one kind, as a deployment finds them: `seats` it holds or could have, replicas that stand, and serve.

    `usable`: an engine for them is published. `dearer`: a replica there costs more than on its own kind.
    """

    seats: int
    stands: int = 0
    serves: int = 0
    usable: bool = True
    dearer: bool = True


@dataclass(frozen=True)
class Seated:
    """Replicas on the own kind, those that find no slice among them, and on each of the others.

    `late` of those on the own kind wait, by other kind, for its engine.
    """

    own: int
    others: tuple[int, ...]
    unseated: int = 0
    late: tuple[int, ...] = ()

    @property
    def seated(self) -> int:
        """Return how many of those on the own kind have a slice there."""
        return self.own - self.unseated - sum(self.late)


def seat(wanted: int, own: Kind, others: Sequence[Kind], *, home: bool = False) -> Seated:
    """Seat so many replicas: on the own kind first, the rest where there is room, what is left waits for the own kind.

    What stands elsewhere stays while it is needed, and until replicas of the own kind serve in its place. `home`: the
    own kind has had room for long enough, so it takes back what costs more elsewhere.
    """
    kept = min(wanted, own.seats, own.stands)
    held = _held(others, wanted - min(kept, own.serves))
    rest = max(0, wanted - kept - sum(held))
    grown = min(rest, own.seats - kept)
    rest -= grown
    taken, late = [], []
    for kind, stay in zip(others, held, strict=True):
        more = min(rest, kind.seats - stay)
        taken.append(stay + more if kind.usable else stay)
        late.append(0 if kind.usable else more)
        rest -= more
    at_home = kept + grown
    if home and rest == 0:
        dear = sum(count for count, kind in zip(taken, others, strict=True) if kind.dearer)
        at_home += max(0, min(own.seats - at_home, dear, wanted - at_home))
    return Seated(at_home + rest + sum(late), tuple(taken), rest, tuple(late))


def _held(others: Sequence[Kind], most: int) -> list[int]:
    """Return what stays of what stands: the first first, as many as are needed, and have a slice."""
    held: list[int] = []
    for kind in others:
        stay = max(0, min(kind.stands, kind.seats, most - sum(held)))
        held.append(stay)
    return held

"""Who takes which of slices that are alike: replicas are spread over zones, nodes and GPUs, at no cost in either.

A node or a zone that is lost shall take as few replicas of one deployment along as can be. Fewest GPUs and least
movement come first: spreading chooses only among slices that the plan cuts anyhow, and moves nobody.
"""

from __future__ import annotations

import heapq
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence

from yolofleet.planning.layouts.geometry import Slice

Place = tuple[str, str]
"""Zone (empty: unknown) and node."""
Slot = tuple[str, Slice]
"""A place for a replica: which GPU, which slice."""
NAMED = 5


class Floor:
    """Slots of one kind by zone and node; each owner is dealt the ones farthest from its other replicas."""

    def __init__(self, slots: Iterable[Slot], where: Mapping[str, Place]) -> None:
        self._where = where
        self._slots: dict[Place, list[Slot]] = defaultdict(list)
        for slot in slots:
            self._slots[where[slot[0]]].append(slot)
        self._heaps: dict[str, list[tuple[int, str]]] = defaultdict(list)
        for (zone, node), mine in sorted(self._slots.items()):
            heapq.heappush(self._heaps[zone], (-len(mine), node))
        self._left = Counter({zone: -sum(n for n, _ in heap) for zone, heap in self._heaps.items()})

    def deal(self, count: int, there: Iterable[str]) -> list[Slot]:
        """Return `count` slots for one owner that has replicas on GPUs `there` already."""
        gpus = Counter(there)
        nodes: Counter[Place] = Counter()
        for gpu, n in gpus.items():
            nodes[self._where[gpu]] += n
        dealt = []
        for _ in range(min(count, self._left.total())):
            zones: Counter[str] = Counter()
            for (zone, _), n in nodes.items():
                zones[zone] += n
            zone = min((z for z, n in self._left.items() if n), key=lambda z: (zones[z], -self._left[z], z))
            slot = self._take(zone, nodes, gpus)
            nodes[self._where[slot[0]]] += 1
            gpus[slot[0]] += 1
            dealt.append(slot)
        return dealt

    def _take(self, zone: str, nodes: Counter[Place], gpus: Counter[str]) -> Slot:
        """Take a slot of the node with the fewest of the owner's; of those alike, of the one with most left."""
        heap, aside = self._heaps[zone], []
        while heap and nodes[zone, heap[0][1]]:
            aside.append(heapq.heappop(heap))
        if not heap:  # the owner is on every node with slots left
            aside.sort(key=lambda told: (nodes[zone, told[1]], told))
            heapq.heappush(heap, aside.pop(0))
        left, node = heapq.heappop(heap)
        for told in aside:
            heapq.heappush(heap, told)
        if left < -1:
            heapq.heappush(heap, (left + 1, node))
        self._left[zone] -= 1
        mine = self._slots[zone, node]
        return mine.pop(min(range(len(mine)), key=lambda at: (gpus[mine[at][0]], at)))


def bunched(held: Mapping[str, Sequence[str]], where: Mapping[str, Place]) -> tuple[str, ...]:
    """Say who has all of several replicas on one node, or in one zone, where there are more; `held`: GPUs by owner."""
    told = []
    for at, word in ((1, "on one node"), (0, "in one zone")):
        if len({place[at] for place in where.values()} - {""}) > 1:
            names = sorted(
                name for name, gpus in held.items() if len(gpus) > 1 and len({where[gpu][at] for gpu in gpus}) == 1
            )
            if names:
                more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
                told.append(
                    f"all replicas of {', '.join(names[:NAMED])}{more} are {word}: elsewhere the plan has no slice of "
                    "their kind, and nobody is moved, nor a GPU added, for that alone"
                )
    return tuple(told)

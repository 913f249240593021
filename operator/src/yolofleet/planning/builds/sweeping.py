"""What may go from an S3 store: decided from a listing, from what the fleet uses, and from how long nobody used it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from yolofleet.api.recipe import engine_name

Place = tuple[str, str]
"""Namespace and key."""
YOUNG_S = 600
"""An engine that nobody uses since a moment ago is not taken for want of room: somebody may be about to."""
GIB = 1024**3


class Why(StrEnum):
    """Why something goes."""

    UNUSED = "Unused"
    LEFTOVER = "Leftover"
    NO_ROOM = "NoRoom"


@dataclass(frozen=True)
class StoredObject:
    """One object of an engine; `attempt` is None for the manifest under the key itself."""

    place: Place
    attempt: str | None
    name: str
    size_bytes: int
    modified: datetime


@dataclass(frozen=True)
class Survey:
    """All objects of engines, and which attempt each key's manifest names (None where it can't be read)."""

    objects: tuple[StoredObject, ...]
    published: Mapping[Place, str | None]


@dataclass(frozen=True)
class InUse:
    """What nobody may take: engines by namespace and name, and attempts whose Job is still there."""

    engines: Collection[tuple[str, str]]
    attempts: Collection[tuple[str, str]]

    def has(self, place: Place) -> bool:
        """Tell whether anything in the cluster names this engine."""
        return (place[0], engine_name(place[1])) in self.engines


@dataclass(frozen=True)
class SweepPolicy:
    """How long what nobody uses stays; `leftover_s` outlives every grant; no quota: None."""

    retention_s: float
    leftover_s: float
    quota_bytes: int | None = None


@dataclass(frozen=True)
class Deletion:
    """Objects that go together, in their order: the manifest first, so that no reader finds one without its files."""

    place: Place
    why: Why
    message: str
    names: tuple[str, ...]
    size_bytes: int


@dataclass(frozen=True)
class Sweep:
    """What goes, since when the rest is unused, how much stays, and by how much that is too much."""

    deletions: tuple[Deletion, ...]
    unused_since: Mapping[Place, datetime]
    kept_bytes: int
    over_bytes: int


def sweep(
    survey: Survey, in_use: InUse, unused_since: Mapping[Place, datetime], *, policy: SweepPolicy, now: datetime
) -> Sweep:
    """Decide what goes. What is in use never does, whatever the quota says."""
    by_place: dict[Place, list[StoredObject]] = {}
    for found in survey.objects:
        by_place.setdefault(found.place, []).append(found)
    since = {place: unused_since.get(place, now) for place in by_place if not in_use.has(place)}
    expired = [place for place, moment in since.items() if (now - moment).total_seconds() >= policy.retention_s]
    gone = [
        _all_of(by_place[place], Why.UNUSED, f"nobody has used it since {since[place]:%Y-%m-%d %H:%M}")
        for place in expired
    ]
    left = [place for place in by_place if place not in set(expired)]
    leftovers = [doomed for place in left for doomed in _leftovers(place, by_place[place], survey, in_use, policy, now)]
    kept = sum(found.size_bytes for found in survey.objects) - sum(doomed.size_bytes for doomed in (*gone, *leftovers))
    evicted = _evicted(kept, {p: by_place[p] for p in left if p in since}, leftovers, since, policy, now)
    kept -= sum(doomed.size_bytes for doomed in evicted)
    deletions = tuple(sorted((*gone, *leftovers, *evicted), key=lambda doomed: (doomed.place, doomed.names)))
    whole = {doomed.place for doomed in (*gone, *evicted)}
    return Sweep(
        deletions,
        {place: moment for place, moment in since.items() if place not in whole},
        kept,
        max(0, kept - policy.quota_bytes) if policy.quota_bytes is not None else 0,
    )


def _leftovers(
    place: Place, objects: list[StoredObject], survey: Survey, in_use: InUse, policy: SweepPolicy, now: datetime
) -> list[Deletion]:
    """Return the attempts of a key that became nothing: not named by its manifest, no Job, and too old to go on."""
    named = survey.published.get(place)
    if place in survey.published and named is None:
        return []  # a manifest that can't be read may name any of them
    attempts: dict[str, list[StoredObject]] = {}
    for found in objects:
        if found.attempt is not None and found.attempt != named and (place[0], found.attempt) not in in_use.attempts:
            attempts.setdefault(found.attempt, []).append(found)
    aged = now - timedelta(seconds=policy.leftover_s)
    old = [several for _, several in sorted(attempts.items()) if max(found.modified for found in several) <= aged]
    return [_all_of(several, Why.LEFTOVER, f"attempt {several[0].attempt} came to nothing") for several in old]


def _evicted(
    kept: int,
    unused: Mapping[Place, list[StoredObject]],
    leftovers: Iterable[Deletion],
    since: Mapping[Place, datetime],
    policy: SweepPolicy,
    now: datetime,
) -> list[Deletion]:
    """Return what goes for want of room: the longest unused first, and no more than is needed."""
    if policy.quota_bytes is None:
        return []
    counted = {name for doomed in leftovers for name in doomed.names}
    chosen: list[Deletion] = []
    for place in sorted(unused, key=lambda place: (since[place], place)):
        if kept <= policy.quota_bytes:
            break
        if (now - since[place]).total_seconds() < YOUNG_S:
            continue
        rest = [found for found in unused[place] if found.name not in counted]
        told = (
            f"unused since {since[place]:%Y-%m-%d %H:%M}, and the store is over its {policy.quota_bytes / GIB:.1f} GiB"
        )
        chosen.append(_all_of(rest, Why.NO_ROOM, told))
        kept -= chosen[-1].size_bytes
    return chosen


def _all_of(objects: list[StoredObject], why: Why, message: str) -> Deletion:
    ordered = sorted(objects, key=lambda found: (found.attempt is not None, found.name))
    names = tuple(found.name for found in ordered)
    return Deletion(objects[0].place, why, message, names, sum(found.size_bytes for found in objects))


def full(made: Sweep, policy: SweepPolicy) -> str:
    """Return why no build may start, '' where there is room."""
    if not made.over_bytes or policy.quota_bytes is None:
        return ""
    room = f"{made.kept_bytes / GIB:.2f} of {policy.quota_bytes / GIB:.2f} GiB"
    return f"the engine store holds {room}, all of it in use: raise store.s3.quotaGiB, or delete YoloDeployments"

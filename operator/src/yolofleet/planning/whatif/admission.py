"""How many streams of a deployment fit, and what would make more fit: each answer is planned, none guessed."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from yolofleet.api.snapshot import SnapshotDeployment, SnapshotEngine, SnapshotFile
from yolofleet.api.yolodeployment import Demand, YoloDeploymentSpec
from yolofleet.errors import Refused
from yolofleet.planning.sizing.curves import recipe_from
from yolofleet.planning.whatif.foretelling import foretold
from yolofleet.planning.whatif.optimum import planned
from yolofleet.planning.whatif.seating import name_of
from yolofleet.planning.whatif.survey import surveyed

MOST_STREAMS = 1_000_000
MOST_REPLICAS = 1000
IN = ", in "
_TINY = 1e-6
Fits = Callable[[int], bool]


@dataclass(frozen=True)
class Option:
    """A way to serve, and the most streams that fit that way; None: more than anybody has."""

    way: str
    streams: int | None


@dataclass(frozen=True)
class Admission:
    """What a deployment has, and how many streams fit each way; the first two ways need no change of its spec."""

    name: str
    streams: int
    frames_per_second: float
    as_cut: Option
    cut_anew: Option
    others: tuple[Option, ...]


def admission(snapshot: SnapshotFile, name: str) -> Admission:
    """Return how many streams of one deployment fit, nobody else going shorter than today."""
    one = next((each for each in snapshot.deployments if name_of(each) == name), None)
    if one is None:
        known = ", ".join(sorted(map(name_of, snapshot.deployments))[:20]) or "none"
        raise Refused(field="NAME", value=name, message="no such YoloDeployment", remedy=f"name one of: {known}")
    if one.spec.demand is None:
        raise Refused(
            field="spec.demand",
            value=name,
            message="absent: nobody knows what one stream asks for",
            remedy="declare demand.streams and demand.framesPerSecond",
        )
    now = one.spec.demand.streams
    ways = [Option(way, most(fits, now)) for way, fits in _ways(snapshot, one)]
    ways = [ways[0], *(_at_least(way, ways[0]) for way in ways[1:])]
    return Admission(name, now, float(one.spec.demand.frames_per_second), ways[0], ways[1], tuple(ways[2:]))


def _at_least(way: Option, as_cut: Option) -> Option:
    """Return a way that may leave all as it is cut: no fewer fit than now, also on GPUs that it leaves out."""
    if way.streams is None or IN in way.way or (as_cut.streams is not None and as_cut.streams <= way.streams):
        return way
    return Option(way.way, as_cut.streams)


def most(fits: Fits, near: int) -> int | None:
    """Return the largest count that fits; whatever fits, less fits too."""
    low, high = 0, max(1, near)
    while fits(high):
        if high >= MOST_STREAMS:
            return None
        low, high = high, min(2 * high, MOST_STREAMS)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low


def _ways(snapshot: SnapshotFile, one: SnapshotDeployment) -> Iterator[tuple[str, Fits]]:
    yield "on the slices as they are cut", partial(_as_cut, snapshot, one, _shorts(snapshot))
    base = _unserved(snapshot, one, "")
    anew = partial(_cut_anew, one=one, base=base)
    yield "with GPUs cut anew", partial(anew, snapshot)
    if one.spec.scaling.max_replicas < MOST_REPLICAS:
        raised = one.spec.scaling.model_copy(update={"max_replicas": MOST_REPLICAS})
        freed = one.model_copy(update={"spec": one.spec.model_copy(update={"scaling": raised})})
        way = f"on the slices as they are cut, scaling.maxReplicas above {one.spec.scaling.max_replicas}"
        yield way, partial(_as_cut, snapshot, freed, _shorts(snapshot))
    for product in sorted({node.product for node in snapshot.nodes if node.product}):
        yield f"one {product} more, cut anew", partial(anew, snapshot, more=product)
    placement = one.spec.placement
    for field in ("profiles", "products"):
        if told := getattr(placement, field):
            loose = one.spec.model_copy(update={"placement": placement.model_copy(update={field: []})})
            freed = one.model_copy(update={"spec": loose})
            way = f"with GPUs cut anew, placement.{field} not only {', '.join(told)}"
            yield way, partial(_cut_anew, snapshot, one=freed, base=base)
    for precision, engines in sorted(_other_precisions(snapshot, one).items()):
        yield f"with GPUs cut anew{IN}{precision}", partial(anew, snapshot.model_copy(update={"engines": engines}))


def asking(snapshot: SnapshotFile, one: SnapshotDeployment, streams: int) -> SnapshotFile:
    """Return the snapshot with a deployment of so many streams, scaled by what it declares alone."""
    spec: YoloDeploymentSpec = one.spec
    rate = spec.demand.frames_per_second if spec.demand else "1"
    scaling = spec.scaling.model_copy(update={"mode": "Declared"})
    changed = spec.model_copy(update={"demand": Demand(streams=streams, frames_per_second=rate), "scaling": scaling})
    others = [each for each in snapshot.deployments if name_of(each) != name_of(one)]
    return snapshot.model_copy(update={"deployments": [*others, one.model_copy(update={"spec": changed})]})


def _shorts(snapshot: SnapshotFile) -> frozenset[str]:
    return frozenset(row.name for row in foretold(snapshot) if row.short)


def _as_cut(snapshot: SnapshotFile, one: SnapshotDeployment, before: frozenset[str], streams: int) -> bool:
    """Tell whether the operator serves so many on the slices that exist, and nobody else goes short for it."""
    short = {row.name for row in foretold(asking(snapshot, one, streams)) if row.short}
    return short <= before - {name_of(one)}


def _cut_anew(
    snapshot: SnapshotFile, streams: int, *, one: SnapshotDeployment, base: Mapping[str, float], more: str = ""
) -> bool:
    """Tell whether so many can be served were the GPUs cut for it, and nobody else goes shorter for it."""
    lost = _unserved(asking(snapshot, one, streams), one, more)
    mine = lost.pop(name_of(one), 0.0)
    return mine <= _TINY and all(fps <= base.get(name, 0.0) + _TINY for name, fps in lost.items())


def _unserved(snapshot: SnapshotFile, one: SnapshotDeployment, more: str) -> dict[str, float]:
    """Return who goes short in the deployment's pool, by how many frames per second."""
    pool = one.spec.placement.pool_ref.name
    found = next((survey for survey in surveyed(snapshot) if survey.pool.name == pool), None)
    if found is None:
        return {name_of(one): 1.0}
    return dict(planned(found, more=more).unserved)


def _other_precisions(snapshot: SnapshotFile, one: SnapshotDeployment) -> dict[str, list[SnapshotEngine]]:
    """Return the engines as if this deployment's recipe had the curves of another number format, by that format."""
    mine = recipe_from(one.spec)
    found: dict[str, list[SnapshotEngine]] = {}
    for engine in snapshot.engines:
        recipe = engine.recipe
        update = {"precision": mine.precision, "calibration": mine.calibration, "dataset": mine.dataset}
        alike = recipe.model_copy(update=update) == mine
        if engine.namespace == one.namespace and alike and recipe.precision != mine.precision and engine.curves:
            found.setdefault(recipe.precision, []).append(engine.model_copy(update={"recipe": mine}))
    rest = [each for each in snapshot.engines if each.namespace != one.namespace or each.recipe != mine]
    return {precision: [*rest, *engines] for precision, engines in found.items()}

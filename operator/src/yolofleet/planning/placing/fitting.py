"""Which of the slices that exist serve a deployment best by its curves: objective, then demand, then least of a GPU.

What runs is kept unless it cannot serve, or another kind is clearly better: a move costs an engine and a rollout.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from yolofleet.api.recipe import HardwareCompatibility
from yolofleet.planning.scaling.capacity import Capacity
from yolofleet.planning.scaling.replicas import figures_of
from yolofleet.planning.sizing.curves import Curves, Kind, RecipeId, home_of, tier
from yolofleet.planning.sizing.rates import Ask, Rate, curves_on, endpoint_of, rate_of, rate_on
from yolofleet.planning.sizing.tuning import Tunings
from yolofleet.planning.slices.host_link import share_of
from yolofleet.planning.slices.profiles import Offer, same_profile, size_of, slug
from yolofleet.planning.snapshot import DeploymentView

CLEARLY = 0.75
"""A running kind goes for one that costs so much of it, or leaves so much of the shortfall, or less."""
NO_CURVE = "no curve for it yet"
Used = Mapping[tuple[str, str], int]
"""Devices that are held, by node and resource."""


@dataclass(frozen=True)
class Lot:
    """The slices of one kind that a pool's nodes offer."""

    pool: str
    profile: str
    resource: str
    product: str
    offers: tuple[Offer, ...]

    @property
    def key(self) -> tuple[str, str, str, str]:
        """Return what tells lots apart."""
        return self.pool, self.resource, self.profile, self.product


def lots_of(pool: str, offers: Iterable[Offer]) -> tuple[Lot, ...]:
    """Put offers of one kind together, smallest profile first, ties by product."""
    found: dict[tuple[str, str, str], list[Offer]] = {}
    for offer in offers:
        found.setdefault((offer.profile, offer.resource, offer.product or ""), []).append(offer)
    ordered = sorted(found, key=lambda kind: (*size_of(kind[0]), kind[1:]))
    return tuple(Lot(pool, *kind, tuple(found[kind])) for kind in ordered)


class Room:
    """How many slices nobody holds: neither this fleet, nor others, nor who came before in the same pass."""

    def __init__(self, used: Used, foreign: Used) -> None:
        self._used, self._foreign = used, foreign
        self._free: Counter[tuple[str, str, str, str]] = Counter()

    def free(self, lot: Lot) -> int:
        """Return how many slices of a lot are left."""
        if lot.key not in self._free:
            self._free[lot.key] = sum(max(0, offer.allocatable - self._held(offer)) for offer in lot.offers)
        return max(0, self._free[lot.key])

    def _held(self, offer: Offer) -> int:
        at = (offer.node, offer.resource)
        return self._used.get(at, 0) + self._foreign.get(at, 0)

    def take(self, lots: Sequence[Lot], count: int) -> None:
        """Give slices away: from the first lot that has some."""
        for lot in lots:
            taken = min(self.free(lot), count)
            self._free[lot.key] -= taken
            count -= taken


class Worths:
    """What slices are worth to deployments, told once per pass for all that ask for the same.

    `kinds` are those on offer: where a recipe has no curve of one, it is estimated if its work is known.
    """

    def __init__(self, curves: Curves | None = None, kinds: Sequence[Kind] = ()) -> None:
        self._curves = curves or Curves()
        self._kinds = kinds
        self.tunings = Tunings(self._curves, kinds)
        self._asks: dict[tuple[RecipeId, int, int, str], Ask | None] = {}
        self._rates: dict[tuple[int, str, str], Rate | str] = {}

    def ask(self, view: DeploymentView, portable: HardwareCompatibility | None = None) -> Ask | None:
        """Return what sizing is asked for a deployment and an exact engine, or a portable one; None without a curve."""
        if not self._curves:
            return None
        spec = view.spec
        endpoint = endpoint_of(spec)
        use, bound = spec.scaling.target_utilization_percent, spec.objective.p99_latency_milliseconds
        key = (tier(home_of(view.namespace, spec), portable), bound, use, endpoint)
        if key not in self._asks:
            curves = self._curves.at(key[0], self._kinds)
            made = Ask("", 0.0, float(bound), utilization_percent=use, endpoint=endpoint, curves=curves)
            self._asks[key] = made if curves else None
        return self._asks[key]

    def capacity(
        self,
        view: DeploymentView,
        profile: str,
        products: Sequence[str],
        portable: HardwareCompatibility | None = None,
    ) -> Capacity | None:
        """Return what one replica carries at full use on these products, the least of them; None: nobody knows.

        Where no product is told, every curve of the profile speaks.
        """
        ask = self.ask(view, portable)
        if ask is None:
            return None
        full = replace(ask, utilization_percent=100)
        found = [
            Capacity(rate.fps, curve.source)
            for curve in curves_on(ask.curves, profile, products)
            if isinstance(rate := rate_of(curve, full), Rate)
        ]
        return min(found, key=lambda one: one.fps, default=None)

    def rate(self, ask: Ask, product: str, profile: str) -> Rate | str:
        """Return what a slice may be planned with, or why nothing; NO_CURVE where nobody knows."""
        key = (id(ask), product, profile)
        if key not in self._rates:
            mine = any(c.product == product and same_profile(c.profile, profile) for c in ask.curves)
            self._rates[key] = rate_on(ask, (product, profile)) if mine else NO_CURVE
        return self._rates[key]


@dataclass(frozen=True)
class Candidate:
    """Slices of one kind for a deployment: frames per second of one, how many, what they cost, what stays unserved."""

    lots: tuple[Lot, ...]
    fps: float
    count: int
    cost: float
    unserved: float
    lacking: int
    serving: bool
    holds: int = 0
    guess: str = ""
    each: float = 0.0
    free: int = 0

    @property
    def profile(self) -> str:
        """Return the profile."""
        return self.lots[0].profile

    @property
    def rank(self) -> tuple[float, bool, float, tuple[int, int, str], tuple[str, ...]]:
        """Return the order of preference, the best first."""
        products = tuple(lot.product for lot in self.lots)
        return round(self.unserved, 3), self.lacking > 0, round(self.cost, 6), size_of(self.profile), products


@dataclass(frozen=True)
class Fit:
    """The kind that was found, and why it and no smaller one."""

    candidate: Candidate
    why: str
    others: tuple[Candidate, ...] = ()
    """Kinds of which a slice carries at least as much, the cheapest first."""


@dataclass(frozen=True)
class NoFit:
    """No kind on offer serves by the curves; `why` is empty where there are none, `keep`: what runs may go on."""

    why: str = ""


def fit(
    view: DeploymentView, lots: Sequence[Lot], *, worths: Worths, room: Room, costs: Mapping[str, float]
) -> Fit | NoFit:
    """Return the kind of slice for a deployment, of the lots that it may use."""
    ask = worths.ask(view)
    if ask is None or not lots:
        return NoFit()
    found, out = _candidates(view, lots, ask, worths, room=room, costs=costs)
    if not found:
        told = "; ".join(f"{profile}: {why}" for profile, why in out.items())
        return NoFit(told) if set(out.values()) != {NO_CURVE} else NoFit()
    running = {group.profile for group in view.groups if not group.overflow}
    unknown = [profile for profile in running if out.get(profile) == NO_CURVE]
    if doubtful := [profile for profile in running & out.keys() if _guessed(ask, lots, profile)]:
        return NoFit(f"{doubtful[0]}: {out[doubtful[0]]}, by an estimate, which alone moves nothing that serves")
    best = min(found, key=lambda one: one.rank)
    taken = _kept(view, found, best) or best
    if not taken.serving and (unknown or (taken.lacking and running & out.keys())):
        return NoFit()  # nobody knows that it is worse, or its successor would have to wait for slices
    return Fit(taken, _why(view, taken, found, out), _as_good(taken, found))


def _as_good(taken: Candidate, found: Sequence[Candidate]) -> tuple[Candidate, ...]:
    """Return who may help out: one kind of slice by profile, as a Deployment is for one profile.

    An estimate counts with its lower edge: against one nothing is known to carry as much but what is estimated alike.
    """
    able = sorted(
        (
            one
            for one in found
            if one.profile != taken.profile and one.fps >= taken.fps and (one.guess or not taken.guess)
        ),
        key=lambda one: (round(one.each, 6), size_of(one.profile), tuple(lot.product for lot in one.lots)),
    )
    first: dict[str, Candidate] = {}
    for one in able:
        first.setdefault(one.profile, one)
    return tuple(first.values())


def _helped(view: DeploymentView, now: Candidate, found: Sequence[Candidate]) -> Candidate:
    """Return a kind with what others carry and cost that help out where its own slices have run out."""
    for other in _as_good(now, found) if now.lacking else ():
        help_ = min(now.lacking, other.free + _holds(view, other.profile))
        now = replace(
            now,
            lacking=now.lacking - help_,
            unserved=max(0.0, now.unserved - help_ * now.fps),
            cost=now.cost + help_ * (other.each - now.each),
        )
    return now


def _guessed(ask: Ask, lots: Sequence[Lot], profile: str) -> bool:
    """Tell whether all that is known of a kind is an estimate."""
    mine = curves_on(ask.curves, profile, sorted({lot.product for lot in lots if lot.profile == profile}))
    return bool(mine) and all(curve.source == "Estimated" for curve in mine)


def _kept(view: DeploymentView, found: Sequence[Candidate], best: Candidate) -> Candidate | None:
    """Return the kind that runs while it is not clearly worse than the best; None: nothing that serves runs."""
    now = min((one for one in found if one.serving), key=lambda one: one.rank, default=None)
    if now is None or best is now or best.lacking or now.guess or best.guess:
        return now  # an estimate finds a place for what is new; it moves nothing that serves
    helped = _helped(view, now, found)
    if helped.unserved > 0 and best.unserved <= CLEARLY * helped.unserved:
        return None
    # Demand that is only seen goes up and down by the hour: that alone moves nothing.
    declared = view.spec.demand is not None and view.spec.scaling.mode != "Observed"
    cheaper = best.unserved <= helped.unserved and best.cost <= CLEARLY * helped.cost
    return None if declared and cheaper else now


def _candidates(
    view: DeploymentView,
    lots: Sequence[Lot],
    ask: Ask,
    worths: Worths,
    *,
    room: Room,
    costs: Mapping[str, float],
) -> tuple[list[Candidate], dict[str, str]]:
    """Return what could serve, and by profile why others cannot; kinds without a curve are left to the rest."""
    found: list[Candidate] = []
    out: dict[str, str] = {}
    for group in _alike(lots, exact=view.spec.engine.backend == "TensorRT"):
        rates = [(lot, worths.rate(ask, lot.product, lot.profile)) for lot in group]
        serving = tuple(lot for lot, rate in rates if isinstance(rate, Rate))
        if serving:
            fps = min(rate.fps for _, rate in rates if isinstance(rate, Rate))
            guess = next((rate.guess for _, rate in rates if isinstance(rate, Rate) and rate.guess), "")
            found.append(replace(_candidate(view, serving, fps, room=room, costs=costs), guess=guess))
        else:
            out.setdefault(group[0].profile, next(rate for _, rate in rates if isinstance(rate, str)))
    return found, {profile: why for profile, why in out.items() if all(profile != one.profile for one in found)}


def _alike(lots: Sequence[Lot], *, exact: bool) -> list[list[Lot]]:
    """Put lots together that one Deployment may use: an engine of TensorRT is for one product, ONNX for any."""
    found: dict[tuple[str, str, str], list[Lot]] = {}
    for lot in lots:
        found.setdefault((lot.profile, lot.resource, lot.product if exact else ""), []).append(lot)
    return list(found.values())


def _candidate(
    view: DeploymentView, lots: tuple[Lot, ...], fps: float, *, room: Room, costs: Mapping[str, float]
) -> Candidate:
    scaling, demand = view.spec.scaling, figures_of(view).planned or 0.0
    wanted = max(scaling.min_replicas, math.ceil(demand / fps - 1e-9) + scaling.warm_replicas)
    count = min(wanted, scaling.max_replicas)
    profile = lots[0].profile
    serving = _runs(view, lots)
    holds = _holds(view, profile) if serving else 0
    unheld = sum(room.free(lot) for lot in lots)
    free = unheld + holds
    each = max(share_of(lot.product, profile) * costs.get(lot.product, 1.0) for lot in lots)
    unserved = max(0.0, demand - min(count, free) * fps)
    lacking = max(0, count - free)
    return Candidate(lots, fps, count, count * each, unserved, lacking, serving, holds, each=each, free=unheld)


def _runs(view: DeploymentView, lots: Sequence[Lot]) -> bool:
    """Tell whether a deployment runs on these slices now."""
    profile = lots[0].profile
    products = {group.product for group in view.status.groups if group.profile == profile and group.product}
    here = not products or any(lot.product in products for lot in lots)
    return here and any(group.profile == profile and not group.overflow for group in view.groups)


def _holds(view: DeploymentView, profile: str) -> int:
    """Count the slices of a profile that a deployment's own pods hold."""
    return sum(pod.profile == slug(profile) and not pod.unschedulable and not pod.terminating for pod in view.pods)


def _why(view: DeploymentView, taken: Candidate, found: Sequence[Candidate], out: Mapping[str, str]) -> str:
    """Say why this kind and not the next smaller one, in figures that stand still while the spec does."""
    within = f"within {view.spec.objective.p99_latency_milliseconds} ms"
    demand = view.spec.demand if view.spec.scaling.mode != "Observed" else None
    guess = f" ({taken.guess})" if taken.guess else ""
    told = f"{taken.fps:.0f} fps{guess} each {within}"
    if demand is not None:
        asked = demand.streams * float(demand.frames_per_second)
        told = f"{taken.count} × {taken.fps:.0f} fps{guess} {within} for {asked:.0f} fps declared"
    kept = "already serving on it, " if taken.serving else ""
    smaller = [one for one in found if size_of(one.profile) < size_of(taken.profile)]
    below = [profile for profile in out if size_of(profile) < size_of(taken.profile)]
    parts = [f"{kept}{told}", *(_against(one, taken) for one in smaller[-1:])]
    parts += [f"{profile}: {out[profile]}" for profile in below[-1:]]
    return "; ".join(parts)


def _against(other: Candidate, taken: Candidate) -> str:
    """Say why a smaller kind was not taken."""
    if other.rank < taken.rank:
        return f"{other.profile} would do too, but is not so much better that a move were worth it"
    if other.unserved > taken.unserved:
        return (
            f"{other.count} × {other.profile} would leave more unserved: too few are free, or scaling.maxReplicas binds"
        )
    if other.lacking:
        return f"{other.profile}: too few are free"
    return f"{other.count} × {other.profile} would take {other.cost:.2f} against {taken.cost:.2f} of a GPU"

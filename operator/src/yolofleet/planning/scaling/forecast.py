"""From looks at the arrivals to a count of replicas: the level, its rise, the usual day, and a headroom at its price.

Pure and bounded: a few looks, the peaks of five minutes, four days in five-minute steps, and what choices have cost.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from yolofleet.planning.scaling import arrivals, daily, headroom
from yolofleet.planning.scaling.arrivals import Arrivals, Rise
from yolofleet.planning.scaling.daily import Profile
from yolofleet.planning.scaling.headroom import CHOICES, VIEWS, WINDOWS_S, Choice, Market, Shadows, blank

Peaks = tuple[tuple[float, float], ...]
LEARNING_S = 600.0
"""The usual demand is the mean of what was seen, until that is this long; then it fades with the costs."""


@dataclass(frozen=True)
class Prices:
    """Seconds of the whole deployment that a second over the objective is worth, and that a change is."""

    overload_s: float
    change_s: float = 0.0


@dataclass(frozen=True)
class Forecast:
    """What the looks so far say; times are of the looks' own clock, in seconds."""

    arrivals: Arrivals
    since: float
    usual_fps: float
    seen_s: float = 0.0
    peaks: tuple[Peaks, ...] = ((),) * VIEWS
    profile: Profile = field(default_factory=Profile)
    shadows: Shadows = field(default_factory=blank)
    bases: tuple[float, ...] = (0.0,) * VIEWS
    rise: Rise | None = None

    @property
    def at(self) -> float:
        """Return when the last look was."""
        return self.arrivals.at

    @property
    def choice(self) -> Choice:
        """Return the headroom and window that decide."""
        return CHOICES[self.shadows.chosen]


@dataclass(frozen=True)
class Wanted:
    """A count and its terms: frames per second that are planned for, whose word that is, how much of it is a rise.

    `now` is what is needed without the window; `whole_window`: that long was looked on already.
    """

    replicas: int
    now: int
    base_fps: float
    origin: str
    rise_fps: float
    headroom_fps: float
    window_s: float
    whole_window: bool


@dataclass(frozen=True)
class Slice:
    """What a replica carries, what share of it is planned for, and how long it takes from wish to service."""

    replica_fps: float
    target: float = 1.0
    start_s: float = 30.0


def begun(at: float, fps: float, *, chosen: int = headroom.UNLEARNT) -> Forecast:
    """Return what one look tells; `chosen` is what was chosen before a restart."""
    return Forecast(arrivals.first(at, fps), at, fps, shadows=blank(chosen, at), bases=(fps,) * VIEWS)


def after(known: Forecast, at: float, fps: float, *, clock_s: float, worth: Slice, prices: Prices) -> Forecast:
    """Take another look: learn from it what each choice would have cost, and choose again."""
    elapsed = at - known.at
    if elapsed <= 0:
        return known
    gap = elapsed > arrivals.GAP_S
    moved = arrivals.after(known.arrivals, at, fps)
    profile = daily.noted(known.profile, clock_s, moved.fps)
    fades = known.seen_s > LEARNING_S
    weight = 1 - 0.5 ** (elapsed / headroom.HALF_LIFE_S) if fades else elapsed / (known.seen_s + elapsed)
    usual = known.usual_fps if gap else known.usual_fps + weight * (fps - known.usual_fps)
    rise, bases = _bases(known.rise, moved, daily.expected(profile, clock_s, ahead_s=worth.start_s), worth)
    peaks = _all_peaks(((),) * VIEWS if gap else known.peaks, at, bases)
    seen_s = known.seen_s if gap else known.seen_s + elapsed
    since, shadows = at if gap else known.since, known.shadows
    if not gap:
        look = _look(shadows, moved, usual, bases, peaks)
        shadows = headroom.chosen(headroom.seen(shadows, look, _market(usual, worth, prices)), at)
    return Forecast(moved, since, usual, seen_s, peaks, profile, shadows, bases, rise)


def _bases(known: Rise | None, moved: Arrivals, usual: float, worth: Slice) -> tuple[Rise | None, tuple[float, ...]]:
    """Return the rise that goes on, and what is planned for: plain, with the rise, with the usual day, with both."""
    at = moved.at
    ahead = worth.start_s + at - moved.looks[-2][0] if len(moved.looks) > 1 else worth.start_s
    more = arrivals.rise(moved, ahead)
    rise = arrivals.going_on(known, at, moved.fps + more, rises=more > 0)
    rising = max(moved.fps + more, rise.foretold_fps if rise else 0.0)
    return rise, (moved.fps, rising, max(moved.fps, usual), max(rising, usual))


def _look(
    shadows: Shadows, moved: Arrivals, usual: float, bases: tuple[float, ...], peaks: tuple[Peaks, ...]
) -> headroom.Look:
    (before, _), (at, fps) = moved.looks[-2:]
    view, window = headroom.view_of(shadows), CHOICES[shadows.chosen].window_s
    by_view = tuple(_largest(told, at, window) for told in peaks)
    by_window = tuple(_largest(peaks[view], at, length) for length in WINDOWS_S)
    return headroom.Look(at, at - before, fps, usual, bases, by_view, by_window)


def _all_peaks(before: tuple[Peaks, ...], at: float, bases: tuple[float, ...]) -> tuple[Peaks, ...]:
    """Return the peaks of all views; most of the time they are the same ones."""
    if before.count(before[0]) == VIEWS and bases.count(bases[0]) == VIEWS:
        return (_peaks(before[0], at, bases[0]),) * VIEWS
    return tuple(_peaks(old, at, base) for old, base in zip(before, bases, strict=True))


def _peaks(peaks: Peaks, at: float, fps: float) -> Peaks:
    """Keep falling peaks of the longest window: each is the largest since its time."""
    past, first, last = at - WINDOWS_S[-1], 0, len(peaks)
    while last and peaks[last - 1][1] <= fps:
        last -= 1
    while first < last and peaks[first][0] < past:
        first += 1
    return (*peaks[first:last], (at, fps))


def _largest(peaks: Peaks, at: float, window_s: float) -> float:
    past = at - window_s
    for then, fps in peaks:
        if then >= past:
            return fps
    return 0.0


def _market(usual_fps: float, worth: Slice, prices: Prices) -> Market:
    whole = usual_fps / worth.replica_fps
    return Market(worth.replica_fps, worth.target, worth.start_s, prices.overload_s * whole, prices.change_s * whole)


def wanted(known: Forecast, *, worth: Slice, standing: int, floor_fps: float = 0.0) -> Wanted:
    """Return the count, with its terms; `floor_fps` is a demand that was declared.

    The window keeps of the `standing` replicas, and never asks for more: noise about its edge moves nothing.
    """
    view = headroom.view_of(known.shadows)
    plain, rising, *_ = known.bases
    expects = rising if view & 1 else plain
    base, choice = max(known.bases[view], floor_fps), known.choice
    window = choice.window_s
    peak = max(_largest(known.peaks[view], known.at, window), base) if known.peaks[view] else base
    per_replica = worth.replica_fps * worth.target
    now, kept = headroom.count(choice, known.usual_fps, base, peak, per_replica=per_replica, standing=standing)
    return Wanted(
        replicas=kept,
        now=now,
        base_fps=base,
        origin=_origin(base, expects, floor_fps),
        rise_fps=rising - plain if view & 1 and base == rising else 0.0,
        headroom_fps=headroom.reserve(choice, known.usual_fps, base),
        window_s=window,
        whole_window=known.at - known.since >= window,
    )


def _origin(base: float, expects: float, floor_fps: float) -> str:
    if base == expects:
        return "observed"
    return "declared" if base == floor_fps else "of the usual day"

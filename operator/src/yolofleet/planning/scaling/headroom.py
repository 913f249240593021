"""How much above the arrivals, and how long to wait before going down: priced by what each choice would have cost.

Every choice runs in the shadow: it pays for its replicas and for each second in which more arrived than those carry
that it would have had, with a slice's start time in between. The cheapest of the last hours decides.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

WINDOWS_S = (20.0, 40.0, 80.0, 160.0, 300.0)
HALF_LIFE_S = 6 * 3600.0
CHOOSE_S = 60.0
LEARNING_S = 600.0
BETTER = 0.995
"""Another choice must be this much cheaper; the same for doing without what rises, which is rare and then matters."""
PATIENT = 1.003
PARTS = 10
"""The start time is looked back on in so many parts."""
BLOCKS = PARTS + 2
"""And as long as a look takes beside it: what arrived since the last look met what had been decided before that."""
UNBOUND = 1e9

Vector = NDArray[np.float64]
Counts = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Choice:
    """Shares of the usual demand: `headroom` above the arrivals, held up to `band` more for `window_s`.

    `grows`: the headroom grows with the root of the arrivals, as chance does; else it is the same at all times.
    """

    headroom: float
    grows: bool
    band: float
    window_s: float

    @property
    def words(self) -> str:
        """Say it in words; the status keeps them over a restart."""
        how = "growing" if self.grows else "fixed"
        held = "all" if self.band > 1 else f"{self.band:.0%}"
        return f"{self.headroom:.0%} {how}, {held} for {self.window_s:.0f} s"


HEADROOMS = (0.03, 0.06, 0.1, 0.2, 0.3, 0.45, 0.7)
HOLDS = ((0.05, 40.0), (0.05, 80.0), (0.15, 80.0), (9.0, 80.0), (9.0, 300.0))
CHOICES = tuple(
    Choice(share, grows, band, window) for share in HEADROOMS for grows in (False, True) for band, window in HOLDS
)
UNLEARNT = CHOICES.index(Choice(headroom=0.2, grows=True, band=0.15, window_s=80.0))
VIEWS = 4
"""The chosen one runs four times more: with and without the rise, with and without the usual day."""

_SHARE = np.array([c.headroom for c in CHOICES])
_BAND = np.array([c.band for c in CHOICES])
_GROWS = np.array([c.grows for c in CHOICES])
_WINDOW = np.array([WINDOWS_S.index(c.window_s) for c in CHOICES])
_ALL = len(CHOICES) + VIEWS


@dataclass(frozen=True, eq=False)
class Shadows:
    """What each choice has cost in replica-seconds, its counts of the last start time, and which one decides."""

    cost: Vector
    last: Counts
    blocks: NDArray[np.float64]
    begun: tuple[float, ...]
    chosen: int = UNLEARNT
    chosen_at: float = -math.inf
    with_rise: bool = True
    with_day: bool = False


@dataclass(frozen=True)
class Market:
    """What a moment's choices are weighed by: capacity and share of it, start time and prices of a replica-second."""

    replica_fps: float
    target: float
    start_s: float
    over_price: float
    change_price: float


@dataclass(frozen=True, slots=True)
class Look:
    """What arrived, and what the four views make of it; the peaks are those of the chosen window, by view.

    `by_window` are the peaks of the view that decides, of all windows.
    """

    at: float
    elapsed_s: float
    fps: float
    usual_fps: float
    bases: tuple[float, ...]
    peaks: tuple[float, ...]
    by_window: tuple[float, ...]


def blank(chosen: int = UNLEARNT, at: float = 0.0) -> Shadows:
    """Return shadows that have seen nothing; they let ten minutes pass before they choose."""
    blocks, begun = np.full((BLOCKS, _ALL), UNBOUND), (-math.inf,) * BLOCKS
    return Shadows(np.zeros(_ALL), np.zeros(_ALL), blocks, begun, chosen, at + LEARNING_S - CHOOSE_S)


def reserve(choice: Choice, usual_fps: float, fps: float) -> float:
    """Return the headroom of a choice in frames per second."""
    return choice.headroom * _scale(choice, usual_fps, fps)


def count(
    choice: Choice, usual_fps: float, fps: float, peak_fps: float, *, per_replica: float, standing: int
) -> tuple[int, int]:
    """Return how many replicas what arrives needs now, and how many of those that stand the window keeps."""
    scale = _scale(choice, usual_fps, fps)
    now = math.ceil(round((fps + choice.headroom * scale) / per_replica, 6))
    peak = math.ceil(round((peak_fps + choice.headroom * _scale(choice, usual_fps, peak_fps)) / per_replica, 6))
    most = math.ceil(round((fps + (choice.headroom + choice.band) * scale) / per_replica, 6))
    return now, max(now, min(peak, most, standing))


def _scale(choice: Choice, usual_fps: float, fps: float) -> float:
    return math.sqrt(usual_fps * max(fps, 0.0)) if choice.grows else usual_fps


@lru_cache(maxsize=len(CHOICES))
def _terms(chosen: int) -> tuple[Vector, Vector, NDArray[np.bool_]]:
    """Return headroom, headroom with band, and growth of all choices, and of the chosen one for each view."""
    share, band, grows = (np.append(told, np.full(VIEWS, told[chosen])) for told in (_SHARE, _BAND, _GROWS))
    return share, share + band, grows


def _counts(known: Shadows, usual: float, seen: NDArray[np.float64], per_replica: float) -> Counts:
    """Return `count` of all choices, and of the chosen one for each view; `seen` are what arrives, and the peaks."""
    share, most, grows = _terms(known.chosen)
    scale = np.where(grows, np.sqrt(usual * seen), usual)
    told = seen + share * scale
    np.minimum(told[1], seen[0] + most * scale[0], out=told[1])
    told /= per_replica
    np.ceil(told, out=told)
    now, kept = told
    result: Counts = np.maximum(now, np.minimum(kept, known.last))
    np.maximum(result, 1.0, out=result)
    return result


def seen(known: Shadows, look: Look, market: Market) -> Shadows:
    """Let all choices pay for one look."""
    view = view_of(known)
    told = np.empty((2, _ALL))
    told[0, :-VIEWS], told[0, -VIEWS:] = look.bases[view], look.bases
    told[1, :-VIEWS], told[1, -VIEWS:] = np.array(look.by_window)[_WINDOW], look.peaks
    counts = _counts(known, look.usual_fps, told, market.replica_fps * market.target)
    recent = 0
    for begun in known.begun:
        recent += look.at - begun <= market.start_s + look.elapsed_s
    paid = counts.copy()
    if recent:
        paid += market.over_price * _over(look.fps, known.blocks[:recent].min(axis=0), market.replica_fps)
    paid *= look.elapsed_s
    if market.change_price:
        paid += market.change_price * (counts != known.last)
    paid += known.cost * 0.5 ** (look.elapsed_s / HALF_LIFE_S)
    blocks, begun_at = _remembered(known, look.at, counts, market.start_s)
    return Shadows(paid, counts, blocks, begun_at, known.chosen, known.chosen_at, known.with_rise, known.with_day)


def _over(fps: float, ready: Counts, replica_fps: float) -> Vector:
    """Return the share of seconds in which more arrives than is carried: frames come by chance."""
    least, most = ready.min(), ready.max()
    if most - least >= _ALL:
        return _chance(fps, ready * replica_fps)
    by_count = _chance(fps, np.arange(least, most + 1) * replica_fps)  # few counts, many choices
    share: Vector = by_count[(ready - least).astype(np.intp)]
    return share


def _chance(fps: float, carried: Vector) -> Vector:
    z = (fps - carried) / math.sqrt(max(fps, 1.0))
    share: Vector = 0.5 * (1 + np.tanh(0.7978845608 * (z + 0.044715 * (z * z * z))))
    return share


def _remembered(
    known: Shadows, at: float, counts: Counts, start_s: float
) -> tuple[NDArray[np.float64], tuple[float, ...]]:
    """Keep the least count of each part of the start time; what is older is overwritten."""
    if at - known.begun[0] < start_s / PARTS - 1e-9:
        blocks = known.blocks.copy()
        np.minimum(blocks[0], counts, out=blocks[0])
        return blocks, known.begun
    blocks = np.empty_like(known.blocks)
    blocks[0], blocks[1:] = counts, known.blocks[:-1]
    return blocks, (at, *known.begun[:-1])


def view_of(known: Shadows) -> int:
    """Return which of the four views decides."""
    return (1 if known.with_rise else 0) + (2 if known.with_day else 0)


def chosen(known: Shadows, at: float) -> Shadows:
    """Choose again, once a minute."""
    if at - known.chosen_at < CHOOSE_S:
        return known
    costs, views = known.cost[: len(CHOICES)], known.cost[len(CHOICES) :]
    best = int(np.argmin(costs))
    if not costs[best] < costs[known.chosen] * BETTER:
        best = known.chosen
    with_day = bool(min(views[2:]) < min(views[:2]))
    still, rising = views[2:] if with_day else views[:2]
    return replace(known, chosen=best, chosen_at=at, with_day=with_day, with_rise=bool(rising <= still * PATIENT))

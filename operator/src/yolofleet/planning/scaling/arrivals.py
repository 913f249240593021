"""What arrives now and where it is heading: a level that jumps when the demand does, and a rise that is no noise.

Frames of one look vary by chance at least as a Poisson count; what varies more was learnt from the looks before.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

LOOKS = 10
RUNS = (3, 5, LOOKS)
"""A rise is looked for in so many last looks: short runs see a steep one early, long ones a gentle one at all."""
SMOOTHING = 0.3
JUMP = 3.0
"""Standard deviations from the level that are a new level."""
RISE = 5.0
"""Standard errors above none from which on a slope is a rise."""
BENT = 1.5
"""Standard deviations below the line's end at which a rise is over: after a step the line would go on."""
FARTHEST = 3.0
"""A rise goes on for at most so many times as much as it has risen."""
STEADY_S = 18.0
"""A rise that went on for so long is no step: what was foretold stands, though single looks bend by chance."""
MISSED_S = 4.5
"""For so long a rise may go unseen before it is over."""
LEAST_FPS = 50.0
GAP_S = 60.0


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Frames per second: the level, and its variance from look to look and around a straight line."""

    fps: float
    variance: float = 0.0
    jitter: float = 0.0
    looks: tuple[tuple[float, float], ...] = ()

    @property
    def at(self) -> float:
        """Return when the last look was, in seconds."""
        return self.looks[-1][0]


@dataclass(frozen=True, slots=True)
class Rise:
    """A rise that goes on: since when, when it was seen last, and the most that was foretold once it was steady."""

    since: float
    seen_at: float
    foretold_fps: float = 0.0


def first(at: float, fps: float) -> Arrivals:
    """Return what one look tells."""
    return Arrivals(fps, looks=((at, fps),))


def after(known: Arrivals, at: float, fps: float) -> Arrivals:
    """Return what is known after another look; after a gap the runs begin anew."""
    elapsed = at - known.at
    if elapsed > GAP_S:
        return Arrivals(fps, known.variance, known.jitter, ((at, fps),))
    chance = max(known.fps, LEAST_FPS) / elapsed
    off = fps - known.fps
    bound = JUMP * math.sqrt(chance + known.variance)
    level = fps if abs(off) > bound else known.fps + SMOOTHING * off
    variance = max(0.0, known.variance + 0.01 * (min(off * off, bound * bound) - chance - known.variance))
    jitter = known.jitter
    if len(known.looks) > 1:
        bend = (fps - 2 * known.looks[-1][1] + known.looks[-2][1]) ** 2 / 6
        jitter += 0.02 * (min(bend, 9 * (chance + jitter)) - jitter)
    return Arrivals(level, variance, jitter, (*known.looks[1 - LOOKS :], (at, fps)))


def rise(known: Arrivals, ahead_s: float) -> float:
    """Return by how many frames per second more than the level will arrive in so many seconds, if it is rising now."""
    if len(known.looks) < RUNS[0]:
        return 0.0
    (before, _), (now, fps) = known.looks[-2:]
    deviation = math.sqrt(max(known.jitter, max(known.fps, LEAST_FPS) / (now - before)))
    if fps - min(seen for _, seen in known.looks) < RISE * deviation / 2:
        return 0.0
    more = 0.0
    for run in RUNS:
        if len(known.looks) < run:
            break
        slope, end, spread = _line(known.looks[-run:])
        if slope > RISE * deviation / spread and end - fps < BENT * deviation:
            risen = fps - known.looks[-run][1]
            more = max(more, end - known.fps + min(slope * ahead_s, FARTHEST * risen))
    return more


def going_on(known: Rise | None, at: float, fps: float, *, rises: bool) -> Rise | None:
    """Return the rise after another look, at which so much was foretold; None: there is none, or it is over."""
    if known is None or at - known.seen_at > MISSED_S:
        return Rise(at, at) if rises else None
    most = max(known.foretold_fps, fps) if at - known.since >= STEADY_S else 0.0
    return Rise(known.since, at if rises else known.seen_at, most)


def _line(looks: tuple[tuple[float, float], ...]) -> tuple[float, float, float]:
    """Return the slope of the best straight line, its value at the last look, and the root of the spread in time."""
    count = len(looks)
    mid = sum(at for at, _ in looks) / count
    mean = sum(fps for _, fps in looks) / count
    spread = sum((at - mid) ** 2 for at, _ in looks)
    slope = sum((at - mid) * fps for at, fps in looks) / spread
    return slope, mean + slope * (looks[-1][0] - mid), math.sqrt(spread)

"""One tenfold flash out of the blue, by how fast it rises: seconds over, against the bound for whoever cannot know."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import mean

import numpy as np

from e2e.bench.scaling.plant import simulate
from e2e.bench.scaling.policies import Ours
from e2e.bench.scaling.rows import START_S
from e2e.bench.scaling.settings import PRICE_S
from e2e.bench.scaling.traces import REPLICA_FPS, Frames
from yolofleet.planning.scaling.forecast import Forecast, Prices

FPS = 450
AT = 1800
QUIET_S = 7200
DRAWS = 8
RISES_S = (1, 20, 60, 120, 180, 300)


@dataclass(frozen=True)
class Flash:
    """A rise, and of some draws: seconds over, mean and worst, and the mean of the bounds."""

    rise_s: int
    over_s: float
    worst_s: int
    bound_s: float


def flash(rise_s: int, draw: int) -> Frames:
    """Return a tenfold rise after half an hour, that begins so many seconds after a look."""
    rng = np.random.default_rng([rise_s, draw])
    at = np.arange(AT + rise_s + 120)
    rate = FPS * (1 + 9 * np.clip((at - AT + 1 - draw % 2) / rise_s, 0, 1))
    return rng.poisson(rate).astype(np.int64)


def flashes(start_s: int = START_S, draws: int = DRAWS, rises_s: Iterable[int] = RISES_S) -> list[Flash]:
    """Let the operator's code learn two quiet hours once for each draw, and then see each flash."""
    learnt = [_quiet(draw, start_s) for draw in range(draws)]
    found = []
    for rise_s in rises_s:
        told = [_flashed(flash(rise_s, draw), known, rise_s, start_s) for draw, known in enumerate(learnt)]
        over = [seconds for seconds, _ in told]
        found.append(Flash(rise_s, round(mean(over), 1), max(over), round(mean(bound for _, bound in told), 1)))
    return found


def _quiet(draw: int, start_s: int) -> Forecast | None:
    policy = Ours(Prices(float(PRICE_S)))
    frames = np.random.default_rng([7, draw]).poisson(FPS, QUIET_S).astype(np.int64)
    simulate(frames, policy, starts_s=[start_s] * QUIET_S, learnt=(float(start_s),))
    return policy.known


def _flashed(frames: Frames, known: Forecast | None, rise_s: int, start_s: int) -> tuple[int, float]:
    policy = Ours(Prices(float(PRICE_S)), known=known, day=1)
    starts = [start_s] * len(frames)
    made = simulate(frames, policy, starts_s=starts, learnt=(float(start_s),), trace=True)
    return sum(second >= AT for second in made.over_at), bound(rise_s, made.counts[AT - 1], start_s)


def bound(rise_s: int, ready: int, start_s: int) -> float:
    """Return the seconds over of whoever orders all in the first second of the rise: until then nobody could know."""
    base = FPS / REPLICA_FPS
    return start_s + 1 - (rise_s * (ready - base) / (9 * base) if rise_s > 1 else 0)

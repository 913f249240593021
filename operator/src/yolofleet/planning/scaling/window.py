"""The need of the last minutes as a few claims, so that replicas go only to the largest need of the window.

A claim `(replicas, since)` says: since then the need was never above that. Claims stand with falling replicas and
rising times; before the first one the need counts as what stands now. A need that rises lifts every claim below it,
so a forgotten claim can only make replicas stay longer, never go sooner.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

MOST = 16
"""Claims that are written down; those of the lowest needs wait until the first ones came true."""
LONGEST_PROBATION_S = 30.0


@dataclass(frozen=True)
class Claim:
    """Since `since` the need was at most `replicas`."""

    replicas: int
    since: datetime


Claims = tuple[Claim, ...]


def lifted(claims: Claims, need: int) -> Claims:
    """Lift every claim below a need; of those that are then alike the oldest stays."""
    above = tuple(claim for claim in claims if claim.replicas >= need)
    low = [claim.since for claim in claims if claim.replicas < need]
    if not low or (above and above[-1].replicas == need):
        return above
    return (*above, Claim(need, min(low)))


def heard(claims: Claims, need: int, now: datetime) -> Claims:
    """Take a need into account: lift what lies below it, and claim it from now on if it is the lowest."""
    known = lifted(claims, need)
    return known if known and known[-1].replicas == need else (*known, Claim(need, now))


def largest(claims: Claims, *, window_s: float, now: datetime) -> int | None:
    """Return the largest need of the whole window; None when the claims do not reach back so far."""
    past = now - timedelta(seconds=window_s)
    return min((claim.replicas for claim in claims if claim.since <= past), default=None)


def below(claims: Claims, replicas: int) -> Claims:
    """Return the claims that are still to come true once so many replicas stand."""
    return tuple(claim for claim in claims if claim.replicas < replicas)


def durable(claims: Claims, *, window_s: float, now: datetime) -> Claims:
    """Return the claims that held for a while already: those are written down, noise is not."""
    probation = timedelta(seconds=min(LONGEST_PROBATION_S, window_s / 10))
    return tuple(claim for claim in claims if now - claim.since >= probation)[:MOST]


def due(claims: Claims, *, window_s: float, now: datetime) -> datetime | None:
    """Return when the next claim is written down or comes true; None when none is left to wait for."""
    probation = min(LONGEST_PROBATION_S, window_s / 10)
    moments = [claim.since + timedelta(seconds=wait) for claim in claims for wait in (probation, window_s)]
    return min((moment for moment in moments if moment > now), default=None)

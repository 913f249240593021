"""How long to wait after something went wrong again."""

from __future__ import annotations

MAX_BACKOFF_S = 3600


def backoff_s(attempts: int, *, first_s: int) -> int:
    """Return the pause after the n-th failed attempt, in seconds: doubling, at most an hour."""
    return int(min(MAX_BACKOFF_S, first_s * 2 ** min(attempts - 1, 12)))

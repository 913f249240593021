"""A row per size, and the bars that it must hold."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

PASS = 100
"""Keys of one pass of the operator: an engine whose deployments fall into two passes is written twice."""
RSS_MIB = ((5_000, 220.0), (10_000, 260.0))
IDLE_PERCENT = 2.0
CHANGE_P99_MS = 100.0
BURST_S = 6.0


@dataclass(frozen=True)
class Bar:
    """One bar: what was seen, and what was asked."""

    name: str
    seen: float
    most: float

    @property
    def holds(self) -> bool:
        return self.seen <= self.most


def bars(row: dict[str, Any]) -> list[Bar]:
    """Return the bars of a row; those of timing are left out where a row has no timing."""
    most = cold_limits(row)
    found = [Bar(f"requests cold: {kind}", count, most.get(kind, 0)) for kind, count in row["writes_cold"].items()]
    found += [Bar("writes on restart", sum(row["writes_restart"].values()), 0)]
    found += [Bar("writes at rest", sum(row["writes_rest"].values()), 0)]
    if not row["timed"]:
        return found
    limit = next((mib for count, mib in RSS_MIB if row["deployments"] <= count), RSS_MIB[-1][1])
    return [
        *found,
        Bar("RSS, MiB", row["rss_mib"], limit),
        Bar("idle CPU, %", row["idle_cpu_percent"], IDLE_PERCENT),
        Bar("change → child p99, ms", row["change_p99_ms"], CHANGE_P99_MS),
        Bar("burst of 500, s", row["burst_500_s"], BURST_S),
    ]


def cold_limits(row: dict[str, Any]) -> dict[str, int]:
    """One write per object; an engine gets one more for every pass that its deployments spread over."""
    limits = dict(row["objects_cold"])
    limits["yoloengines"] = limits["yoloengines"] + math.ceil(row["deployments"] / PASS)
    return limits

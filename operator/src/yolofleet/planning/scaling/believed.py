"""Whether a count is believed: no pod answers many times what one carries."""

from __future__ import annotations

from yolofleet.planning.scaling.capacity import Capacity
from yolofleet.planning.scaling.signals import ReplicaSignals, Signals, together

ABSURD = 10.0
"""No replica answers so many times what one carries: a counter is wrong."""


def believed(signals: Signals | None, capacity: Capacity | None) -> Signals | None:
    """Take it that a pod was not seen where it counts what no pod can do.

    Where all count so, an observed capacity is what is wrong: it was seen in a bad hour, and they are believed.
    """
    if signals is None or capacity is None:
        return signals
    most = ABSURD * capacity.fps
    seen = {r.pod for r in signals.replicas if not r.missing}
    odd = {r.pod for r in signals.replicas if r.pod in seen and (r.served_fps or 0.0) > most}
    if not odd or (odd == seen and capacity.origin == "Observed"):
        return signals
    replicas = [_absurd(r, most) if r.pod in odd else r for r in signals.replicas]
    missing = (*signals.missing, *(r.missing for r in replicas if r.pod in odd))
    return together(replicas, missing=missing, unbroken_s=0.0, looked_at=signals.looked_at)


def _absurd(replica: ReplicaSignals, most: float) -> ReplicaSignals:
    words = (
        f"pod {replica.pod}: it counts {replica.served_fps:.0f} answers a second, more than {most:.0f} is not believed"
    )
    return ReplicaSignals(replica.pod, replica.profile, age_s=replica.age_s, missing=words)

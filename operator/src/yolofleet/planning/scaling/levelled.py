"""Replicas that help out on faster slices, as if they were on the own kind: so busy would they be with what they do.

What one replica carries, and how many are needed, is counted in replicas of the own kind. A faster slice is less busy
with the same frames: that says nothing about those that it helps.
"""

from __future__ import annotations

from dataclasses import replace

from yolofleet.planning.scaling.signals import ReplicaSignals, Signals
from yolofleet.planning.slices.profiles import slug
from yolofleet.planning.snapshot import DeploymentView


def helping(view: DeploymentView) -> frozenset[str]:
    """Return the profiles that help out, as pods' labels name them."""
    return frozenset(slug(group.profile) for group in view.groups if group.overflow)


def levelled(view: DeploymentView) -> Signals | None:
    """Return what was seen, with the utilisation of helpers as it would be on the own kind; None: nobody can tell."""
    elsewhere, signals = helping(view), view.signals
    if signals is None or not elsewhere:
        return signals
    own = [r for r in signals.replicas if r.profile not in elsewhere and not r.missing and r.utilization is not None]
    each = _per_frame(own)
    alike = [
        replace(r, busy=None if each is None or r.served_fps is None else r.served_fps * each, engine_active=None)
        if r.profile in elsewhere
        else r
        for r in signals.replicas
    ]
    return replace(signals, replicas=tuple(alike))


def _per_frame(own: list[ReplicaSignals]) -> float | None:
    """Return the utilisation that one frame a second is on the own kind."""
    served = sum(r.served_fps or 0.0 for r in own)
    return sum(r.utilization or 0.0 for r in own) / served if served else None

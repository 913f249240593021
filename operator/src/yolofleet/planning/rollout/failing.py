"""Which replicas answer nothing but failures: Triton calls a model ready whose backend has died."""

from __future__ import annotations

from yolofleet.planning.scaling.signals import Signals

MOST_NAMED = 3


def failing(signals: Signals | None, known: str) -> tuple[str, ...]:
    """Return the pods of which every request fails; one that `known` names already stays until it has served.

    Without that, a pod that is asked seldom would be well between two failures.
    """
    replicas = signals.replicas if signals else ()
    named = set(known.partition(":")[0].split(", "))
    return tuple(sorted(r.pod for r in replicas if not r.served_fps and (r.failed_fps or r.pod in named)))


def in_words(pods: tuple[str, ...]) -> str:
    """Say which pods fail, and what to do."""
    named = ", ".join(pods[:MOST_NAMED]) + (f", and {len(pods) - MOST_NAMED} more" if len(pods) > MOST_NAMED else "")
    return (
        f"{named}: every request fails, though the pod is ready; look at its log and at what clients are told: where a "
        "process of the backend has died, delete the pod"
    )

"""Which engine's timing cache a build begins with: kernels that were timed there need not be timed again."""

from __future__ import annotations

from collections.abc import Iterable

from yolofleet.api.recipe import Target
from yolofleet.planning.snapshot import EngineView


def timings_for(view: EngineView, engines: Iterable[EngineView]) -> str | None:
    """Return the key of the engine that is most like the one to be built; None where there is none.

    Timings hold for one TensorRT on one kind of slice, and what one build writes the next one reads: so it is of the
    same builder and target, and of the same namespace.
    """
    alike = [one for one in engines if _of_use(one, view)]
    return max(alike, key=lambda one: (_likeness(one, view), one.name)).spec.key if alike else None


def _of_use(one: EngineView, view: EngineView) -> bool:
    mine, other = view.spec, one.spec
    published = one.artifact is not None and one.status.damage is None
    same = (one.namespace, _slices(one), other.recipe.backend) == (view.namespace, _slices(view), mine.recipe.backend)
    by_same = (other.builder.version, other.builder.tensorrt_version) == (
        mine.builder.version,
        mine.builder.tensorrt_version,
    )
    return published and same and by_same and mine.target is not None and other.key != mine.key


def _likeness(one: EngineView, view: EngineView) -> int:
    """Count what of the recipe decides which kernels there are: the fewer differ, the fewer are timed."""
    mine, other = view.spec.recipe, one.spec.recipe
    decisive = ("precision", "image_size", "max_batch_size", "task", "endpoints")
    same: list[bool] = [getattr(mine, name) == getattr(other, name) for name in decisive]
    # A portable engine has fewer kernels to choose from.
    return sum(same) + int(one.spec.target == view.spec.target)


def _slices(view: EngineView) -> Target | None:
    return view.spec.target.hardware if view.spec.target is not None else None

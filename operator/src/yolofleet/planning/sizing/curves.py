"""Which curves speak for a deployment: those of its namespace's engines that are made by the same recipe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from yolofleet.api.build import Labelled
from yolofleet.api.curve import Curve
from yolofleet.api.estimate import Work
from yolofleet.api.recipe import Frames, HardwareCompatibility, Recipe, Target
from yolofleet.api.tuning import doable
from yolofleet.api.yolodeployment import YoloDeploymentSpec
from yolofleet.api.yoloengine import YoloEngineStatus
from yolofleet.planning.sizing.estimating import estimated
from yolofleet.planning.slices.profiles import same_profile

Kind = tuple[str, str]
"""A GPU product and a profile."""
RecipeId = tuple[str, ...]
"""A namespace and what in a recipe decides how fast it is: not target and builder, for what a curve is of says its
product, and not the labelled set."""


def recipe_id(namespace: str, recipe: Recipe) -> RecipeId:
    """Return what engines of one recipe have in common."""
    size = recipe.image_size
    return (
        namespace,
        recipe.weights,
        recipe.task,
        recipe.backend,
        recipe.precision,
        f"{size.height}x{size.width}",
        str(recipe.max_batch_size),
        ",".join(sorted(recipe.endpoints)),
        recipe.calibration or "",
        *_frames(recipe.frames),
    )


def tier(home: RecipeId, portable: HardwareCompatibility | None) -> RecipeId:
    """Return where the curves of portable engines are kept: they say nothing of exact ones, nor these of them."""
    return (*home, portable) if portable else home


def home_of(namespace: str, spec: YoloDeploymentSpec) -> RecipeId:
    """Return where the curves of a deployment are kept: its recipe's id, told without making the recipe."""
    engine = spec.engine
    size = engine.image_size
    return (
        namespace,
        spec.model.identity,
        spec.model.task,
        engine.backend,
        engine.effective_precision,
        f"{size.height}x{size.width}",
        str(engine.max_batch_size),
        ",".join(sorted(spec.endpoints)),
        _calibration(spec) or "",
        *_frames(spec.frames),
    )


def _frames(frames: Frames | None) -> tuple[str, ...]:
    size = frames.source_size if frames else None
    return (frames.format, f"{size.height}x{size.width}" if size else "") if frames else ()


def _calibration(spec: YoloDeploymentSpec) -> str | None:
    """Return what stands for the calibration frames in a key: which they are, and how many are taken."""
    told = spec.engine.calibration
    return told.identity if told else None


def recipe_from(spec: YoloDeploymentSpec) -> Recipe:
    """Return the recipe that a spec asks for."""
    engine = spec.engine
    return Recipe(
        weights=spec.model.identity,
        task=spec.model.task,
        backend=engine.backend,
        precision=engine.effective_precision,
        image_size=engine.image_size,
        max_batch_size=engine.max_batch_size,
        endpoints=spec.endpoints,
        calibration=_calibration(spec),
        dataset=told.identity if (told := labelled(spec)) else None,
        frames=spec.frames,
    )


def labelled(spec: YoloDeploymentSpec) -> Labelled | None:
    """Return the labelled set that a spec has its engine measured on."""
    gate = spec.engine.accuracy_gate
    return Labelled(source=gate.dataset, images=gate.images) if gate else None


def _is_of(curve: Curve, kind: Kind) -> bool:
    return curve.product == kind[0] and same_profile(curve.profile, kind[1])


def told_by(status: YoloEngineStatus) -> tuple[Curve, ...]:
    """Return all curves of one engine."""
    first = (status.curve,) if status.curve is not None else ()
    return (*first, *(status.curves or ()))


@dataclass(frozen=True)
class _Known:
    """What one engine says of its recipe: curves, and the work in its graph, by which more can be estimated."""

    recipe: Recipe
    curves: tuple[Curve, ...]
    work: Work | None


class Curves:
    """Curves by recipe, kept up engine by engine; those of one recipe in order of the engines' names.

    Portable engines are a tier of their own. What work is in their graph they tell to both: it is the same graph.
    """

    def __init__(
        self, engines: Iterable[tuple[str, str, Recipe, Sequence[Curve], Work | None, Target | None]] = ()
    ) -> None:
        self._homes: dict[tuple[str, str], tuple[RecipeId, ...]] = {}
        self._told: dict[RecipeId, dict[str, _Known]] = {}
        self._estimates: dict[RecipeId, dict[Kind, Curve | None]] = {}
        for namespace, name, recipe, curves, work, target in engines:
            self.put(namespace, name, recipe, curves, work, target)

    def put(
        self,
        namespace: str,
        name: str,
        recipe: Recipe,
        told: Sequence[Curve],
        work: Work | None = None,
        target: Target | None = None,
    ) -> None:
        """Take the curves of an engine, as far as it can serve such batches, and what others are estimated by."""
        self.drop(namespace, name)
        curves = tuple(doable(curve, recipe.max_batch_size) for curve in told)
        counted = work if recipe.backend == "TensorRT" else None
        home = recipe_id(namespace, recipe)
        known = {tier(home, target.hardware_compatibility if target else None): _Known(recipe, curves, work)}
        if home not in known and counted is not None:
            known[home] = _Known(recipe, (), counted)
        if not curves and counted is None:
            return
        self._homes[namespace, name] = tuple(known)
        for at, one in known.items():
            self._told.setdefault(at, {})[name] = one
            self._estimates.pop(at, None)

    def drop(self, namespace: str, name: str) -> None:
        """Forget an engine."""
        for home in self._homes.pop((namespace, name), ()):
            self._estimates.pop(home, None)
            del self._told[home][name]
            if not self._told[home]:
                del self._told[home]

    def at(self, home: RecipeId, kinds: Iterable[Kind] = ()) -> tuple[Curve, ...]:
        """Return the curves of one recipe, and for kinds of slices that none of them is of, estimated ones."""
        known = self._told.get(home, {})
        told = tuple(curve for name in sorted(known) for curve in known[name].curves)
        lacking = [kind for kind in kinds if not any(_is_of(curve, kind) for curve in told)] if known else []
        found = (self._estimate(home, kind) for kind in lacking)
        return (*told, *(curve for curve in found if curve is not None))

    def _estimate(self, home: RecipeId, kind: Kind) -> Curve | None:
        """One recipe is one graph, whichever engine was made of it: the first by name that tells its work speaks."""
        made = self._estimates.setdefault(home, {})
        if kind not in made:
            known = self._told[home]
            first = next((known[name] for name in sorted(known) if known[name].work is not None), None)
            made[kind] = estimated(first.work, first.recipe, *kind) if first and first.work else None
        return made[kind]

    def __bool__(self) -> bool:
        return bool(self._told)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Curves) and self._told == other._told

    __hash__ = None  # type: ignore[assignment]

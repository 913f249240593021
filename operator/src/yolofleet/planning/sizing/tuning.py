"""How Triton is to run what a group serves: at the very point of the curve by which its replicas were counted."""

from __future__ import annotations

from collections.abc import Sequence

from yolofleet.api.recipe import Endpoint, HardwareCompatibility, Recipe
from yolofleet.api.tuning import Tuned, Wanted, error_of, operating_point, tuned
from yolofleet.planning.sizing.curves import Curves, Kind, RecipeId, recipe_id, tier
from yolofleet.planning.sizing.rates import curves_on, most_bytes


class Tunings:
    """What recipes are tuned to by their curves, told once per pass for all that ask for the same."""

    def __init__(self, curves: Curves, kinds: Sequence[Kind] = ()) -> None:
        self._curves = curves
        self._kinds = kinds
        self._known: dict[tuple[RecipeId, int, str, tuple[str, ...]], tuple[Tuned, ...]] = {}

    def of(
        self,
        namespace: str,
        recipe: Recipe,
        *,
        p99_ms: int,
        profile: str,
        products: Sequence[str],
        portable: HardwareCompatibility | None = None,
    ) -> tuple[Tuned, ...]:
        """Return how the model of each endpoint is run, in order of name; an endpoint without a point is left out."""
        if not self._curves:
            return ()
        key = (tier(recipe_id(namespace, recipe), portable), p99_ms, profile, tuple(products))
        if key not in self._known:
            made = [self._endpoint(one, recipe, key) for one in sorted(recipe.endpoints)]
            self._known[key] = tuple(one for one in made if one is not None)
        return self._known[key]

    def _endpoint(
        self, endpoint: Endpoint, recipe: Recipe, key: tuple[RecipeId, int, str, tuple[str, ...]]
    ) -> Tuned | None:
        """One Deployment may run on several products: they are tuned as the weakest, which capacity counts by too."""
        home, p99_ms, profile, products = key
        worth = []
        for curve in curves_on(self._curves.at(home, self._kinds), profile, products):
            most = most_bytes(curve)
            at = operating_point(curve, endpoint, float(p99_ms), most_bytes=most)
            if not isinstance(at, str):
                worth.append((at.reached_fps * (1 - error_of(curve)), curve, most))
        if not worth:
            return None
        _, curve, most = min(worth, key=lambda one: one[0])
        wanted = Wanted(endpoint=endpoint, backend=recipe.backend, p99_ms=float(p99_ms), most_bytes=most)
        made = tuned(curve, wanted)
        return made if isinstance(made, Tuned) else None

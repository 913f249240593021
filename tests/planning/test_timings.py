"""Which engine's timing cache a build begins with."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from tests.planning.worlds import PUBLISHED, engine
from yolofleet.api.recipe import Target
from yolofleet.planning.builds.timings import timings_for
from yolofleet.planning.snapshot import EngineView

SLICE = Target(compute_capability="9.0", sm_count=16, memory_mib=9984)
WHOLE = Target(compute_capability="9.0", sm_count=132, memory_mib=81_559)


def compiled(name: str = "other", *, target: Target | None = SLICE, published: bool = True, **how: Any) -> EngineView:
    """An engine of TensorRT; `recipe` and `builder` in part, `key` in full, the rest is the view's."""
    made = engine()
    recipe = made.spec.recipe.model_copy(update={"backend": "TensorRT", **how.pop("recipe", {})})
    builder = made.spec.builder.model_copy(update={"tensorrt_version": "10.6", **how.pop("builder", {})})
    key = how.pop("key", f"{sum(map(ord, name)):064x}")
    update = {"recipe": recipe, "builder": builder, "target": target, "key": key}
    status = PUBLISHED if published else engine().status
    return replace(made, name=name, spec=made.spec.model_copy(update=update), status=status, **how)


MINE = compiled("mine", published=False)
SIZES = {"a": 1, "b": 8, "c": 8, "d": 32}


def test_the_engine_that_is_most_alike_tells_its_timings() -> None:
    far = compiled("far", recipe={"precision": "INT8", "max_batch_size": 1})
    near = compiled("near", recipe={"weights": "sha256:" + "a" * 64})
    assert timings_for(MINE, [far, near]) == timings_for(MINE, [near, far]) == near.spec.key
    assert timings_for(MINE, [far]) == far.spec.key


def test_timings_of_another_slice_tensorrt_namespace_or_of_nothing_whole_are_not_taken() -> None:
    useless = [
        compiled("slice", target=WHOLE),
        compiled("version", builder={"tensorrt_version": "10.7"}),
        compiled("builder", builder={"version": "2"}),
        compiled("namespace", namespace="elsewhere"),
        compiled("backend", recipe={"backend": "ONNXRuntime"}),
        compiled("unpublished", published=False),
        compiled("itself", key=MINE.spec.key),
    ]
    assert timings_for(MINE, useless) is None
    assert timings_for(compiled(target=None, published=False), [compiled("none", target=None)]) is None


def test_a_portable_engine_and_an_exact_one_of_the_same_slices_tell_each_other_but_their_own_kind_first() -> None:
    portable = compiled("portable", target=SLICE.model_copy(update={"hardware_compatibility": "AmperePlus"}))
    assert timings_for(MINE, [portable]) == portable.spec.key
    assert timings_for(MINE, [portable, exact := compiled("exact")]) == exact.spec.key
    assert timings_for(replace(portable, name="new", spec=MINE.spec), [portable]) == portable.spec.key


@given(st.permutations([compiled(name, recipe={"max_batch_size": size}) for name, size in SIZES.items()]))
def test_the_order_of_engines_changes_nothing(engines: list[EngineView]) -> None:
    assert timings_for(MINE, engines) == timings_for(MINE, sorted(engines, key=lambda one: one.name))

"""Laws of the content key: same inputs, same key; what changes the engine changes the key, and nothing else does."""

from __future__ import annotations

import re
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from e2e.api_manifests import STEADY, fitting
from yolofleet.api.crd import object_schema
from yolofleet.api.recipe import Builder, Recipe, Target, engine_key, engine_name
from yolofleet.api.yoloengine import YoloEngine, YoloEngineSpec

KEPT = "eeb23e8539d4e99c1137d58a0e3e30716bfc2dca91701ce398a11849b6364a8a"
SCHEMA = object_schema(YoloEngine)["properties"]["spec"]


def valid(told: Any) -> YoloEngineSpec | None:
    try:
        return YoloEngineSpec.model_validate(told)
    except ValueError:
        return None


SPECS = fitting(SCHEMA).map(valid).filter(lambda spec: spec is not None)


def key_of(spec: YoloEngineSpec) -> str:
    return engine_key(recipe=spec.recipe, target=spec.target, builder=spec.builder)


def in_the_key(spec: YoloEngineSpec) -> tuple[Recipe, Target | None, Builder]:
    """Return what decides on the engine, endpoints in one order, the builder image's name left out."""
    recipe = spec.recipe.model_copy(update={"endpoints": sorted(spec.recipe.endpoints)})
    return recipe, spec.target, spec.builder.model_copy(update={"image": ""})


@STEADY
@given(SPECS)
def test_same_inputs_same_key_also_after_a_journey_through_json(spec: YoloEngineSpec) -> None:
    assert key_of(YoloEngineSpec.model_validate_json(spec.model_dump_json(by_alias=True))) == key_of(spec)


@STEADY
@given(SPECS, SPECS)
def test_keys_are_equal_exactly_when_the_inputs_are(one: YoloEngineSpec, other: YoloEngineSpec) -> None:
    assert (key_of(one) == key_of(other)) == (in_the_key(one) == in_the_key(other))


@STEADY
@given(SPECS, SPECS, st.data())
def test_any_changed_field_makes_another_key(spec: YoloEngineSpec, other: YoloEngineSpec, data: st.DataObject) -> None:
    part = data.draw(st.sampled_from(("recipe", "target", "builder")))
    now, then = getattr(spec, part), getattr(other, part)
    if now is None or then is None:
        changed = spec.model_copy(update={part: then})
    else:
        field = data.draw(st.sampled_from(sorted(type(now).model_fields)))
        changed = spec.model_copy(update={part: now.model_copy(update={field: getattr(then, field)})})
    assert (key_of(changed) == key_of(spec)) == (in_the_key(changed) == in_the_key(spec))


@STEADY
@given(SPECS, st.randoms(use_true_random=False))
def test_order_of_endpoints_does_not_matter(spec: YoloEngineSpec, dice: Any) -> None:
    shuffled = list(spec.recipe.endpoints)
    dice.shuffle(shuffled)
    changed = spec.model_copy(update={"recipe": spec.recipe.model_copy(update={"endpoints": shuffled})})
    assert key_of(changed) == key_of(spec)


@STEADY
@given(SPECS, st.text(min_size=1, max_size=20))
def test_name_of_the_builder_image_does_not_matter(spec: YoloEngineSpec, image: str) -> None:
    changed = spec.model_copy(update={"builder": spec.builder.model_copy(update={"image": image})})
    assert key_of(changed) == key_of(spec)


@STEADY
@given(SPECS)
def test_name_is_short_and_tells_the_key(spec: YoloEngineSpec) -> None:
    key = key_of(spec)
    assert re.fullmatch("[0-9a-f]{64}", key)
    assert engine_name(key) == f"e-{key[:20]}"


def test_key_is_the_same_in_every_release() -> None:
    """A changed way to compute the key would build every engine of every store anew: bump it on purpose only."""
    recipe = Recipe.model_validate(
        {
            "weights": "builtin:yolo26n",
            "task": "Detect",
            "backend": "TensorRT",
            "precision": "FP16",
            "imageSize": {},
            "maxBatchSize": 32,
            "endpoints": ["Ultralytics"],
        }
    )
    target = Target.model_validate({"computeCapability": "9.0", "smCount": 16, "memoryMiB": 9984})
    builder = Builder.model_validate({"image": "builder", "version": "1", "tensorrtVersion": "10.9.0"})
    assert engine_key(recipe=recipe, target=target, builder=builder) == KEPT

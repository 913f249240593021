"""Pictures that INT8 takes its scales from make another engine, and what cannot be done is said before a build."""

from __future__ import annotations

from typing import Any

import pytest

from tests.planning.worlds import deployment, engine, snapshot, spec
from yolofleet.planning.plan import plan
from yolofleet.planning.sizing.curves import home_of, recipe_id

HTTP = {"http": {"url": "http://files.cams/frames.zip", "sha256": "c" * 64}}


def asked(source: dict[str, Any] = HTTP, images: int = 64, **more: Any) -> Any:
    told = {"precision": "INT8", "calibration": {"source": source, "images": images}}
    return spec(**({"engine": {"backend": "ONNXRuntime"} | told} | more))


def test_the_pictures_and_how_many_of_them_make_another_engine() -> None:
    others = HTTP["http"] | {"sha256": "d" * 64}
    moved = HTTP["http"] | {"url": "http://elsewhere/frames.zip"}
    there = engine(asked())
    assert there.name != engine(spec()).name
    assert there.name != engine(asked(images=65)).name
    assert there.name != engine(asked({"http": others})).name
    assert there.name == engine(asked({"http": moved})).name, "the digest says what they are"
    assert there.spec.recipe.calibration == f"sha256:{'c' * 64} x64"
    assert there.spec.calibration is not None
    assert there.spec.calibration.source.http.url == "http://files.cams/frames.zip"
    assert home_of("cams", asked()) == recipe_id("cams", there.spec.recipe) != home_of("cams", spec())


def test_an_engine_without_scales_is_the_one_that_it_always_was() -> None:
    made = engine(spec()).spec
    assert "calibration" not in made.wire()
    assert "calibration" not in made.recipe.wire()


CLASSIFIER = {"model": {"builtin": "yolo26n-cls", "task": "Classify"}}
FP8 = {"engine": {"precision": "FP8", "calibration": {"source": HTTP}}}


@pytest.mark.parametrize(
    ("told", "words"),
    [
        (asked({"builtin": "coco"}), "spec.engine.calibration.source.builtin: this version fetches pictures from http"),
        (asked({"s3": {"bucket": "b", "key": "k"}}), "spec.engine.calibration.source.s3: "),
        (asked(**CLASSIFIER), "a classifier has none (got Classify); set FP32, and leave calibration out"),
        (asked(**FP8), "spec.engine.precision: this version makes no FP8 engines (got FP8); set INT8 or FP16"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_built(told: Any, words: str) -> None:
    (made,) = plan(snapshot(deployment(asked=told))).deployments
    judgement = made.judgement.engine_ready
    assert (judgement.reason, made.wish) == ("NotSupported", None)
    assert words in judgement.message


def test_int8_on_the_cpu_is_built() -> None:
    (made,) = plan(snapshot(deployment(asked=asked()))).deployments
    assert made.wish is not None
    assert made.wish.spec.recipe.precision == "INT8"

"""What a manifest that says nothing means, golden: a changed default is a changed promise."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.golden import assert_golden
from yolofleet.api.base import ApiModel
from yolofleet.api.migpool import MigPoolSpec
from yolofleet.api.yolodeployment import YoloDeploymentSpec

GOLDEN = Path(__file__).parent / "golden"
SHORTEST: dict[str, ApiModel] = {
    "yolodeployment": YoloDeploymentSpec.model_validate({"model": {"builtin": "yolo26n"}}),
    "migpool": MigPoolSpec.model_validate({}),
}


@pytest.mark.parametrize("name", SHORTEST)
def test_defaults_are_golden(name: str) -> None:
    assert_golden(GOLDEN / f"{name}.yaml", yaml.safe_dump(SHORTEST[name].wire(), sort_keys=False))


@pytest.mark.parametrize("name", SHORTEST)
def test_defaults_are_what_the_wire_says(name: str) -> None:
    spec = SHORTEST[name]
    assert type(spec).model_validate(spec.wire()) == spec


@pytest.mark.parametrize(("backend", "precision"), [("TensorRT", "FP16"), ("ONNXRuntime", "FP32")])
def test_precision_that_is_left_out_is_the_backends_own(backend: str, precision: str) -> None:
    spec = YoloDeploymentSpec.model_validate({"model": {"builtin": "yolo26n"}, "engine": {"backend": backend}})
    assert spec.engine.effective_precision == precision

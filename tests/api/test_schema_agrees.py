"""Without a cluster: a JSON Schema validator and the models judge every odd value of every field alike.

CEL rules and the uniqueness of sets and maps are the models' alone here; e2e/test_api.py has the whole truth.
"""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from pydantic import ValidationError

from e2e.api_manifests import sweep
from e2e.api_samples import base_specs
from yolofleet.api.base import ApiModel
from yolofleet.api.crd import object_schema
from yolofleet.api.migpool import MigPool, MigPoolSpec
from yolofleet.api.yolodeployment import YoloDeployment, YoloDeploymentSpec
from yolofleet.api.yoloengine import YoloEngine, YoloEngineSpec

SPECS: dict[str, tuple[type[ApiModel], type[ApiModel]]] = {
    "YoloDeployment": (YoloDeployment, YoloDeploymentSpec),
    "YoloEngine": (YoloEngine, YoloEngineSpec),
    "MigPool": (MigPool, MigPoolSpec),
}


def without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def refusals(model: type[ApiModel], told: Any) -> set[str]:
    """Return the kinds of errors that a model finds; `value_error` is one of ours: a rule, or a duplicate."""
    try:
        model.model_validate(told)
    except ValidationError as error:
        return {"key" if "[key]" in found["loc"] else found["type"] for found in error.errors()}
    return set()


@pytest.mark.parametrize("kind", SPECS)
def test_models_and_schema_agree_on_every_odd_value(kind: str) -> None:
    whole, spec_model = SPECS[kind]
    schema = object_schema(whole)["properties"]["spec"]
    # Python's `$` also matches before a last line break; Kubernetes' does not.
    validator = jsonschema.Draft202012Validator(json.loads(json.dumps(schema).replace('$"', '\\\\Z"')))
    verdicts = {True: 0, False: 0}
    for base, odd in sweep(schema, base_specs(kind)):
        if odd.path == ():
            continue
        told = odd.put_into(base)
        fits, refused = validator.is_valid(without_nulls(told)), refusals(spec_model, told)
        assert fits == (not refused - {"value_error", "key"}), (
            f"{odd.path}, {odd.what}: schema {fits}, models {refused}"
        )
        verdicts[fits] += 1
    assert min(verdicts.values()) > 100

"""The schema of the values is closed, says what the operator's settings say, and refuses by name."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from jsonschema import Draft7Validator
from pydantic import BaseModel, ValidationError

from tests.charts.rendering import CHART, VALUE_SETS, Helm
from tools import chart_docs
from yolofleet.settings import (
    BuildSettings,
    DcgmSettings,
    ScalingSettings,
    ServingSettings,
    Settings,
    StoreSettings,
)

VALUES = (CHART / "values.yaml").read_text()
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
MODELS: dict[str, type[BaseModel]] = {
    "builds": BuildSettings,
    "store": StoreSettings,
    "serving": ServingSettings,
    "scaling": ScalingSettings,
    "dcgm": DcgmSettings,
}


def _objects(node: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    if isinstance(node, dict):
        if node.get("type") == "object":
            yield path, node
        for key, value in node.items():
            yield from _objects(value, f"{path}/{key}")


def test_schema_and_readme_are_generated() -> None:
    page = (CHART / "README.md").read_text()
    assert chart_docs.schema(VALUES) == SCHEMA, "run make generate"
    assert chart_docs.readme(page, VALUES) == page, "run make generate"


def test_the_schema_is_one_and_fits_the_defaults() -> None:
    Draft7Validator.check_schema(SCHEMA)
    assert not [*Draft7Validator(SCHEMA).iter_errors(yaml.safe_load(VALUES))]


def test_every_object_with_known_keys_is_closed_and_every_map_is_typed() -> None:
    known = [(path, node) for path, node in _objects(SCHEMA) if "properties" in node]
    maps = [(path, node) for path, node in _objects(SCHEMA) if "properties" not in node]
    free = [path for path, node in maps if not isinstance(node.get("additionalProperties"), dict)]
    assert len(known) > 10
    assert not [path for path, node in known if node["additionalProperties"] is not False]
    affinity = "/properties/operator/properties/affinity/properties"
    kinds = ("nodeAffinity", "podAffinity", "podAntiAffinity")
    assert free == [*(f"{affinity}/{kind}" for kind in kinds), "/properties/global"]


def test_every_key_is_described() -> None:
    def described(node: dict[str, Any]) -> Iterator[bool]:
        for value in node.get("properties", {}).values():
            yield bool(value.get("description"))
            yield from described(value)

    assert all(described(SCHEMA))


@pytest.mark.parametrize("section", MODELS)
def test_sections_have_the_keys_of_the_settings(section: str) -> None:
    keys = {field.alias for field in MODELS[section].model_fields.values()}
    assert set(SCHEMA["properties"][section]["properties"]) == keys


def test_every_other_setting_stands_under_operator() -> None:
    keys = {field.alias for field in Settings.model_fields.values()} - MODELS.keys()
    keys -= {"images", "watchNamespaces", "monitoring"}
    assert keys
    assert keys <= set(SCHEMA["properties"]["operator"]["properties"])


def _figures() -> list[tuple[str, str, int]]:
    found = []
    for section in (*MODELS, "operator"):
        for key, node in SCHEMA["properties"][section]["properties"].items():
            found += [(section, key, node[bound]) for bound in ("minimum", "maximum") if bound in node]
    return found


@pytest.mark.parametrize(("section", "key", "bound"), _figures())
def test_bounds_are_those_of_the_settings(section: str, key: str, bound: int) -> None:
    inside = {"version": "1", key: bound} if section == "builds" else {key: bound}
    beyond = inside | {key: bound - 1 if bound <= 1 else bound + 1}
    _settings(section, inside)
    with pytest.raises(ValidationError):
        _settings(section, beyond)


def _settings(section: str, values: dict[str, Any]) -> Settings:
    images = {"triton": "t", "builder": "b", "operator": "o"}
    needed = {"images": images, "builds": {"version": "1"}}
    return Settings.model_validate(needed | (values if section == "operator" else {section: values}))


REFUSED = {
    "watchNamspaces={a}": "watchNamspaces",
    "operator.replicas=2": "replicas",
    "images.operator.name=x": "name",
    "builds.deadlineSeconds=0": "deadlineSeconds",
    "builds.deadlineSeconds=86401": "deadlineSeconds",
    "builds.deadlineSeconds=soon": "deadlineSeconds",
    "builds.maxRetries=1": "maxRetries",
    "store.accessMode=ReadOnlyMany": "accessMode",
    "store.size=5": "size",
    "serving.extraArgs=--foo": "extraArgs",
    "serving.maxConnectionAgeSeconds=3601": "maxConnectionAgeSeconds",
    "operator.logLevel=LOUD": "logLevel",
    "operator.httpPort=70000": "httpPort",
    "operator.nodeSelector.gpu=true": "nodeSelector",
    "operator.resources.request.cpu=1": "resources",
    "operator.tolerations[0].kee=x": "kee",
    "images.pullPolicy=Sometimes": "pullPolicy",
    "images.triton.tag=": "tag",
    "images.builder.digest=md5:1": "digest",
    "images.registry=null": "registry",
    "watchNamespaces={Cameras}": "watchNamespaces",
    "watchNamespaces={a,a}": "watchNamespaces",
    "crds.install=maybe": "install",
    "monitoring.podMonitor.interval=often": "interval",
}


@pytest.mark.parametrize("value", REFUSED)
def test_helm_refuses_what_nobody_reads_and_names_it(helm: Helm, value: str) -> None:
    done = helm.try_template("--set", value)
    assert done.returncode != 0
    assert "values don't meet the specifications of the schema" in done.stderr
    assert REFUSED[value] in done.stderr


@pytest.mark.parametrize(
    "value",
    [
        "builds.resources.limits.cpu=2",
        "operator.affinity.nodeAffinity.x=y",
        "global.team=video",
        "operator.tolerations[0].operator=Exists",
        "serving.resources=null",
        "builds.deadlineSeconds=86400",
    ],
)
def test_helm_takes_what_makes_sense(helm: Helm, value: str) -> None:
    assert helm.try_template("--set", value).returncode == 0


def test_a_key_without_a_comment_is_refused_by_the_generator() -> None:
    bare = VALUES.replace("# Size of the claim.", "")
    with pytest.raises(chart_docs.ValuesError, match=r"store\.size"):
        chart_docs.schema(bare)


def test_a_readme_without_marks_is_refused_by_the_generator() -> None:
    with pytest.raises(chart_docs.ValuesError, match="put them back"):
        chart_docs.readme("# The chart\n", VALUES)


def test_value_sets_are_values_of_the_schema(helm: Helm) -> None:
    assert {name: helm.try_template(*arguments).returncode for name, arguments in VALUE_SETS.items()} == dict.fromkeys(
        VALUE_SETS, 0
    )

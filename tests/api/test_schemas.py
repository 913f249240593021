"""The schemas are structural, bounded and documented; the API server takes them only so, or answers worse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import jsonschema
import pytest

from yolofleet.api.crd import crds

Schema = dict[str, Any]
CRDS = {crd["spec"]["names"]["kind"]: crd for crd in crds().values()}
REFUSED = {"$ref", "$defs", "const", "uniqueItems", "prefixItems", "patternProperties", "propertyNames", "title"} | {
    "exclusiveMinimum",
    "exclusiveMaximum",
    "oneOf",
    "allOf",
    "not",
}


def schema_of(kind: str) -> Schema:
    version: Schema = CRDS[kind]["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return version


def nodes(schema: Schema, path: str = "") -> Iterator[tuple[str, Schema]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for word in ("items", "additionalProperties"):
        if isinstance(schema.get(word), dict):
            yield from nodes(schema[word], f"{path}[]")


def own(kind: str) -> list[tuple[str, Schema]]:
    """Return every node of spec and status; metadata is Kubernetes' own."""
    parts = schema_of(kind)["properties"]
    return [found for part in ("spec", "status") for found in nodes(parts[part], part)]


@pytest.mark.parametrize("kind", CRDS)
def test_nothing_is_there_that_a_structural_schema_refuses(kind: str) -> None:
    assert not [(path, found) for path, node in own(kind) if (found := REFUSED & set(node))]
    assert not [path for path, node in own(kind) if "properties" in node and "additionalProperties" in node]


@pytest.mark.parametrize("kind", CRDS)
def test_every_node_has_one_type_and_none_is_a_float(kind: str) -> None:
    plain = {"object", "array", "string", "integer", "boolean"}
    for path, node in own(kind):
        if node.get("x-kubernetes-int-or-string"):
            assert "type" not in node, path
            assert node["anyOf"] == [{"type": "integer"}, {"type": "string"}], path
        else:
            assert "anyOf" not in node, path
            assert node["type"] in plain, path


@pytest.mark.parametrize("kind", CRDS)
def test_every_string_list_and_map_is_bounded(kind: str) -> None:
    for path, node in own(kind):
        if node.get("type") == "string" or node.get("x-kubernetes-int-or-string"):
            assert {"enum", "maxLength"} & set(node), path
        if node.get("type") == "array":
            assert "maxItems" in node, path
            assert node["x-kubernetes-list-type"] in ("set", "map", "atomic"), path
        if "additionalProperties" in node:
            assert "maxProperties" in node, path


@pytest.mark.parametrize("kind", CRDS)
def test_keys_of_map_lists_are_always_there(kind: str) -> None:
    for path, node in own(kind):
        for key in node.get("x-kubernetes-list-map-keys", []):
            assert key in node["items"]["required"], path


@pytest.mark.parametrize("kind", CRDS)
def test_every_field_is_documented(kind: str) -> None:
    fields = [f"{path}.{name}" for path, node in own(kind) for name in node.get("properties", {})]
    described = {path for path, node in own(kind) if node.get("description")}
    assert fields
    assert set(fields) <= described, "put a docstring under the field"


@pytest.mark.parametrize("kind", CRDS)
def test_every_default_is_allowed_and_complete(kind: str) -> None:
    for path, node in own(kind):
        if "default" in node:
            jsonschema.validate(node["default"], node)
            inner = {name: child["default"] for name, child in node.get("properties", {}).items() if "default" in child}
            assert "properties" not in node or node["default"] == inner, path


@pytest.mark.parametrize("kind", CRDS)
def test_status_has_no_defaults(kind: str) -> None:
    assert not [path for path, node in nodes(schema_of(kind)["properties"]["status"]) if "default" in node]


@pytest.mark.parametrize("kind", CRDS)
def test_paths_of_columns_and_scale_exist(kind: str) -> None:
    version = CRDS[kind]["spec"]["versions"][0]
    paths = [column["jsonPath"] for column in version["additionalPrinterColumns"]]
    paths += list(version["subresources"].get("scale", {}).values())
    for path in paths:
        node = schema_of(kind)
        for step in path.split("[")[0].strip(".").split("."):
            if step == "creationTimestamp":
                break
            node = node["properties"][step]


def test_replicas_have_a_default_because_scale_cannot_be_read_without() -> None:
    assert schema_of("YoloDeployment")["properties"]["spec"]["properties"]["replicas"]["default"] == 1


@pytest.mark.parametrize(
    ("kind", "scope"), [("YoloDeployment", "Namespaced"), ("YoloEngine", "Namespaced"), ("MigPool", "Cluster")]
)
def test_scope(kind: str, scope: str) -> None:
    assert CRDS[kind]["spec"]["scope"] == scope

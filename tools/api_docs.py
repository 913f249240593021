"""What is derived from the API for readers: docs/api.md, a reference table of every field and rule."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

Schema = dict[str, Any]
Rules = list[tuple[str, str]]

INTRO = """\
# The API: `{version}`

Every field of the three kinds, as the API server knows it (`kubectl explain {first}.spec` shows the same).
The API server fills in defaults and refuses what breaks a bound or a rule; the operator applies the same bounds and
rules when it reads. `null` means absent. Fractions are decimal strings in quotes (`"0.25"`): Kubernetes' APIs know
no floating-point numbers. Samples, from the shortest to a full one: [`crds/samples`](../crds/samples). What is taken
but not carried out yet: [README](../README.md#what-this-version-does-not-do-yet).
"""
TABLE = "| field | type | default | bounds | meaning |\n|---|---|---|---|---|"
KEPT_SHORT = 48
"""Longer patterns are not shown: the error message has them."""


@dataclass
class _Tables:
    """What is gathered on the way through one schema; `seen` maps a type's fields to where they stand."""

    rows: list[str] = field(default_factory=list)
    rules: Rules = field(default_factory=list)
    seen: dict[str, str] = field(default_factory=dict)


def api_reference(crds: dict[str, Schema]) -> str:
    """Return docs/api.md; `crds` maps file names to CustomResourceDefinitions."""
    kinds = sorted(crds.values(), key=lambda crd: _order(crd["spec"]["names"]["kind"]))
    version = f"{kinds[0]['spec']['group']}/{kinds[0]['spec']['versions'][0]['name']}"
    intro = INTRO.format(version=version, first=kinds[0]["spec"]["names"]["singular"])
    return "\n".join([intro, *(part for crd in kinds for part in _kind(crd))])


def _order(kind: str) -> int:
    return ("YoloDeployment", "MigPool", "YoloEngine").index(kind)


def _kind(crd: Schema) -> Iterator[str]:
    names = crd["spec"]["names"]
    schema = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    yield f"## {names['kind']}\n"
    scope = {"Cluster": "Cluster-scoped"}.get(crd["spec"]["scope"], "Namespaced")
    yield f"{schema['description']} {scope}; short name `{names['shortNames'][0]}`.\n"
    for part in ("spec", "status"):
        tables = _Tables()
        _walk(schema["properties"][part], path=part, tables=tables)
        own = [("metadata", rule["message"]) for rule in schema.get("x-kubernetes-validations", [])]
        yield f"### {names['kind']} {part}\n"
        yield "\n".join([TABLE, *tables.rows]) + "\n"
        yield from _rules(own + tables.rules if part == "spec" else tables.rules)


def _rules(rules: Rules) -> Iterator[str]:
    if rules:
        yield "Rules:\n"
        yield "\n".join(dict.fromkeys(f"- `{path}`: {_escaped(message)}" for path, message in rules)) + "\n"


def _walk(node: Schema, *, path: str, tables: _Tables) -> None:
    tables.rules += [(path, rule["message"]) for rule in node.get("x-kubernetes-validations", [])]
    required = node.get("required", [])
    for name, child in node.get("properties", {}).items():
        here = f"{path}.{name}"
        inner, suffix = (child["items"], "[]") if "items" in child else (child, "")
        shape = json.dumps(inner.get("properties", {}), sort_keys=True)
        known = tables.seen.get(shape) if "properties" in inner else None
        tables.rows.append(_row(here, child, required=name in required, known=known))
        if known is None:
            tables.seen[shape] = here
            _walk(inner, path=here + suffix, tables=tables)


def _row(path: str, node: Schema, *, required: bool, known: str | None) -> str:
    meaning = node.get("description", "") + (f" Fields as in `{known}`." if known else "")
    default = "required" if required else _default(node)
    cells = [f"`{path.split('.', 1)[1]}`", _type(node), default, _bounds(node), _escaped(meaning)]
    return f"| {' | '.join(cells)} |"


def _type(node: Schema) -> str:
    if node.get("x-kubernetes-int-or-string"):
        return "quantity"
    if "items" in node:
        kind = {"set": "set", "map": "map"}.get(node.get("x-kubernetes-list-type", ""), "list")
        key = f" by `{node['x-kubernetes-list-map-keys'][0]}`" if kind == "map" else ""
        return f"{kind} of {_type(node['items'])}{key}"
    if "additionalProperties" in node:
        return f"map of {_type(node['additionalProperties'])}"
    return str(node["type"])


def _default(node: Schema) -> str:
    default = node.get("default")
    return "" if default is None or "properties" in node else f"`{json.dumps(default)}`"


def _bounds(node: Schema) -> str:
    return "; ".join(_escaped(bound) for bound in _each_bound(node.get("items", node), node))


def _each_bound(item: Schema, node: Schema) -> Iterator[str]:
    if "enum" in item:
        yield ", ".join(f"`{word}`" for word in item["enum"])
    if item.get("type") == "integer":
        yield f"{item.get('minimum', '…')}–{item.get('maximum', '…')}"
    if "multipleOf" in item:
        yield f"a multiple of {item['multipleOf']}"
    if item.get("type") == "string" and "maxLength" in item:
        yield f"≤ {item['maxLength']} characters"
    if 0 < len(item.get("pattern", "")) <= KEPT_SHORT:
        yield f"`{item['pattern']}`"
    if "maxItems" in node:
        yield f"{node.get('minItems', 0)}–{node['maxItems']} items"
    if "maxProperties" in node:
        yield f"≤ {node['maxProperties']} entries"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")

"""What is derived from the chart's values.yaml: values.schema.json, and the table of values in its README.

The comment above a key in values.yaml is its description. Types and bounds of what the operator reads come from
`yolofleet.settings`; those of what only the chart reads stand here. Everything is closed: an unknown key is an error.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from yolofleet.settings import Settings

Schema = dict[str, Any]
Path_ = tuple[str, ...]

CHART = Path(__file__).resolve().parent.parent / "charts/yolofleet"
SECTIONS = ("builds", "store", "serving", "scaling", "dcgm")
"""Sections of the settings file that are sections of values.yaml, word for word."""
COMPOSED = ("watchNamespaces", "images", "monitoring")
"""What values.yaml says in another way than the settings file; every other setting stands under `operator`."""
BEGIN, END = "<!-- values: generated from values.yaml by `make generate` -->", "<!-- end of values -->"


class ValuesError(Exception):
    """values.yaml lacks something; the message names the key and the remedy."""


def closed(**properties: Schema) -> Schema:
    """Return the schema of an object with exactly these keys; Helm drops a key that a user sets to null."""
    return {
        "type": "object",
        "additionalProperties": False,
        "properties": properties,
        "required": sorted(properties),
    }


def text(pattern: str | None = None) -> Schema:
    """Return the schema of a string."""
    return {"type": "string"} | ({"pattern": pattern} if pattern else {})


def words(*allowed: str) -> Schema:
    """Return the schema of one of a few words."""
    return {"type": "string", "enum": list(allowed)}


def each(item: Schema) -> Schema:
    """Return the schema of a list."""
    return {"type": "array", "items": item}


def mapping(value: Schema) -> Schema:
    """Return the schema of a map with keys of the user's own, such as labels."""
    return {"type": "object", "additionalProperties": value}


def borrowed(value: Schema, *keys: str) -> Schema:
    """Return the schema of an object of Kubernetes' own, of which these keys may be set; values.yaml need not."""
    told = {"description": "As in Kubernetes' own API.", **value}
    return {"type": "object", "additionalProperties": False, "properties": dict.fromkeys(keys, told)}


SWITCH: Schema = {"type": "boolean"}
LABELS = mapping(text())
NAME = text(r"^([a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?)?$")
NAMESPACE: Schema = {**text(r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"), "maxLength": 63}
OBJECT_NAME = text(r"^([a-z0-9]([-a-z0-9.]*[a-z0-9])?)?$")
REGISTRY = text(r"^([A-Za-z0-9][-A-Za-z0-9._:/]*)?$")
QUANTITY: Schema = {"anyOf": [text(), {"type": "integer"}]}
REPOSITORY = text(r"^[a-z0-9][-a-z0-9._/]*$")
TAG = r"[A-Za-z0-9_][-A-Za-z0-9._]{0,127}"
DIGEST = text(r"^(sha256:[a-f0-9]{64})?$")
OWN_IMAGE = closed(registry=REGISTRY, repository=REPOSITORY, tag=text(f"^({TAG})?$"), digest=DIGEST)
IMAGE = closed(registry=REGISTRY, repository=REPOSITORY, tag=text(f"^{TAG}$"), digest=DIGEST)
TOLERATION: Schema = {
    **closed(
        key=text(),
        operator=words("Exists", "Equal"),
        value=text(),
        effect=words("NoSchedule", "PreferNoSchedule", "NoExecute"),
        tolerationSeconds={"type": "integer", "minimum": 0},
    ),
    "required": [],
}
AFFINITY = borrowed({"type": "object"}, "nodeAffinity", "podAffinity", "podAntiAffinity")
RESOURCES = borrowed(mapping(QUANTITY), "requests", "limits")
PORT: Schema = {"type": "integer", "minimum": 1, "maximum": 65535}
EXPRESSION = {**closed(key=text(), operator=text(), values=each(text())), "required": ["key", "operator"]}
SELECTOR = {**closed(matchLabels=LABELS, matchExpressions=each(EXPRESSION)), "required": []}
BLOCK = {**closed(cidr=text(), **{"except": each(text())}), "required": ["cidr"]}
PEERS = each({**closed(podSelector=SELECTOR, namespaceSelector=SELECTOR, ipBlock=BLOCK), "required": []})
API_SERVER = closed(cidrs=each(text(r"^[0-9a-fA-F.:]+/[0-9]+$")), ports={**each(PORT), "minItems": 1})
NETWORK_POLICY = closed(enabled=SWITCH, apiServer=API_SERVER, clients=PEERS, monitors=PEERS, sources=PEERS, store=PEERS)
STORE_SERVER = closed(
    size=text(), storageClassName=text(), resources=RESOURCES, nodeSelector=LABELS, tolerations=each(TOLERATION)
)
PRE_PULL = closed(
    enabled=SWITCH,
    images={**each(words("triton", "operator", "builder")), "minItems": 1, "uniqueItems": True},
    maxUnavailable={"anyOf": [{"type": "integer", "minimum": 1}, text(r"^[1-9][0-9]?%$|^100%$")]},
    nodeSelector=LABELS,
)
FENCES = ("nodeFence", "childFence", "authorFence")
MONITOR = closed(enabled=SWITCH, interval=text(r"^([0-9]+(ms|s|m|h))*$"), labels=LABELS)


def schema(values: str) -> Schema:
    """Return the JSON schema of the values, described by the comments of values.yaml."""
    told = comments(values)
    bare = _schema()
    if missing := [path for path in documented(bare) if path not in told]:
        keys = ", ".join(".".join(path) for path in missing)
        raise ValuesError(f"charts/yolofleet/values.yaml: no commented key {keys}; add each with a comment above it")
    made = _described(bare, told)
    made["properties"]["global"] = {"type": "object", "description": "What a parent chart hands down; not read."}
    return {"$schema": "http://json-schema.org/draft-07/schema#", "title": "Values of yolofleet", **made}


def documented(node: Schema, path: Path_ = ()) -> Iterator[Path_]:
    """Yield the path of every key that values.yaml must have and describe; a borrowed one describes itself."""
    for key, value in node.get("properties", {}).items():
        if "description" not in value:
            yield (*path, key)
            yield from documented(value, (*path, key))


def _schema() -> Schema:
    settings = _settings()
    scalars = {key: value for key, value in settings["properties"].items() if key not in (*SECTIONS, *COMPOSED)}
    return closed(
        watchNamespaces={**each(NAMESPACE), "uniqueItems": True},
        images=_images(settings["properties"]["images"]),
        **{section: settings["properties"][section] for section in SECTIONS},
        operator=_operator(scalars),
        serviceAccount=closed(create=SWITCH, name=OBJECT_NAME, annotations=LABELS),
        rbac=closed(create=SWITCH, aggregate=SWITCH, top=SWITCH),
        storeServer=STORE_SERVER,
        prePull=PRE_PULL,
        **dict.fromkeys(FENCES, closed(enabled=SWITCH)),
        networkPolicy=NETWORK_POLICY,
        crds=closed(install=SWITCH, annotations=LABELS),
        monitoring=_monitoring(),
        nameOverride=NAME,
        fullnameOverride=NAME,
    )


def _monitoring() -> Schema:
    return closed(
        annotations={"enum": ["auto", True, False]},
        serviceMonitor=MONITOR,
        podMonitor=MONITOR,
        rules=closed(enabled=SWITCH, labels=LABELS),
        dashboards=closed(enabled=SWITCH, labels=LABELS, annotations=LABELS),
    )


def _images(told: Schema) -> Schema:
    policy = told["properties"]["pullPolicy"]
    return closed(
        registry=REGISTRY,
        pullPolicy=policy,
        pullSecrets=each(OBJECT_NAME),
        operator=OWN_IMAGE,
        builder=OWN_IMAGE,
        triton=IMAGE,
        store=IMAGE,
    )


def _operator(scalars: Schema) -> Schema:
    return closed(
        **scalars,
        resources=RESOURCES,
        priorityClassName=OBJECT_NAME,
        nodeSelector=LABELS,
        tolerations=each(TOLERATION),
        affinity=AFFINITY,
        podAnnotations=LABELS,
        podLabels=LABELS,
    )


def _settings() -> Schema:
    told = Settings.model_json_schema(by_alias=True)
    plain: Schema = _plain(told, told["$defs"])
    return plain


def _plain(node: Any, definitions: Schema) -> Any:
    """Inline references, and leave out what a chart says otherwise: titles, defaults, null (an empty string there)."""
    if isinstance(node, list):
        return [_plain(item, definitions) for item in node]
    if not isinstance(node, dict):
        return node
    if "$ref" in node:
        return _plain(definitions[node["$ref"].removeprefix("#/$defs/")], definitions)
    if "properties" in node:
        inner = {key: _plain(value, definitions) for key, value in node["properties"].items()}
        return {"type": "object", "additionalProperties": False, "properties": inner}
    choices = [choice for choice in node.get("anyOf", []) if choice != {"type": "null"}]
    if len(choices) == 1:
        return _plain(choices[0], definitions)
    dropped = ("title", "default", "description", "$defs")
    return {key: _plain(value, definitions) for key, value in node.items() if key not in dropped}


def _described(node: Schema, told: dict[Path_, str], path: Path_ = ()) -> Schema:
    described: Schema = ({"description": told[path]} if path in told else {}) | node
    if "properties" in node:
        inner = {key: _described(value, told, (*path, key)) for key, value in node["properties"].items()}
        described["properties"] = inner
    return described


def comments(values: str) -> dict[Path_, str]:
    """Return the comment above each key of values.yaml, by the key's path."""
    lines = values.splitlines()
    found = {path: _above(lines, line) for path, line in _keys(yaml.compose(values), ())}
    return {path: comment for path, comment in found.items() if comment}


def _keys(node: yaml.Node | None, path: Path_) -> Iterator[tuple[Path_, int]]:
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        here = (*path, str(key.value))
        yield here, key.start_mark.line
        yield from _keys(value, here)


def _above(lines: list[str], line: int) -> str:
    indent = lines[line][: len(lines[line]) - len(lines[line].lstrip())]
    first = line
    while first > 0 and lines[first - 1].startswith(f"{indent}#"):
        first -= 1
    return " ".join(text.strip().removeprefix("#").strip() for text in lines[first:line])


def table(values: str) -> str:
    """Return the values as Markdown: a heading and a table for each section, in the order of values.yaml."""
    told, known = comments(values), yaml.safe_load(values)
    single = [key for key, value in known.items() if not isinstance(value, dict)]
    parts = [_rows([(key,) for key in single], told, known)]
    for section in (key for key in known if key not in single):
        paths = [path for path in told if path[0] == section and len(path) > 1 and _is_leaf(path, told)]
        parts.append(f"### `{section}`\n\n{told[(section,)]}\n\n{_rows(paths, told, known)}")
    return "\n".join(parts)


def _is_leaf(path: Path_, told: dict[Path_, str]) -> bool:
    return not any(other[: len(path)] == path and len(other) > len(path) for other in told)


def _rows(paths: list[Path_], told: dict[Path_, str], known: Schema) -> str:
    rows = [f"| `{'.'.join(path)}` | `{_default(path, known)}` | {_sentence(path, told)} |\n" for path in paths]
    return "| Key | Default | What it is |\n|---|---|---|\n" + "".join(rows)


def _default(path: Path_, known: Any) -> str:
    for key in path:
        known = known[key]
    return json.dumps(known)


def _sentence(path: Path_, told: dict[Path_, str]) -> str:
    return told[path].replace("|", "\\|")


def readme(page: str, values: str) -> str:
    """Return the README with the table of values renewed between its two marks."""
    before, found, rest = page.partition(BEGIN)
    _, ended, after = rest.partition(END)
    if not (found and ended):
        raise ValuesError(f"charts/yolofleet/README.md: the marks {BEGIN!r} and {END!r} are gone; put them back")
    return f"{before}{BEGIN}\n\n{table(values)}\n{END}{after}"


def write(chart: Path = CHART) -> None:
    """Write values.schema.json and the table in README.md."""
    values = (chart / "values.yaml").read_text()
    (chart / "values.schema.json").write_text(json.dumps(schema(values), indent=2) + "\n")
    page = chart / "README.md"
    page.write_text(readme(page.read_text(), values))


if __name__ == "__main__":
    write()

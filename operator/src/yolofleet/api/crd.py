"""From the models to CustomResourceDefinitions: structural schemas with defaults, bounds and CEL."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from yolofleet.api import GROUP, VERSION
from yolofleet.api.base import ApiModel, cel
from yolofleet.api.migpool import MigPool
from yolofleet.api.yolodeployment import YoloDeployment
from yolofleet.api.yoloengine import YoloEngine

Schema = dict[str, Any]

YDEP_COLUMNS = [
    ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status"),
    ("Reason", "string", ".status.conditions[?(@.type=='Ready')].reason"),
    ("FPS", "string", ".status.summary.fps"),
    ("Slices", "string", ".status.summary.slices"),
    ("Engine", "string", ".status.summary.engine"),
    ("Age", "date", ".metadata.creationTimestamp"),
]
ENGINE_COLUMNS = [
    ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status"),
    ("Stage", "string", ".status.stage"),
    ("Percent", "integer", ".status.progressPercent"),
    ("Backend", "string", ".spec.recipe.backend"),
    ("Attempts", "integer", ".status.attempts"),
    ("Age", "date", ".metadata.creationTimestamp"),
]
POOL_COLUMNS = [
    ("Ready", "string", ".status.conditions[?(@.type=='Ready')].status"),
    ("Mode", "string", ".spec.partitioning.mode"),
    ("Nodes", "integer", ".status.nodes"),
    ("Age", "date", ".metadata.creationTimestamp"),
]


class _Structural(GenerateJsonSchema):
    """pydantic's generator, with default factories spelled out.

    A nested object's default is written in full: the API server checks it against the object's CEL rules as it
    stands, before it fills in the defaults below it.
    """

    def get_default_value(self, schema: Any) -> Any:
        if "default_factory" not in schema:
            return super().get_default_value(schema)
        made = schema["default_factory"]()
        return made.wire() if isinstance(made, ApiModel) else made


def crds() -> dict[str, dict[str, Any]]:
    """Return the three CustomResourceDefinitions by file name."""
    scale = {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    }
    made = [
        _crd(YoloDeployment, short="ydep", columns=YDEP_COLUMNS, scope="Namespaced", scale=scale),
        _crd(YoloEngine, short="yeng", columns=ENGINE_COLUMNS, scope="Namespaced"),
        _crd(MigPool, short="mpool", columns=POOL_COLUMNS, scope="Cluster"),
    ]
    return {f"{crd['metadata']['name']}.yaml": crd for crd in made}


def _crd(
    model: type[YoloDeployment | YoloEngine | MigPool],
    *,
    short: str,
    columns: list[tuple[str, str, str]],
    scope: str,
    scale: dict[str, str] | None = None,
) -> dict[str, Any]:
    names = {
        "kind": model.kind,
        "listKind": f"{model.kind}List",
        "plural": model.plural,
        "singular": model.kind.lower(),
        "shortNames": [short],
        "categories": ["yolofleet"],
    }
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "schema": {"openAPIV3Schema": object_schema(model)},
        "subresources": {"status": {}} | ({"scale": scale} if scale else {}),
        "additionalPrinterColumns": [{"name": n, "type": t, "jsonPath": p} for n, t, p in columns],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{model.plural}.{GROUP}"},
        "spec": {
            "group": GROUP,
            "scope": scope,
            "names": names,
            "conversion": {"strategy": "None"},
            "versions": [version],
        },
    }


def object_schema(model: type[ApiModel]) -> Schema:
    """Return the structural schema of a whole object: apiVersion, kind, metadata, spec, status."""
    generated = model.model_json_schema(by_alias=True, schema_generator=_Structural)
    root = _structural(generated, generated.get("$defs", {}))
    status = root["properties"].get("status")
    if status:
        root["properties"]["status"] = _without_defaults(status)
    spec_required = ["spec"] if "spec" in root.get("required", []) else []
    head: Schema = {
        "apiVersion": {"type": "string"},
        "kind": {"type": "string"},
        "metadata": {"type": "object"},
    }
    root["properties"] = head | {name: node for name, node in root["properties"].items() if name not in head}
    root.pop("required", None)
    return root | ({"required": spec_required} if spec_required else {})


def _structural(node: Schema, defs: Schema) -> Schema:
    """Inline references, fold optional types, and drop what a structural schema refuses."""
    node = _folded(node, defs)
    node = {k: v for k, v in node.items() if not (k == "title" or (k == "default" and v is None) or k == "$defs")}
    if node.get("minLength") == 0:
        del node["minLength"]
    if "description" in node:
        node["description"] = " ".join(str(node["description"]).split())
    if "properties" in node:
        node["properties"] = {name: _structural(child, defs) for name, child in node["properties"].items()}
    if isinstance(node.get("items"), dict):
        node["items"] = _structural(node["items"], defs)
    if isinstance(node.get("additionalProperties"), dict):
        node["additionalProperties"] = _structural(node["additionalProperties"], defs)
    if node.get("x-kubernetes-int-or-string"):
        node["anyOf"] = [{"type": "integer"}, {"type": "string"}]
    return _with_key_rule(node, defs)


def _folded(node: Schema, defs: Schema) -> Schema:
    """Resolve `$ref`, and fold `X | null` into X; what stands beside them wins."""
    while True:
        if "$ref" in node:
            target = defs[node["$ref"].rsplit("/", 1)[-1]]
            node = target | {k: v for k, v in node.items() if k != "$ref"}
        elif (inner := _optional_of(node)) is not None:
            node = inner | {k: v for k, v in node.items() if k not in ("anyOf", "default")}
        else:
            return node


def _optional_of(node: Schema) -> Schema | None:
    branches = node.get("anyOf", [])
    real: list[Schema] = [branch for branch in branches if branch.get("type") != "null"]
    return real[0] if len(real) == 1 and len(branches) > 1 else None


def _with_key_rule(node: Schema, defs: Schema) -> Schema:
    """Say in CEL what JSON Schema says of a map's keys; structural schemas know no `propertyNames`.

    A type of keys has a pattern, a length, and a description, which is the rule's message.
    """
    names = node.pop("propertyNames", {})
    patterns = node.pop("patternProperties", None)
    if patterns:
        ((pattern, value),) = patterns.items()
        node["additionalProperties"] = _structural(value, defs)
        names |= {"pattern": pattern}
    if not names:
        return node
    bounds = f"size(k) <= {names['maxLength']} && k.matches(r'{names['pattern']}')"
    rule = cel(f"self.all(k, {bounds})", names["description"])
    return node | {"x-kubernetes-validations": [*node.get("x-kubernetes-validations", []), rule]}


def _without_defaults(node: Schema) -> Schema:
    """Drop defaults below status: nobody reads a status that was not written."""
    kept = {k: v for k, v in node.items() if k != "default"}
    if "properties" in kept:
        kept["properties"] = {name: _without_defaults(child) for name, child in kept["properties"].items()}
    if isinstance(kept.get("items"), dict):
        kept["items"] = _without_defaults(kept["items"])
    return kept

"""Closed JSON schemas for kubeconform, made from the APIs' own words: no field that the API server does not know.

Three sources, none of them from the network at test time: the OpenAPI documents of the pinned Kubernetes (its Go
module, pinned by the bench's go.sum), the definitions of the Prometheus operator (likewise), and our own in `crds/`.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from pathlib import Path
from typing import Any

import yaml

from e2e.cache import cache_root, digest_of, locked
from e2e.clusters.bare import binaries
from e2e.clusters.bare.binaries import KUBERNETES_VERSION
from e2e.clusters.bare.prerequisites import find_tool

Schema = dict[str, Any]

ROOT = Path(__file__).resolve().parents[2]
MODULES = Path(binaries.__file__).parent / "go"
LOCATION = "{{ .Group }}_{{ .ResourceAPIVersion }}_{{ .ResourceKind }}.json"
SHARED = "definitions.json"
PROMETHEUS = ("github.com/prometheus-operator/prometheus-operator", "v0.85.0")
META = {"$ref": f"{SHARED}#/definitions/io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"}


def schemas() -> Path:
    """Return the folder of schemas, made once per content of its sources."""
    ours = sorted((ROOT / "crds").glob("*.yaml"))
    key = digest_of(texts=[KUBERNETES_VERSION, *PROMETHEUS], files=[Path(__file__), *ours])
    folder = cache_root() / "schemas" / key
    with locked(cache_root() / "locks" / "schemas"):
        if not folder.exists():
            folder.parent.mkdir(parents=True, exist_ok=True)
            staged = Path(tempfile.mkdtemp(dir=folder.parent))
            _write(staged, ours)
            staged.rename(folder)
    return folder


def _write(folder: Path, ours: list[Path]) -> None:
    shared = _kubernetes()
    (folder / SHARED).write_text(json.dumps({"definitions": shared}).replace("#/components/schemas/", "#/definitions/"))
    for name, definition in shared.items():
        kinds = definition.get("x-kubernetes-group-version-kind", [])
        if len(kinds) == 1:  # options of requests belong to every group
            kind = kinds[0]
            path = _path(folder, kind["group"] or kind["version"], kind["version"], kind["kind"])
            path.write_text(json.dumps({"$ref": f"{SHARED}#/definitions/{name}"}))
    monitors = sorted((_module(*PROMETHEUS) / "example/prometheus-operator-crd").glob("*monitors.yaml"))
    rules = sorted((_module(*PROMETHEUS) / "example/prometheus-operator-crd").glob("*rules.yaml"))
    for path in [*ours, *monitors, *rules]:
        _define(folder, yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["spec"])


def _path(folder: Path, group: str, version: str, kind: str) -> Path:
    return folder / f"{group}_{version}_{kind.lower()}.json"


def _kubernetes() -> dict[str, Schema]:
    """Return every schema of the stable groups by its name."""
    found: dict[str, Schema] = {}
    documents = _module("k8s.io/kubernetes", KUBERNETES_VERSION) / "api/openapi-spec/v3"
    for path in sorted(documents.glob("api*v[12]_openapi.json")):
        found |= json.loads(path.read_text())["components"]["schemas"]
    return {name: closed(schema) for name, schema in found.items()}


def _define(folder: Path, spec: Schema) -> None:
    for version in spec["versions"]:
        made = closed(version["schema"]["openAPIV3Schema"])
        made["properties"]["metadata"] = META
        _path(folder, spec["group"], version["name"], spec["names"]["kind"]).write_text(json.dumps(made))


def closed(schema: Schema) -> Schema:
    """Return a schema that allows no other property than those it names, at every depth where it names any."""
    made = dict(schema)
    if "properties" in made:
        made["properties"] = {key: closed(value) for key, value in made["properties"].items()}
        if not made.get("x-kubernetes-preserve-unknown-fields"):
            made.setdefault("additionalProperties", False)
    for key in ("items", "additionalProperties"):
        if isinstance(made.get(key), dict):
            made[key] = closed(made[key])
    return made


def _module(path: str, version: str) -> Path:
    """Return the folder of a Go module, downloaded once and checked against the bench's go.sum."""
    command = [find_tool("go"), "mod", "download", "-json", f"{path}@{version}"]
    where = MODULES / path.rpartition("/")[2]
    done = subprocess.run(command, cwd=where, check=True, capture_output=True, text=True)
    return Path(json.loads(done.stdout)["Dir"])

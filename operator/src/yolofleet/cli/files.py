"""What `-f` may name: a fleet, a snapshot, or manifests; told apart by their fields, refused with field and remedy."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, TypeVar

import orjson
import yaml
from pydantic import ValidationError

from yolofleet.api import API_VERSION
from yolofleet.api.base import ApiModel
from yolofleet.api.fleet import Fleet
from yolofleet.api.snapshot import SnapshotFile, unknown_fields
from yolofleet.api.yolodeployment import YoloDeployment
from yolofleet.errors import Refused

Object = dict[str, Any]
M = TypeVar("M", bound=ApiModel)
SHOWN_ERRORS = 5
FIELDS = "see docs/placement.md for the fields"
KINDS = "a fleet (products, models, deployments), a snapshot (nodes, deployments, engines, pools) or YoloDeployments"


def read(name: str) -> Fleet | SnapshotFile | list[Object]:
    """Read a file; manifests come as the objects that they are, each of them valid."""
    documents = _documents(name)
    first = documents[0] if documents else None
    if isinstance(first, dict) and {"apiVersion", "kind"} <= first.keys():
        return _manifests(name, documents)
    if isinstance(first, dict) and len(documents) == 1 and "nodes" in first:
        return _valid(SnapshotFile, first, name)
    if isinstance(first, dict) and len(documents) == 1 and {"products", "models"} & first.keys():
        return _valid(Fleet, first, name)
    seen = ", ".join(sorted(map(str, first))) if isinstance(first, dict) else type(first).__name__
    raise Refused(
        field="-f", value=name, message=f"holds {seen[:200] or 'nothing'}", remedy=f"name a file with {KINDS}"
    )


def _documents(name: str) -> list[Any]:
    try:
        told = sys.stdin.read() if name == "-" else Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "unreadable: not UTF-8"
        raise Refused(field="-f", value=name, message=words, remedy="name a file") from error
    try:
        return [orjson.loads(told)]
    except orjson.JSONDecodeError as not_json:
        if told.lstrip().startswith(("{", "[")):
            raise Refused(field="-f", value=name, message=f"no JSON: {not_json}", remedy="mend it there") from not_json
    try:
        return [document for document in yaml.safe_load_all(told) if document is not None]
    except yaml.YAMLError as error:
        words = " ".join(str(error).split())
        raise Refused(field="-f", value=name, message=f"neither JSON nor YAML: {words}", remedy=FIELDS) from error


def _valid(kind: type[M], given: Object, name: str) -> M:
    try:
        found = kind.model_validate_json(orjson.dumps(given))
    except ValidationError as error:
        raise _refused(name, error) from error
    if strange := unknown_fields(found, given):
        told = ", ".join(strange[:SHOWN_ERRORS])
        raise Refused(field="-f", value=name, message=f"{told}: no such field", remedy=f"mend or remove it; {FIELDS}")
    return found


def _refused(name: str, error: ValidationError) -> Refused:
    told = [f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}{_got(one)}" for one in error.errors()]
    return Refused(field="-f", value=name, message="; ".join(told[:SHOWN_ERRORS]), remedy=FIELDS)


def _got(one: Any) -> str:
    """Return the value that is wrong, where it is one that fits in a line."""
    value = one.get("input")
    return f" (got {value!r})" if isinstance(value, str | int | float) and len(str(value)) <= 60 else ""  # noqa: PLR2004


def _manifests(name: str, documents: list[Any]) -> list[Object]:
    listed = [item for one in documents for item in (one.get("items", []) if one.get("kind") == "List" else [one])]
    for one in listed:
        if (one.get("apiVersion"), one.get("kind")) != (API_VERSION, YoloDeployment.kind):
            told = f"holds {one.get('apiVersion')} {one.get('kind')}"
            raise Refused(
                field="-f", value=name, message=told, remedy=f"leave only {API_VERSION} {YoloDeployment.kind}"
            )
        try:
            found = YoloDeployment.model_validate_json(json.dumps(one))
        except ValidationError as error:
            raise _refused(name, error) from error
        if strange := unknown_fields(found.spec, one["spec"], "spec."):
            told = f"{one['metadata']['name']}: {', '.join(strange[:SHOWN_ERRORS])}: no such field"
            raise Refused(field="-f", value=name, message=told, remedy="mend or remove it; see docs/api.md")
    return listed

"""Findings about the cluster and the installation: versions, definitions, the operator, rights."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from yolofleet.cli.diagnosis import Facts, Finding, Object, Unseen, unseen
from yolofleet.cli.diagnosis.rights import USERS, allows

LEAST_VERSION, SURE_VERSION = (1, 29), (1, 30)
"""`preStop: sleep` came with 1.29, behind a gate, and is on by default since 1.30 (KEP-3960)."""
SHOWN = 4


def kubernetes(facts: Facts) -> Finding:
    """Judge the API server's version."""
    topic = "kubernetes"
    if isinstance(facts.server_version, Unseen):
        return unseen(topic, facts.server_version)
    found = re.match(r"v?(\d+)\.(\d+)", facts.server_version)
    if found is None:
        told = f"version {facts.server_version!r} cannot be read"
        return Finding(topic, "warn", told, f"make sure that it is at least {LEAST_VERSION[0]}.{LEAST_VERSION[1]}")
    version = (int(found[1]), int(found[2]))
    if version < LEAST_VERSION:
        told = f"Kubernetes {facts.server_version} knows no `preStop: sleep`, by which pods drain"
        return Finding(topic, "fail", told, "upgrade the cluster to 1.30 or later")
    if version < SURE_VERSION:
        told = f"Kubernetes {facts.server_version} has `preStop: sleep` behind a gate"
        return Finding(topic, "warn", told, "enable the gate PodLifecycleSleepAction, or upgrade to 1.30 or later")
    return Finding(topic, "ok", f"Kubernetes {facts.server_version}")


def definitions(facts: Facts, known: Mapping[str, Object]) -> Finding:
    """Compare the installed definitions with those that this plugin knows, field by field."""
    topic = "definitions"
    if isinstance(facts.schemas, Unseen):
        return unseen(topic, facts.schemas)
    absent = sorted(known) if facts.schemas is None else sorted(set(known) - set(facts.schemas))
    if facts.schemas is None or absent:
        told = f"the cluster does not know {', '.join(absent)}"
        return Finding(topic, "fail", told, "install the chart with crds.install=true, or apply crds/*.yaml")
    mine = {path for kind, schema in known.items() for path in _paths(schema, kind)}
    theirs = {path for kind, schema in facts.schemas.items() if kind in known for path in _paths(schema, kind)}
    if older := sorted(mine - theirs):
        told = f"the installed definitions lack {len(older)} fields: {_some(older)}"
        return Finding(topic, "warn", told, "upgrade the chart: helm upgrade takes the definitions along")
    if newer := sorted(theirs - mine):
        told = f"the installed definitions have {len(newer)} fields that this plugin does not know: {_some(newer)}"
        return Finding(topic, "warn", told, "upgrade the plugin to the chart's version")
    return Finding(topic, "ok", f"{', '.join(sorted(known))} are installed, as this plugin knows them")


def _paths(schema: Object, path: str) -> Iterator[str]:
    """Yield the fields below a schema; what Kubernetes itself writes into metadata is left out."""
    for name, child in (schema.get("properties") or {}).items():
        if path.count(".") == 0 and name in ("metadata", "apiVersion", "kind"):
            continue
        yield f"{path}.{name}"
        yield from _paths(child, f"{path}.{name}")
    if isinstance(schema.get("items"), dict):
        yield from _paths(schema["items"], f"{path}[]")
    if isinstance(schema.get("additionalProperties"), dict):
        yield from _paths(schema["additionalProperties"], f"{path}{{}}")


def _some(names: list[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def operator(facts: Facts) -> Finding:
    """Judge whether the operator runs, and whether it is of the plugin's version."""
    topic, where = "operator", facts.operator_namespace
    if isinstance(facts.operator, Unseen):
        return unseen(topic, facts.operator)
    if facts.operator is None:
        told = f"no operator in namespace {where}"
        return Finding(topic, "fail", told, "install the chart, or say where it is: --operator NAMESPACE/NAME")
    status = facts.operator.get("status") or {}
    if not status.get("readyReplicas"):
        told = f"the operator in {where} is not ready: {_unready(status)}"
        return Finding(topic, "fail", told, f"look at it: kubectl -n {where} describe pods; kubectl -n {where} logs")
    labels = facts.operator["metadata"].get("labels") or {}
    version = labels.get("app.kubernetes.io/version", "")
    if version and version != facts.plugin_version:
        told = f"the operator is {version}, this plugin {facts.plugin_version}"
        return Finding(topic, "warn", told, "bring both to one version: helm upgrade, or pip install --upgrade")
    return Finding(topic, "ok", f"operator {version} is ready in {where}")


def _unready(status: Object) -> str:
    bad = [c for c in status.get("conditions") or [] if c.get("status") == "False" and c.get("type") == "Available"]
    return str(bad[0].get("message", "")) if bad else "it has no ready pod"


def live(facts: Facts) -> Finding:
    """Judge whether `top` gets an answer."""
    if isinstance(facts.top, Unseen):
        return Finding("live figures", "warn", "`top` shows status only", facts.top.why)
    return Finding("live figures", "ok", "the operator answers `top`")


def users_rights(facts: Facts) -> Finding:
    """Judge what the user may do in the namespace."""
    topic, where = "your rights", f"namespace {facts.namespace}"
    if isinstance(facts.own_rules, Unseen):
        return unseen(topic, facts.own_rules)
    lacking = [right for right in USERS if not allows(facts.own_rules, right)]
    if any(right.verb == "list" for right in lacking):
        told = f"you may not {', '.join(map(str, lacking))} in {where}"
        return Finding(topic, "warn", told, "ask for Kubernetes' `view` or `edit` role there (rbac.aggregate)")
    if lacking:
        return Finding(topic, "ok", f"you may look, and not change, in {where}")
    return Finding(topic, "ok", f"you may serve models in {where}")


def operators_rights(facts: Facts) -> Finding:
    """Judge whether the operator may do what it must."""
    topic = "operator's rights"
    if isinstance(facts.operator_rights, Unseen):
        return unseen(topic, facts.operator_rights)
    lacking = sorted(words for words, allowed in facts.operator_rights.items() if not allowed)
    if lacking:
        told = f"{facts.account} may not: {_some(lacking)} (namespace {facts.namespace})"
        remedy = "helm upgrade with rbac.create=true; with watchNamespaces, name this namespace there"
        return Finding(topic, "fail", told, remedy)
    return Finding(topic, "ok", f"{len(facts.operator_rights)} rights that it needs in {facts.namespace} are there")

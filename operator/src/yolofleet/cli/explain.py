"""`kubectl yolofleet explain`: why this many replicas, why this slice, why this engine, and what would change it."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from http import HTTPStatus

from rich.console import Console

from yolofleet.api.migpool import DEFAULT_POOL
from yolofleet.api.top import TopDeployment
from yolofleet.cli.explanation import Object, Section, deployment, engine, pool
from yolofleet.cli.live import Asking, Operator, operator_argument
from yolofleet.cli.printing import as_json, cell
from yolofleet.cli.session import Cluster, Session
from yolofleet.errors import ApiServerError, CannotAskError, NotLiveError
from yolofleet.kube import Resource
from yolofleet.observe.resources import MIGPOOL, YOLODEPLOYMENT, YOLOENGINE

EVENT = Resource("v1", "Event", "events")
KINDS = {
    name: resource
    for resource, short in ((YOLODEPLOYMENT, "ydep"), (YOLOENGINE, "yeng"), (MIGPOOL, "mpool"))
    for name in (resource.kind.lower(), resource.plural, short)
}


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `explain`."""
    parser.add_argument(
        "name", metavar="[KIND/]NAME", help="a YoloDeployment; or yeng/NAME, mpool/NAME for an engine or a pool"
    )
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print (text)")
    operator_argument(parser)


async def run(told: argparse.Namespace, session: Session) -> int:
    """Tell the story of one object."""
    kind, _, name = told.name.rpartition("/")
    async with session.cluster() as cluster:
        resource, obj = await found(cluster, kind, name)
        sections = await _story(cluster, resource, obj, told.operator)
    if told.output == "json":
        named = {"kind": resource.kind, "namespace": obj["metadata"].get("namespace", ""), "name": name}
        document = {"version": 1, **named, "sections": [section.wire() for section in sections]}
        session.out.print(as_json(document), soft_wrap=True)
    else:
        show(sections, session.out)
    return 0


async def found(cluster: Cluster, kind: str, name: str) -> tuple[Resource, Object]:
    """Return an object and its kind; without a kind, the first of deployment, engine and pool by that name."""
    if kind and kind.lower() not in KINDS:
        raise CannotAskError(f"{kind}/{name}: no such kind; say one of {', '.join(sorted(KINDS))}, or the name alone")
    tried = [KINDS[kind.lower()]] if kind else [YOLODEPLOYMENT, YOLOENGINE, MIGPOOL]
    passed_over = (HTTPStatus.NOT_FOUND,) if len(tried) == 1 else (HTTPStatus.NOT_FOUND, HTTPStatus.FORBIDDEN)
    for resource in tried:
        try:
            where = (cluster.namespace or "default") if resource.namespaced else None
            return resource, await cluster.kube.get(resource, namespace=where, name=name)
        except ApiServerError as error:
            if error.status not in passed_over:
                raise
    kinds = ", ".join(resource.kind for resource in tried)
    told = f"no {kinds} named {name} in namespace {cluster.namespace}; `kubectl yolofleet status -A` shows all"
    raise CannotAskError(told)


async def _story(cluster: Cluster, resource: Resource, obj: Object, operator: Operator) -> tuple[Section, ...]:
    events = await _events(cluster, resource, obj)
    if resource is YOLOENGINE:
        return engine.story(obj, events)
    if resource is MIGPOOL:
        return pool.story(obj, await _users(cluster, obj["metadata"]["name"]), events)
    row, not_live = await _row(cluster, obj, operator)
    engines, home = await _engines(cluster, obj), await _pool(cluster, obj)
    return deployment.story(deployment.Seen(obj, engines, home, events, row, not_live))


async def _events(cluster: Cluster, resource: Resource, obj: Object) -> Sequence[Object] | str:
    meta = obj["metadata"]
    path = EVENT.path(meta.get("namespace") or "default")
    wanted = f"involvedObject.kind={resource.kind},involvedObject.name={meta['name']}"
    try:
        told = await cluster.kube.request("GET", path, params={"fieldSelector": wanted, "limit": "500"})
    except ApiServerError as error:
        return _hidden(error, "events")
    return list(told.get("items") or [])


async def _users(cluster: Cluster, name: str) -> Sequence[Object] | str:
    try:
        pages = cluster.kube.pages(YOLODEPLOYMENT)
        found = [item async for page in pages for item in page["items"]]
    except ApiServerError as error:
        return _hidden(error, "yolodeployments of all namespaces")
    return [obj for obj in found if _pool_name(obj) == name]


async def _row(cluster: Cluster, obj: Object, operator: Operator) -> tuple[TopDeployment | None, str]:
    try:
        top = await Asking(cluster, operator).ask()
    except NotLiveError as error:
        return None, str(error)
    name = obj["metadata"]["name"]
    return next((row for row in top.deployments if row.name == name), None), ""


async def _engines(cluster: Cluster, obj: Object) -> dict[str, Object]:
    """Return the engines that the deployment owns a part of; none when they may not be seen."""
    try:
        found = await cluster.items(YOLOENGINE)
    except ApiServerError as error:
        if error.status != HTTPStatus.FORBIDDEN:
            raise
        return {}
    uid = obj["metadata"]["uid"]
    ours = (e for e in found if any(o.get("uid") == uid for o in e["metadata"].get("ownerReferences") or []))
    return {engine["metadata"]["name"]: engine for engine in ours}


async def _pool(cluster: Cluster, obj: Object) -> Object | str:
    try:
        return await cluster.kube.get(MIGPOOL, namespace=None, name=_pool_name(obj))
    except ApiServerError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return "there is none by that name: all nodes with GPUs count as pool `default`"
        return _hidden(error, "migpools")


def _pool_name(obj: Object) -> str:
    placement = obj["spec"].get("placement") or {}
    return str((placement.get("poolRef") or {}).get("name", DEFAULT_POOL))


def _hidden(error: ApiServerError, what: str) -> str:
    if error.status != HTTPStatus.FORBIDDEN:
        raise error
    return f"you are not allowed to see {what}: ask for Kubernetes' `view` role"


def show(sections: Sequence[Section], out: Console) -> None:
    """Print the sections as paragraphs."""
    for number, section in enumerate(sections):
        if number:
            out.print()
        out.print(cell(section.title, "bold"))
        for line in section.lines:
            out.print(cell(f"  {line}", "cyan" if line.lstrip().startswith("→") else ""))

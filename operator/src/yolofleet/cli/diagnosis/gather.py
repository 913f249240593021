"""Gathers what `doctor` judges, all at once; what the user may not see, or what is not there, is a fact, too."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from http import HTTPStatus
from typing import Any, TypeVar

import aiohttp
import yaml

from yolofleet.api import GROUP, VERSION
from yolofleet.api.top import Top
from yolofleet.cli.diagnosis import DcgmSeen, Fact, Facts, Object, Unseen
from yolofleet.cli.diagnosis.rights import NEEDED, Right
from yolofleet.cli.live import Asking, Operator
from yolofleet.cli.printing import own_version
from yolofleet.cli.session import Cluster
from yolofleet.errors import ApiServerError, CannotAskError, NotLiveError
from yolofleet.kube import Kube, Resource
from yolofleet.observe.resources import CLAIM, DEPLOYMENT, NODE, POD, YOLODEPLOYMENT, YOLOENGINE
from yolofleet.render.meta import CONTAINER_SECURITY, POD_SECURITY

T = TypeVar("T")
KINDS = ("YoloDeployment", "YoloEngine", "MigPool")
DCGM_NAMESPACE, DCGM_SERVICE, DCGM_PORT = "gpu-operator", "nvidia-dcgm-exporter", 9400
AT_ONCE = 8
"""Requests in flight: a doctor must not be a load."""
_REVIEWS = "/apis/authorization.k8s.io/v1/"


async def gather(cluster: Cluster, operator: Operator) -> Facts:
    """Return the facts about the cluster and one namespace; only an API server that is away is an error."""
    kube, namespace = cluster.kube, cluster.namespace or "default"
    server = (await kube.request("GET", "/version")).get("gitVersion", "")
    settings = await _seen("the operator's settings", _settings(kube, operator))
    told = settings if isinstance(settings, dict) else {}
    running = await _seen("the operator's Deployment", _operator(kube, operator))
    account = _account(running, operator)
    asked: dict[str, Awaitable[Any]] = {
        "schemas": _seen("definitions", _schemas(kube)),
        "top": _top(cluster, operator),
        "nodes": _seen("nodes", _items(kube, NODE)),
        "dcgm": _seen("the DCGM exporter", _dcgm(kube, told)),
        "namespace_object": _seen("the namespace", kube.request("GET", f"/api/v1/namespaces/{namespace}")),
        "own_rules": _seen("your rights", _own_rules(kube, namespace)),
        "operator_rights": _seen("the operator's rights", _rights(kube, account, namespace)),
        "dry_run": _dry_run(kube, namespace, told),
        **{
            name: _seen(resource.plural, _items(kube, resource, namespace, selector))
            for name, (resource, selector) in _OF_NAMESPACE.items()
        },
    }
    found = dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))
    found |= {"settings": settings, "operator": running}
    return Facts(namespace, own_version(), operator.namespace, account, server, **found)


_OF_NAMESPACE = {
    "claims": (CLAIM, ""),
    "deployments": (YOLODEPLOYMENT, ""),
    "engines": (YOLOENGINE, ""),
    "pods": (POD, "app.kubernetes.io/name=triton"),
    "policies": (Resource("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies"), ""),
}


async def _seen(what: str, asked: Awaitable[T]) -> Fact[T]:
    """Return what was asked for, or why it cannot be seen."""
    try:
        return await asked
    except ApiServerError as error:
        if error.status == HTTPStatus.FORBIDDEN:
            return Unseen(f"you are not allowed to see {what}")
        return Unseen(f"{what} cannot be seen: {error}")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Unseen(f"{what} cannot be seen: {error}")


async def _items(kube: Kube, resource: Resource, namespace: str | None = None, selector: str = "") -> list[Object]:
    pages = kube.pages(resource, namespace=namespace, selector=selector)
    return [item async for page in pages for item in page["items"]]


async def _schemas(kube: Kube) -> dict[str, Object] | None:
    """Return the installed schemas by kind, from what the API server tells everybody who is logged in."""
    try:
        told = await kube.request("GET", f"/openapi/v3/apis/{GROUP}/{VERSION}")
    except ApiServerError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
    found = {}
    for schema in told["components"]["schemas"].values():
        for named in schema.get("x-kubernetes-group-version-kind") or []:
            if named["group"] == GROUP and named["kind"] in KINDS:
                found[named["kind"]] = schema
    return found


async def _operator(kube: Kube, operator: Operator) -> Object | None:
    selector = "app.kubernetes.io/component=operator"
    listed = await _items(kube, DEPLOYMENT, operator.namespace, selector)
    return next((found for found in listed if found["metadata"]["name"] == operator.name), None)


def _account(running: Fact[Object | None], operator: Operator) -> str:
    name = operator.name
    if isinstance(running, dict):
        name = running["spec"]["template"]["spec"].get("serviceAccountName") or name
    return f"system:serviceaccount:{operator.namespace}:{name}"


async def _settings(kube: Kube, operator: Operator) -> Object | None:
    """Return the operator's settings file from its ConfigMap; None when there is none."""
    path = f"/api/v1/namespaces/{operator.namespace}/configmaps/{operator.name}-settings"
    try:
        told = await kube.request("GET", path)
    except ApiServerError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return None
        raise
    try:
        read = yaml.safe_load((told.get("data") or {}).get("settings.yaml", ""))
    except yaml.YAMLError:
        return None
    return read if isinstance(read, dict) else None


async def _top(cluster: Cluster, operator: Operator) -> Fact[Top]:
    try:
        return await Asking(cluster, operator).ask()
    except (NotLiveError, CannotAskError, ApiServerError) as error:
        return Unseen(str(error))


async def _dcgm(kube: Kube, settings: Object) -> DcgmSeen:
    told = settings.get("dcgm") or {}
    namespace = told.get("namespace") or DCGM_NAMESPACE
    service, port = told.get("service") or DCGM_SERVICE, told.get("port") or DCGM_PORT
    path = f"/api/v1/namespaces/{namespace}/services/{service}"
    try:
        await kube.request("GET", path)
    except ApiServerError as error:
        if error.status == HTTPStatus.NOT_FOUND:
            return DcgmSeen(service=False)
        raise
    return DcgmSeen(service=True, page=await _seen("its page", kube.text(f"{path}:{port}/proxy/metrics")))


async def _own_rules(kube: Kube, namespace: str) -> list[Object]:
    review: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    told = await kube.request("POST", _REVIEWS + "selfsubjectrulesreviews", body=review)
    return list(told["status"].get("resourceRules") or [])


async def _rights(kube: Kube, account: str, namespace: str) -> dict[str, bool]:
    """Ask for each right that the operator needs; the first refusal ends it: the user may not ask."""
    gate = asyncio.Semaphore(AT_ONCE)

    async def may(right: Right) -> bool:
        async with gate:
            return await _may(kube, account, right, namespace)

    first, *rest = NEEDED
    known = {str(first): await may(first)}
    answers = await asyncio.gather(*(may(right) for right in rest))
    return known | {str(right): answer for right, answer in zip(rest, answers, strict=True)}


async def _may(kube: Kube, account: str, right: Right, namespace: str) -> bool:
    resource, _, subresource = right.resource.partition("/")
    what = {"verb": right.verb, "group": right.group, "resource": resource, "subresource": subresource}
    _, _, home, _ = account.split(":")
    spec = {
        "user": account,
        "groups": ["system:serviceaccounts", f"system:serviceaccounts:{home}", "system:authenticated"],
        "resourceAttributes": what | ({"namespace": namespace} if right.namespaced else {}),
    }
    review: Object = {"apiVersion": "authorization.k8s.io/v1", "kind": "SubjectAccessReview", "spec": spec}
    told = await kube.request("POST", _REVIEWS + "subjectaccessreviews", body=review)
    return told["status"].get("allowed") is True


async def _dry_run(kube: Kube, namespace: str, settings: Object) -> Fact[str]:
    """Ask whether a pod like those that serve would be let in; nothing is made."""
    image = (settings.get("images") or {}).get("triton") or "nvcr.io/nvidia/tritonserver:25.12-py3"
    pod: Object = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"generateName": "yolofleet-doctor-"},
        "spec": {
            "automountServiceAccountToken": False,
            "securityContext": POD_SECURITY,
            "containers": [
                {
                    "name": "triton",
                    "image": image,
                    "securityContext": CONTAINER_SECURITY,
                    "resources": (settings.get("serving") or {}).get("resources") or {},
                }
            ],
        },
    }
    path = f"/api/v1/namespaces/{namespace}/pods"
    try:
        await kube.request("POST", path, params={"dryRun": "All"}, body=pod)
    except ApiServerError as error:
        told = " ".join(error.message.split())
        if error.status == HTTPStatus.FORBIDDEN and "cannot create resource" in told:
            return Unseen(f"you are not allowed to try a pod in {namespace}")
        return told or f"{error.status} {error.reason}"
    return ""

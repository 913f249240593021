"""A thin, fast way to the API server: JSON in, JSON out, over the session of kubernetes' asyncio client.

Deserialising into the generated model classes costs more than the request itself at thousands of objects;
paths and documents are plain values here. Retries belong to the caller, which is level-triggered anyway.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import aiohttp
import msgspec
import orjson
from kubernetes.aio import config
from kubernetes.aio.client import ApiClient, Configuration

from yolofleet.errors import ApiServerError

FIELD_MANAGER = "yolofleet"
PAGE_OF_NAMES = 500
"""Objects of a page of which only names and versions are read: these are small."""
REFUSED = 400
"""HTTP's own bound."""
PAGE = 100
"""Objects of a page; 500 of them, once as text and once as dictionaries, would be most of the memory ever needed."""
REQUEST_TIMEOUT_S = 30.0
CONNECT_S = 5.0
"""An API server that comes back is met sooner by another try than by what TCP sends again, ever more seldom."""
MOST_TEXT = 4 * 2**20
WATCH_ONLY_METADATA = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json"
LIST_ONLY_METADATA = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json"

Object = dict[str, Any]


@dataclass(frozen=True)
class Resource:
    """A kind and where its objects live, e.g. ("apps/v1", "Deployment", "deployments")."""

    api_version: str
    kind: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str | None = None, name: str | None = None, subresource: str | None = None) -> str:
        """Return the URL path of a collection, an object or a subresource."""
        root = "/api/v1" if self.api_version == "v1" else f"/apis/{self.api_version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        tail = "".join(f"/{part}" for part in (name, subresource) if part)
        return f"{root}{scope}/{self.plural}{tail}"


class _Meta(msgspec.Struct, rename="camel"):
    name: str
    resource_version: str
    namespace: str = ""


class _Named(msgspec.Struct):
    metadata: _Meta


class _PageMeta(msgspec.Struct, rename="camel"):
    resource_version: str
    continue_: str = msgspec.field(default="", name="continue")


class _Page(msgspec.Struct):
    metadata: _PageMeta
    items: list[_Named] | None = None


_NAMES = msgspec.json.Decoder(_Page)


class Kube:
    """One connection pool to one API server."""

    def __init__(self, configuration: Configuration) -> None:
        self._configuration = configuration
        self._client = ApiClient(configuration)
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    async def from_environment(cls) -> Kube:
        """Connect by the pod's ServiceAccount, or else by KUBECONFIG."""
        configuration = Configuration()
        try:
            config.load_incluster_config(client_configuration=configuration)
        except config.ConfigException:
            await config.load_kube_config(client_configuration=configuration)
        return cls(configuration)

    @property
    def server(self) -> str:
        """Return the API server's address."""
        return str(self._configuration.host)

    async def token(self) -> str | None:
        """Return the bearer token of the connection; None when it has another credential."""
        told = await self._configuration.get_api_key_with_prefix("BearerToken")
        return str(told).removeprefix("Bearer ").strip() if told else None

    async def close(self) -> None:
        """Close the pool."""
        if self._session:
            await self._session.close()
        await self._client.close()

    async def request(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str] | None = None,
        body: Object | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        headers: Mapping[str, str] | None = None,
    ) -> Object:
        """Send one request and return the answer's JSON object; ApiServerError for any refusal."""
        sent = {} if body is None else {"data": orjson.dumps(body)}
        kind = {} if body is None else {"Content-Type": content_type}
        told = await self._headers(accept) | kind | dict(headers or {})
        return _document(await self._answer(method, path, params=params, headers=told, **sent))

    async def _answer(self, method: str, path: str, *, headers: Mapping[str, str], **sent: Any) -> bytes:
        """Return the body of an answer that is no refusal."""
        async with self._pool().request(
            method,
            self._configuration.host + path,
            headers=headers,
            **sent,
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_S),
        ) as response:
            answer = await response.read()
            _check(response.status, answer)
            return answer

    async def text(self, path: str) -> str:
        """Return what a path answers as text, at most `MOST_TEXT` bytes; ApiServerError for any refusal."""
        async with self._pool().get(
            self._configuration.host + path,
            headers=await self._headers("text/plain, */*"),
            timeout=aiohttp.ClientTimeout(total=REQUEST_TIMEOUT_S, sock_connect=CONNECT_S),
        ) as response:
            if response.status >= REFUSED:
                _check(response.status, await response.read())
            read = b""
            while len(read) < MOST_TEXT and (piece := await response.content.read(MOST_TEXT - len(read))):
                read += piece
            return read.decode(errors="replace")

    async def pages(
        self,
        resource: Resource,
        *,
        namespace: str | None = None,
        selector: str = "",
        metadata_only: bool = False,
    ) -> AsyncIterator[Object]:
        """Yield the pages of a LIST; every page is a List object with its metadata."""
        params = {"limit": str(PAGE)} | ({"labelSelector": selector} if selector else {})
        accept = LIST_ONLY_METADATA if metadata_only else "application/json"
        while True:
            page = await self.request("GET", resource.path(namespace), params=params, accept=accept)
            yield page | {"items": page.get("items") or []}
            token = page["metadata"].get("continue")
            if not token:
                return
            params["continue"] = token

    async def versions(
        self, resource: Resource, *, namespace: str | None = None, selector: str = ""
    ) -> tuple[int, dict[tuple[str, str], int]]:
        """Return a LIST's resourceVersion, and that of every object by namespace and name.

        All else in the answer, most of it managed fields, is skipped over and not read: a thirtieth of the time.
        """
        params = {"limit": str(PAGE_OF_NAMES)} | ({"labelSelector": selector} if selector else {})
        found: dict[tuple[str, str], int] = {}
        while True:
            headers = await self._headers(LIST_ONLY_METADATA)
            page = _NAMES.decode(await self._answer("GET", resource.path(namespace), params=params, headers=headers))
            for item in page.items or ():
                found[(item.metadata.namespace, item.metadata.name)] = int(item.metadata.resource_version)
            if not page.metadata.continue_:
                return int(page.metadata.resource_version), found
            params["continue"] = page.metadata.continue_

    async def watch(
        self,
        resource: Resource,
        *,
        since: str,
        namespace: str | None = None,
        selector: str = "",
        metadata_only: bool = False,
        seconds: int = 270,
    ) -> AsyncIterator[Object]:
        """Yield watch events from a resourceVersion on, until the server ends the stream after `seconds`."""
        params = {
            "watch": "true",
            "resourceVersion": since,
            "allowWatchBookmarks": "true",
            "timeoutSeconds": str(seconds),
        } | ({"labelSelector": selector} if selector else {})
        accept = WATCH_ONLY_METADATA if metadata_only else "application/json"
        async with self._pool().get(
            self._configuration.host + resource.path(namespace),
            params=params,
            headers=await self._headers(accept),
            timeout=aiohttp.ClientTimeout(total=seconds + 30, sock_connect=CONNECT_S),
        ) as response:
            if response.status >= REFUSED:
                _check(response.status, await response.read())
            async for line in response.content:
                yield orjson.loads(line)

    async def get(self, resource: Resource, *, namespace: str | None, name: str) -> Object:
        """Return one object as stored."""
        return await self.request("GET", resource.path(namespace, name))

    async def apply(self, resource: Resource, document: Object) -> Object:
        """Server-side apply one object, as the one field manager; return it as stored."""
        meta = document["metadata"]
        return await self.request(
            "PATCH",
            resource.path(meta.get("namespace"), meta["name"]),
            params={"fieldManager": FIELD_MANAGER, "force": "true"},
            body=document,
            content_type="application/apply-patch+yaml",
        )

    async def create(self, resource: Resource, document: Object) -> Object:
        """Create one object; ApiServerError 409 says that it is there already."""
        return await self.request(
            "POST",
            resource.path(document["metadata"].get("namespace")),
            params={"fieldManager": FIELD_MANAGER},
            body=document,
        )

    async def merge(
        self, resource: Resource, *, namespace: str | None, name: str, patch: Object, subresource: str | None = None
    ) -> Object:
        """Merge-patch one object or its subresource; return it as stored."""
        return await self.request(
            "PATCH",
            resource.path(namespace, name, subresource),
            params={"fieldManager": FIELD_MANAGER},
            body=patch,
            content_type="application/merge-patch+json",
        )

    async def delete(self, resource: Resource, *, namespace: str | None, name: str, uid: str | None = None) -> None:
        """Delete one object in the background, only if it still is the one with `uid`; gone already is fine."""
        options: Object = {"propagationPolicy": "Background"} | ({"preconditions": {"uid": uid}} if uid else {})
        try:
            await self.request("DELETE", resource.path(namespace, name), body=options)
        except ApiServerError as error:
            if error.status not in (404, 409):
                raise

    def _pool(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = self._client.rest_client._create_pool_manager()  # noqa: SLF001 - its extension point
        return self._session

    async def _headers(self, accept: str) -> dict[str, str]:
        headers = {"Accept": accept}
        if token := await self._configuration.get_api_key_with_prefix("BearerToken"):
            headers["Authorization"] = token
        return headers


def _document(answer: bytes) -> Object:
    try:
        document: Object = orjson.loads(answer) if answer else {}
    except orjson.JSONDecodeError:
        document = {"message": answer[:500].decode(errors="replace")}
    return document


def _check(status: int, answer: bytes) -> None:
    if status >= REFUSED:
        told = _document(answer)
        raise ApiServerError(status=status, reason=str(told.get("reason", "")), message=str(told.get("message", "")))

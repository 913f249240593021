"""A small API server in memory, for HTTP mechanics: versions, lists in pages, watches, apply, merge, refusals."""

from __future__ import annotations

import asyncio
import copy
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

from yolofleet.apply.writer import EVENT
from yolofleet.kube import Resource
from yolofleet.observe.resources import CHILDREN, FOREIGN, OWN

Object = dict[str, Any]
Name = tuple[str, str, str]
RESOURCES = {resource.plural: resource for resource in (*OWN, *CHILDREN, *FOREIGN, EVENT)}
BY_KIND = {resource.kind: resource for resource in RESOURCES.values()}


@dataclass(frozen=True)
class Asked:
    """One request, as a test wants to see it."""

    method: str
    plural: str
    name: str
    subresource: str
    body: Object | None
    query: dict[str, str]


@dataclass
class Fault:
    """An answer that comes instead of the real one, `times` times; status 0 cuts the connection."""

    method: str
    plural: str
    status: int
    reason: str = ""
    message: str = ""
    times: int = 1_000_000


@dataclass
class FakeApiServer:
    """Objects by (plural, namespace, name); what a test does to them directly is told to watches, too."""

    objects: dict[Name, Object] = field(default_factory=dict)
    version: int = 100
    compacted: int = 0
    url: str = ""
    asked: list[Asked] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    silent: set[str] = field(default_factory=set)
    _log: list[tuple[int, str, Object]] = field(default_factory=list)
    _watchers: dict[str, list[asyncio.Queue[Object | None]]] = field(default_factory=dict)
    _uids: int = 0

    # What a test does: a user, a controller, the kubelet.

    def put(self, obj: Object) -> Object:
        """Create or replace an object, as somebody else would; return it as stored."""
        kind, meta = obj["kind"], obj["metadata"]
        key = (BY_KIND[kind].plural, meta.get("namespace", ""), meta["name"])
        return self._store(key, copy.deepcopy(obj))

    def edit(self, kind: str, namespace: str, name: str, **parts: Any) -> Object:
        """Replace parts of an object (`spec`, `status`, `metadata` is merged)."""
        old = self.get(kind, name, namespace)
        assert old is not None, (kind, namespace, name)
        new = copy.deepcopy(old) | {part: value for part, value in parts.items() if part != "metadata"}
        new["metadata"] |= parts.get("metadata", {})
        return self.put(new)

    def remove(self, kind: str, name: str, namespace: str = "cams") -> None:
        """Delete an object, as somebody else would."""
        self._drop((BY_KIND[kind].plural, namespace, name))

    def get(self, kind: str, name: str, namespace: str = "cams") -> Object | None:
        """Return an object as stored."""
        return self.objects.get((BY_KIND[kind].plural, namespace, name))

    def all(self, kind: str) -> list[Object]:
        """Return all objects of a kind, in order of name."""
        return [obj for key, obj in sorted(self.objects.items()) if key[0] == BY_KIND[kind].plural]

    def tell(self, kind: str, event: Object) -> None:
        """Send a raw event to those who watch a kind now."""
        for queue in self._watchers.get(BY_KIND[kind].plural, []):
            queue.put_nowait(event)

    def end_watches(self) -> None:
        """End all streams, as the server does after `timeoutSeconds`."""
        for queues in self._watchers.values():
            for queue in queues:
                queue.put_nowait(None)

    def watched(self, kind: str) -> bool:
        """Tell whether somebody watches a kind now."""
        return bool(self._watchers.get(BY_KIND[kind].plural))

    @property
    def writes(self) -> list[Asked]:
        """Return the requests that were not reads."""
        return [asked for asked in self.asked if asked.method != "GET"]

    # What the server does.

    def _store(self, key: Name, obj: Object) -> Object:
        old, meta = self.objects.get(key), obj["metadata"]
        meta["uid"] = (old or obj)["metadata"].get("uid") or self._new_uid()
        meta.setdefault("creationTimestamp", "2026-01-01T00:00:00Z")
        if old is None:
            meta["generation"] = 1
        else:
            meta["generation"] = old["metadata"]["generation"] + (old.get("spec") != obj.get("spec"))
            if _content(old) == _content(obj):
                return old
        self.version += 1
        meta["resourceVersion"] = str(self.version)
        self.objects[key] = obj
        self._emit(key[0], {"type": "MODIFIED" if old else "ADDED", "object": obj})
        return obj

    def _new_uid(self) -> str:
        self._uids += 1
        return f"uid-{self._uids}"

    def _drop(self, key: Name) -> None:
        obj = copy.deepcopy(self.objects.pop(key))
        self.version += 1
        obj["metadata"]["resourceVersion"] = str(self.version)
        self._emit(key[0], {"type": "DELETED", "object": obj})

    def _emit(self, plural: str, event: Object) -> None:
        if plural in self.silent:
            return
        self._log.append((self.version, plural, event))
        for queue in self._watchers.get(plural, []):
            queue.put_nowait(event)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer any request."""
        plural, namespace, name, subresource = _parts(request.path)
        body = json.loads(await request.read()) if request.can_read_body else None
        query = dict(request.query)
        self.asked.append(Asked(request.method, plural, name or _name(body), subresource, body, query))
        if (fault := self._fault(request.method, plural)) is not None:
            if fault.status == 0:
                assert request.transport is not None
                request.transport.close()
            return _refusal(fault.status or 500, fault.reason, fault.message)
        if request.method == "GET" and query.get("watch"):
            return await self._watch(request, plural, namespace)
        if request.method == "GET" and not name:
            return self._list(request, plural, namespace)
        return self._one(request, (plural, namespace, name or _name(body)), subresource, body)

    def _fault(self, method: str, plural: str) -> Fault | None:
        for fault in self.faults:
            if fault.times > 0 and (fault.method, fault.plural) == (method, plural):
                fault.times -= 1
                return fault
        return None

    def _one(self, request: web.Request, key: Name, subresource: str, body: Object | None) -> web.Response:
        old = self.objects.get(key)
        if request.method == "POST":
            if old is not None:
                return _refusal(409, "AlreadyExists", f"{key[2]} already exists")
            return web.json_response(self._store(key, body or {}), status=201)
        if request.method == "PATCH" and "apply-patch" in request.content_type and body is not None:
            return web.json_response(self._store(key, _applied(old, body)))
        if old is None:
            return _refusal(404, "NotFound", f"{key[2]} not found")
        if request.method == "DELETE":
            return self._deleted(key, old, body or {})
        return web.json_response(old if body is None else self._merge(key, old, subresource, body))

    def _deleted(self, key: Name, old: Object, options: Object) -> web.Response:
        uid = (options.get("preconditions") or {}).get("uid")
        if uid and uid != old["metadata"]["uid"]:
            return _refusal(409, "Conflict", "the UID in the precondition does not match")
        self._drop(key)
        return web.json_response({"kind": "Status", "status": "Success"})

    def _merge(self, key: Name, old: Object, subresource: str, patch: Object) -> Object:
        new = copy.deepcopy(old)
        if subresource == "status":
            return self._store(key, new | {"status": merged(old.get("status"), patch["status"])})
        return self._store(key, merged(new, patch))

    def _list(self, request: web.Request, plural: str, namespace: str) -> web.Response:
        start, limit = int(request.query.get("continue", "0")), int(request.query.get("limit", "500"))
        found = self._matching(plural, namespace, request.query.get("labelSelector", ""))
        page, rest = found[start : start + limit], found[start + limit :]
        meta = {"resourceVersion": str(self.version)} | ({"continue": str(start + limit)} if rest else {})
        items = [_shown(request, obj) for obj in page]
        return web.json_response({"kind": "List", "metadata": meta, "items": items or None})

    def _matching(self, plural: str, namespace: str, selector: str) -> list[Object]:
        return [
            obj
            for key, obj in sorted(self.objects.items())
            if key[0] == plural and (not namespace or key[1] == namespace) and _selected(obj, selector)
        ]

    async def _watch(self, request: web.Request, plural: str, namespace: str) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        since, selector = int(request.query["resourceVersion"]), request.query.get("labelSelector", "")
        if since < self.compacted:
            gone = {"kind": "Status", "code": 410, "reason": "Expired", "message": "too old resource version"}
            await response.write(json.dumps({"type": "ERROR", "object": gone}).encode() + b"\n")
            return response
        queue: asyncio.Queue[Object | None] = asyncio.Queue()
        for version, of, event in self._log:
            if version > since and of == plural:
                queue.put_nowait(event)
        self._watchers.setdefault(plural, []).append(queue)
        try:
            while (event := await queue.get()) is not None:
                obj = event["object"]
                named = "metadata" in obj and event["type"] not in ("BOOKMARK", "ERROR")
                if named and (
                    not _selected(obj, selector) or (namespace and obj["metadata"]["namespace"] != namespace)
                ):
                    continue
                told = event | {"object": _shown(request, obj)} if named else event
                await response.write(json.dumps(told).encode() + b"\n")
        finally:
            self._watchers[plural].remove(queue)
        return response


def merged(old: Any, patch: Any) -> Any:
    """Return what a JSON merge patch makes of a document (RFC 7386)."""
    if not isinstance(patch, dict):
        return patch
    made = dict(old) if isinstance(old, dict) else {}
    for key, value in patch.items():
        if value is None:
            made.pop(key, None)
        else:
            made[key] = merged(made.get(key), value)
    return made


def _applied(old: Object | None, document: Object) -> Object:
    """Return what server-side apply makes, where we own the whole spec, our labels, annotations and owners."""
    new = copy.deepcopy(document)
    if old is not None:
        new["metadata"] = copy.deepcopy(old["metadata"]) | new["metadata"]
        for part in ("labels", "annotations"):
            both = (old["metadata"].get(part) or {}) | (document["metadata"].get(part) or {})
            new["metadata"][part] = both
        if "status" in old:
            new["status"] = copy.deepcopy(old["status"])
    return new


def _content(obj: Object) -> Object:
    return obj | {"metadata": {k: v for k, v in obj["metadata"].items() if k not in ("resourceVersion", "generation")}}


def _parts(path: str) -> tuple[str, str, str, str]:
    parts = path.strip("/").split("/")
    rest = parts[2:] if parts[0] == "api" else parts[3:]
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2:
        namespace, rest = rest[1], rest[2:]
    plural, name, subresource = (*rest, "", "", "")[:3]
    assert plural in RESOURCES, path
    root = "/api/v1" if parts[0] == "api" else f"/apis/{parts[1]}/{parts[2]}"
    assert RESOURCES[plural].path().startswith(f"{root}/"), path
    return plural, namespace, name, subresource


def _name(body: Object | None) -> str:
    return str(body["metadata"]["name"]) if body and "metadata" in body else ""


def _selected(obj: Object, selector: str) -> bool:
    labels = obj["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, _, value in (s.partition("=") for s in selector.split(",") if s))


def _shown(request: web.Request, obj: Object) -> Object:
    if "PartialObjectMetadata" in request.headers.get("Accept", ""):
        return {"kind": "PartialObjectMetadata", "metadata": obj["metadata"]}
    return obj


def _refusal(status: int, reason: str, message: str) -> web.Response:
    told = {"kind": "Status", "status": "Failure", "code": status, "reason": reason, "message": message}
    return web.json_response(told, status=status)


async def serve(fake: FakeApiServer) -> TestServer:
    """Start the fake on a free port of the loopback."""
    app = web.Application(client_max_size=2**24)
    app.router.add_route("*", "/{tail:.*}", fake.handle)
    server = TestServer(app)
    await server.start_server(shutdown_timeout=0.1)
    return server


@contextmanager
def faulty(fake: FakeApiServer, *faults: Fault) -> Iterator[None]:
    """Let the server fail for a while."""
    fake.faults.extend(faults)
    yield
    fake.faults.clear()


def resource(kind: str) -> Resource:
    """Return the resource of a kind."""
    return BY_KIND[kind]

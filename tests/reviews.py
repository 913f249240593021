"""An API server that knows a few tokens and what their bearers may list; it counts what it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from aiohttp.test_utils import TestServer

Object = dict[str, Any]


@dataclass
class Reviews:
    """`tokens` maps a token to (user, audience or ""), `rights` a user to (resource, namespace) pairs; "" is all."""

    tokens: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    rights: Mapping[str, set[tuple[str, str]]] = field(default_factory=dict)
    broken: int = 0
    asked: list[Object] = field(default_factory=list)

    async def token(self, request: web.Request) -> web.Response:
        spec = (await request.json())["spec"]
        self.asked.append(spec)
        if self.broken:
            return web.json_response({"message": "no right"}, status=self.broken)
        user, audience = self.tokens.get(spec["token"], ("", ""))
        asked_for = (spec.get("audiences") or [""])[0]
        known = bool(user) and audience == asked_for
        groups = ["system:authenticated"]
        told = {"authenticated": True, "user": {"username": user, "groups": groups, "extra": {"k": ["v"]}}}
        audiences = [audience] if audience else ["https://kubernetes.default.svc"]
        return web.json_response({"status": told | {"audiences": audiences} if known else {"error": "unknown"}})

    async def access(self, request: web.Request) -> web.Response:
        spec = (await request.json())["spec"]
        self.asked.append(spec)
        what = spec["resourceAttributes"]
        assert (what["verb"], what["group"]) == ("list", "yolofleet.dev")
        assert spec["extra"] == {"k": ["v"]}
        may = self.rights.get(spec["user"], set())
        allowed = bool({(what["resource"], ""), (what["resource"], what.get("namespace", ""))} & may)
        return web.json_response({"status": {"allowed": allowed}})

    def server(self) -> TestServer:
        app = web.Application()
        app.router.add_post("/apis/authentication.k8s.io/v1/tokenreviews", self.token)
        app.router.add_post("/apis/authorization.k8s.io/v1/subjectaccessreviews", self.access)
        return TestServer(app)

"""An API server that answers by path as it is told, and the kubeconfig that names it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from aiohttp import web

Object = dict[str, Any]
Answer = tuple[int, Any]


def refused(status: int, reason: str, message: str) -> Answer:
    """Return an answer by which an API server refuses."""
    return status, {"kind": "Status", "reason": reason, "message": message}


def listed(*items: Object) -> Answer:
    """Return an answer that lists objects."""
    return 200, {"metadata": {}, "items": list(items)}


@dataclass
class Cluster:
    """Answers by path, of which the last stays; all else is forbidden. It remembers what it was asked and shown."""

    answers: dict[str, list[Answer]] = field(default_factory=dict)
    shown: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    url: str = ""

    @property
    def asked(self) -> list[str]:
        """The paths that were asked for, in order."""
        return [path for path, _ in self.shown]

    def lists(self, items: Mapping[str, list[Object]]) -> None:
        """Answer with these lists, and with nothing else."""
        self.answers = {path: [listed(*found)] for path, found in items.items()}

    async def handle(self, request: web.Request) -> web.Response:
        """Answer one request."""
        self.shown.append((request.path, {k: v for k, v in request.headers.items() if k.startswith("X-Yolofleet")}))
        queue = self.answers.get(request.path, [refused(403, "Forbidden", f"cannot get {request.path}")])
        status, document = queue.pop(0) if len(queue) > 1 else queue[0]
        return web.json_response(document, status=status)

    def kubeconfig(self, folder: Path, user: Mapping[str, str]) -> Path:
        """Write a kubeconfig whose one context is this cluster, namespace `cams`."""
        document = {
            "current-context": "c",
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u", "namespace": "cams"}}],
            "clusters": [{"name": "c", "cluster": {"server": self.url}}],
            "users": [{"name": "u", "user": dict(user)}],
        }
        path = folder / "config"
        path.write_text(yaml.safe_dump(document))
        return path

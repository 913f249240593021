"""The real API server's judgement on a manifest, over one kept-alive connection."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import kubernetes

from yolofleet.api import API_VERSION

Manifest = dict[str, Any]
PATHS = {
    "YoloDeployment": f"/apis/{API_VERSION}/namespaces/{{namespace}}/yolodeployments",
    "YoloEngine": f"/apis/{API_VERSION}/namespaces/{{namespace}}/yoloengines",
    "MigPool": f"/apis/{API_VERSION}/migpools",
    "HorizontalPodAutoscaler": "/apis/autoscaling/v2/namespaces/{namespace}/horizontalpodautoscalers",
}
STRICT = "fieldValidation=Strict"
CREATED = 201


@dataclass(frozen=True)
class Answer:
    """What the API server said: an object, or a Status with a message."""

    status: int
    body: dict[str, Any]

    @property
    def accepted(self) -> bool:
        """Whether the manifest was taken; a 409 or a 5xx is a fault of the test, and loud."""
        if self.status in (200, CREATED):
            return True
        if self.status in (400, 422):
            return False
        raise AssertionError(f"the API server answered {self.status}: {self.message}")

    @property
    def message(self) -> str:
        """The reason of a refusal."""
        return str(self.body.get("message", ""))


class ApiServer:
    """A client that sends manifests as they are, so that the server and nobody else judges them."""

    def __init__(self, kubeconfig: Path, *, context: str, namespace: str) -> None:
        self._client = kubernetes.config.new_client_from_config(str(kubeconfig), context, persist_config=False)
        self._namespace = namespace

    def dry_run(self, manifest: Manifest | bytes, *, kind: str) -> Answer:
        """Return the answer to a creation that is not kept; bytes are sent as YAML, word for word."""
        return self.send("POST", self._path(kind) + f"?dryRun=All&{STRICT}", manifest)

    def create(self, manifest: Manifest, *, kind: str) -> Answer:
        """Create the object."""
        return self.send("POST", self._path(kind) + f"?{STRICT}", manifest)

    def replace(self, manifest: Manifest, *, kind: str) -> Answer:
        """Replace the object that bears the manifest's name; dry run."""
        name = manifest["metadata"]["name"]
        return self.send("PUT", f"{self._path(kind)}/{name}?dryRun=All&{STRICT}", manifest)

    def delete(self, name: str, *, kind: str) -> Answer:
        """Delete the object."""
        return self.send("DELETE", f"{self._path(kind)}/{name}", {})

    def send(
        self, method: Literal["GET", "POST", "PUT", "DELETE"], path: str, body: Manifest | bytes | None = None
    ) -> Answer:
        """Send one request; return status and JSON."""
        told = body if isinstance(body, bytes) else json.dumps(body).encode()
        kind = "application/yaml" if isinstance(body, bytes) else "application/json"
        headers = {"Content-Type": kind, "Accept": "application/json"}
        self._client.update_params_for_auth(headers, [], ["BearerToken"], path, method, told)
        host = self._client.configuration.host
        got = self._client.rest_client.pool_manager.request(method, host + path, body=told, headers=headers)
        return Answer(got.status, json.loads(got.data))

    def _path(self, kind: str) -> str:
        return PATHS[kind].format(namespace=self._namespace)

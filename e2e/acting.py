"""The API server's answers to somebody else than the bench's administrator: requests by impersonation."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import kubernetes
from urllib3 import HTTPHeaderDict

from e2e.api_server import Answer
from e2e.clusters.protocol import Cluster

Object = dict[str, Any]
MERGE = "application/merge-patch+json"
APPLY = "application/apply-patch+yaml"
DRY_RUN = "dryRun=All"


def client_of(cluster: Cluster) -> Any:
    """Return a client with a kept-alive connection, as the bench's administrator."""
    return kubernetes.config.new_client_from_config(str(cluster.kubeconfig), cluster.context, persist_config=False)


@dataclass(frozen=True)
class Person:
    """A user as the API server sees one, with requests in that user's name."""

    client: Any
    user: str
    groups: tuple[str, ...] = field(default=("system:authenticated",))

    def ask(self, method: str, path: str, body: Object | None = None, kind: str = "application/json") -> Answer:
        """Send one request; return status and JSON (a Status object when it is refused)."""
        headers = {"Content-Type": kind, "Accept": "application/json", "Impersonate-User": self.user}
        told = json.dumps(body).encode() if body is not None else None
        self.client.update_params_for_auth(headers, [], ["BearerToken"], path, method, told)
        sent = [*headers.items(), *(("Impersonate-Group", group) for group in self.groups)]
        pool = self.client.rest_client.pool_manager
        got = pool.request(method, self.client.configuration.host + path, body=told, headers=HTTPHeaderDict(sent))
        try:
            return Answer(got.status, json.loads(got.data))
        except json.JSONDecodeError:
            return Answer(got.status, {"message": got.data.decode(errors="replace")})

    def may(self, verb: str, resource: str, namespace: str = "", name: str = "") -> bool:
        """Ask as `kubectl auth can-i` does; a resource is `plural[.group][/subresource]`."""
        told, _, sub = resource.partition("/")
        plural, _, group = told.partition(".")
        asked = {"verb": verb, "resource": plural, "group": group, "subresource": sub}
        asked |= {"namespace": namespace, "name": name}
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectAccessReview",
            "spec": {"resourceAttributes": asked},
        }
        answer = self.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", review)
        if answer.status != 201:
            raise AssertionError(f"{verb} {resource}: {answer.status} {answer.message}")
        return bool(answer.body["status"]["allowed"])

    def rules(self, namespace: str) -> list[Object]:
        """Return all that this user may do in a namespace, as `kubectl auth can-i --list` does."""
        review = {
            "apiVersion": "authorization.k8s.io/v1",
            "kind": "SelfSubjectRulesReview",
            "spec": {"namespace": namespace},
        }
        answer = self.ask("POST", "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews", review)
        found: list[Object] = answer.body["status"]["resourceRules"]
        return found


def service_account(client: Any, namespace: str, name: str) -> Person:
    """Return a ServiceAccount as a person."""
    groups = ("system:serviceaccounts", f"system:serviceaccounts:{namespace}", "system:authenticated")
    return Person(client, f"system:serviceaccount:{namespace}:{name}", groups)

"""The rights without which the operator stands still, and what a user needs to serve a model."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Right:
    """A verb on a resource of a group; the core group is ""."""

    verb: str
    group: str
    resource: str
    namespaced: bool = True

    def __str__(self) -> str:
        """Say it as kubectl auth can-i takes it."""
        return f"{self.verb} {self.resource}{'.' + self.group if self.group else ''}"


OURS = "yolofleet.dev"
NEEDED = (
    Right("watch", "", "nodes", namespaced=False),
    Right("watch", OURS, "migpools", namespaced=False),
    Right("create", "authentication.k8s.io", "tokenreviews", namespaced=False),
    Right("create", "authorization.k8s.io", "subjectaccessreviews", namespaced=False),
    Right("watch", OURS, "yolodeployments"),
    Right("patch", OURS, "yolodeployments/status"),
    Right("create", OURS, "yoloengines"),
    Right("patch", OURS, "yoloengines/status"),
    Right("patch", "apps", "deployments"),
    Right("create", "batch", "jobs"),
    Right("patch", "policy", "poddisruptionbudgets"),
    Right("patch", "", "services"),
    Right("create", "", "persistentvolumeclaims"),
    Right("watch", "", "pods"),
    Right("create", "events.k8s.io", "events"),
)
"""One right per resource of the operator's roles: the strongest that it uses."""
USERS = (
    Right("list", OURS, "yolodeployments"),
    Right("create", OURS, "yolodeployments"),
    Right("list", OURS, "yoloengines"),
)


def allows(rules: list[dict[str, list[str]]], right: Right) -> bool:
    """Tell whether rules, as SelfSubjectRulesReview lists them, hold a right for all names."""
    return any(
        _has(rule.get("verbs"), right.verb)
        and _has(rule.get("apiGroups"), right.group)
        and _has(rule.get("resources"), right.resource)
        and not rule.get("resourceNames")
        for rule in rules
    )


def _has(listed: list[str] | None, wanted: str) -> bool:
    return wanted in (listed or []) or "*" in (listed or [])

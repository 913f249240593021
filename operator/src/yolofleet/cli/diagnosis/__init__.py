"""What `doctor` looks at: facts that were gathered, or why they could not be, and findings, each with its remedy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias, TypeVar

from yolofleet.api.top import Top

Object = dict[str, Any]
Level = Literal["ok", "warn", "fail", "unseen"]
T = TypeVar("T")


@dataclass(frozen=True)
class Unseen:
    """Nobody could see a fact; `why` says whether the user may not, or whether it is not there."""

    why: str


Fact: TypeAlias = T | Unseen
NOT_ASKED = Unseen("not asked")


@dataclass(frozen=True)
class Finding:
    """One line of the diagnosis; all but `ok` have a remedy."""

    topic: str
    level: Level
    message: str
    remedy: str = ""

    def wire(self) -> Object:
        """Return the finding as a JSON object."""
        return {"topic": self.topic, "level": self.level, "message": self.message, "remedy": self.remedy}


@dataclass(frozen=True)
class DcgmSeen:
    """NVIDIA's exporter: whether its Service is there, and the page of one of its endpoints."""

    service: bool
    page: Fact[str] = NOT_ASKED


@dataclass(frozen=True)
class Facts:
    """Everything that findings are made from; raw objects as the API server hands them out."""

    namespace: str
    plugin_version: str
    operator_namespace: str
    account: str
    """ServiceAccount that the operator runs as, `system:serviceaccount:…`."""
    server_version: Fact[str] = NOT_ASKED
    schemas: Fact[Mapping[str, Object] | None] = NOT_ASKED
    """Installed schemas by kind; None: the group is not there."""
    operator: Fact[Object | None] = NOT_ASKED
    top: Fact[Top] = NOT_ASKED
    settings: Fact[Object | None] = NOT_ASKED
    nodes: Fact[list[Object]] = NOT_ASKED
    dcgm: Fact[DcgmSeen] = NOT_ASKED
    namespace_object: Fact[Object] = NOT_ASKED
    claims: Fact[list[Object]] = NOT_ASKED
    deployments: Fact[list[Object]] = NOT_ASKED
    engines: Fact[list[Object]] = NOT_ASKED
    pods: Fact[list[Object]] = NOT_ASKED
    """Serving pods of the namespace."""
    policies: Fact[list[Object]] = NOT_ASKED
    own_rules: Fact[list[Object]] = NOT_ASKED
    """ResourceRules of the user in the namespace."""
    operator_rights: Fact[Mapping[str, bool]] = NOT_ASKED
    """Whether the operator may do each of `rights.NEEDED`, by its words."""
    dry_run: Fact[str] = NOT_ASKED
    """What admission said to a pod like those that serve; "": it was let in."""


def unseen(topic: str, fact: Unseen) -> Finding:
    """Return the finding for a fact that nobody could see."""
    return Finding(topic, "unseen", fact.why, "ask an administrator to run `kubectl yolofleet doctor`")

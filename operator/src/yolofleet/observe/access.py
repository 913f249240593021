"""Who asks, and what may they see: the API server is asked, and its answers are kept for some seconds.

Nobody can use this to load the API server: answers are kept, refusals too, and more than a few new questions a
second are turned away.
"""

from __future__ import annotations

import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from yolofleet.errors import NotYet
from yolofleet.kube import Kube, Resource

TOKEN_REVIEW = Resource("authentication.k8s.io/v1", "TokenReview", "tokenreviews", namespaced=False)
ACCESS_REVIEW = Resource("authorization.k8s.io/v1", "SubjectAccessReview", "subjectaccessreviews", namespaced=False)
KEPT_S = 10.0
KEPT_ANSWERS = 2000
QUESTIONS_PER_S = 20.0
BURST = 40.0

Object = dict[str, Any]
V = TypeVar("V")


@dataclass(frozen=True)
class Asker:
    """Somebody whom the API server knows, in its own words."""

    user: Object = field(hash=False)

    @property
    def name(self) -> str:
        """Return the user's name."""
        return str(self.user.get("username", ""))


class _Kept(Generic[V]):
    """Answers by question, for some seconds, the oldest going first."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._answers: OrderedDict[tuple[str, ...], tuple[float, V]] = OrderedDict()

    def get(self, question: tuple[str, ...]) -> tuple[V] | None:
        """Return a fresh answer in a tuple of one, None when there is none."""
        found = self._answers.get(question)
        return (found[1],) if found and self._clock() - found[0] < KEPT_S else None

    def keep(self, question: tuple[str, ...], answer: V) -> V:
        """Keep an answer."""
        self._answers.pop(question, None)
        self._answers[question] = (self._clock(), answer)
        while len(self._answers) > KEPT_ANSWERS:
            self._answers.popitem(last=False)
        return answer


class Access:
    """Asks the API server who bears a token, and what that person may do."""

    def __init__(self, kube: Kube, clock: Callable[[], float] = time.monotonic) -> None:
        self._kube = kube
        self._clock = clock
        self._askers: _Kept[Asker | None] = _Kept(clock)
        self._rights: _Kept[bool] = _Kept(clock)
        self._left, self._since = BURST, clock()

    async def who(self, token: str, *, audience: str | None = None) -> Asker | None:
        """Return whom a token belongs to; None when the API server does not know it for this audience."""
        question = (hashlib.sha256(token.encode()).hexdigest(), audience or "")  # a token itself is never kept
        if (known := self._askers.get(question)) is not None:
            return known[0]
        self._may_ask()
        spec: Object = {"token": token} | ({"audiences": [audience]} if audience else {})
        answer = await self._review(TOKEN_REVIEW, spec)
        # An authenticator that knows no audiences answers with none: such a token was not made for us.
        right = audience is None or audience in (answer.get("audiences") or [])
        known_user = answer.get("authenticated") is True and right
        return self._askers.keep(question, Asker(answer.get("user") or {}) if known_user else None)

    async def may(self, asker: Asker, verb: str, resource: Resource, namespace: str | None) -> bool:
        """Tell whether somebody may do something in a namespace; None: in all of them."""
        group = resource.api_version.partition("/")[0]
        who = hashlib.sha256(repr(sorted(asker.user.items())).encode()).hexdigest()
        question = (who, verb, group, resource.plural, namespace or "")
        if (known := self._rights.get(question)) is not None:
            return known[0]
        self._may_ask()
        what = {"verb": verb, "group": group, "resource": resource.plural} | (
            {"namespace": namespace} if namespace else {}
        )
        spec = {
            "user": asker.name,
            "uid": asker.user.get("uid", ""),
            "groups": asker.user.get("groups") or [],
            "extra": asker.user.get("extra") or {},
            "resourceAttributes": what,
        }
        answer = await self._review(ACCESS_REVIEW, spec)
        return self._rights.keep(question, answer.get("allowed") is True)

    async def _review(self, resource: Resource, spec: Object) -> Object:
        document = {"apiVersion": resource.api_version, "kind": resource.kind, "spec": spec}
        answer = await self._kube.request("POST", resource.path(), body=document)
        status: Object = answer.get("status") or {}
        return status

    def _may_ask(self) -> None:
        """Take one question from the bucket, which fills with time."""
        now = self._clock()
        self._left = min(BURST, self._left + (now - self._since) * QUESTIONS_PER_S)
        self._since = now
        if self._left < 1:
            raise NotYet("too many strangers ask at once; ask again in a second", delay_s=1.0)
        self._left -= 1

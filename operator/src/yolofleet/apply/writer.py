"""Carry out writes: skip what stands already, at most twenty at once, and remember what was refused."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable
from dataclasses import dataclass, field
from typing import Any, Protocol

import aiohttp

from yolofleet.errors import ApiServerError
from yolofleet.kube import Kube, Resource
from yolofleet.render.meta import MANAGED_BY, MANAGER, Object
from yolofleet.render.writes import StatusWrite, Step, Target, Writes

log = logging.getLogger(__name__)

CONCURRENCY = 20
CONFLICT, NOT_FOUND = 409, 404
FINAL = frozenset({400, 403, 422})
"""Answers that no retry changes: they become conditions."""
NOT_OURS = "NotOurs"
EVENT = Resource("events.k8s.io/v1", "Event", "events")


Named = tuple[str, str, str]
"""Kind, namespace and name."""


class Known(Protocol):
    """What the writer must know of the cluster, and tell it: its own writes come back at once."""

    def stands(self, kind: str, namespace: str, name: str) -> Object | None:
        """Return the object as last seen."""

    def knows(self, kind: str, namespace: str, name: str) -> bool:
        """Tell whether the object is there."""

    def took(self, kind: str, obj: Object) -> None:
        """Take the server's answer to a write."""

    def gone(self, kind: str, obj: Object) -> None:
        """Forget an object that was deleted."""


@dataclass
class Outcome:
    """What a pass did: counts by (verb, kind), refusals by subject, subjects to try again."""

    written: dict[tuple[str, str], int] = field(default_factory=dict)
    refused: dict[Target, list[ApiServerError]] = field(default_factory=dict)
    again: set[Target] = field(default_factory=set)
    done: set[Target] = field(default_factory=set)

    def count(self, verb: str, kind: str) -> None:
        """Count one write."""
        self.written[(verb, kind)] = self.written.get((verb, kind), 0) + 1


class Writer:
    """The only one that changes the cluster."""

    def __init__(self, kube: Kube, known: Known, resources: Iterable[Resource]) -> None:
        self._kube = kube
        self._known = known
        self._resources = {resource.kind: resource for resource in resources}
        self._slots = asyncio.Semaphore(CONCURRENCY)
        self._generations: dict[Named, tuple[str, int]] = {}
        self._waiting: set[Target] = set()

    async def carry_out(self, wanted: Writes) -> Outcome:
        """Carry out all waves in their order; a failure stays with its own subject."""
        outcome = Outcome()
        for wave in (wanted.owners, wanted.builds, wanted.serving):
            await asyncio.gather(*(self._guarded(step, outcome) for step in wave))
        return outcome

    def prune(self) -> None:
        """Forget what was kept of objects that are gone."""
        self._generations = {at: kept for at, kept in self._generations.items() if self._known.knows(*at)}
        self._waiting = {at for at in self._waiting if self._known.knows(at.kind, at.namespace, at.name)}

    async def _guarded(self, step: Step, outcome: Outcome) -> None:
        async with self._slots:
            for document in step.create:
                if not await self._tried(self._create(document, outcome), step.subject, outcome):
                    return  # what comes after rests on it
            if step.status and step.status.first:
                if not await self._tried(self._status(step.status, outcome), step.subject, outcome):
                    return  # a decision that nobody remembers would be taken anew
                self._waiting.discard(step.subject)
            due = [document for document in step.apply if not self._stands(document)]
            results = [await self._tried(self._apply(document, outcome), step.subject, outcome) for document in due]
            late = step.status is not None and not step.status.first
            if step.status and late and not self._put_off(step.subject, changed=bool(due) and all(results)):
                results.append(await self._tried(self._status(step.status, outcome), step.subject, outcome))
            if step.subject in outcome.again:
                return  # a failed build's Job goes only after its failure is written down
            results += [await self._tried(self._delete(t, outcome), step.subject, outcome) for t in step.delete]
            if all(results):
                outcome.done.add(step.subject)

    def _put_off(self, subject: Target, *, changed: bool) -> bool:
        """Tell whether a status can wait: changed children bring their owner's turn again, behind all that wait now.

        So a status is written once for a change, and after the children of a whole burst; but it waits only once,
        or somebody who undoes our writes at every turn would keep it from being written at all.
        """
        if not changed or subject in self._waiting:
            self._waiting.discard(subject)
            return False
        self._waiting.add(subject)
        return True

    async def _tried(self, act: Awaitable[None], subject: Target, outcome: Outcome) -> bool:
        try:
            await act
        except ApiServerError as error:
            if error.status in FINAL or error.reason == NOT_OURS:
                outcome.refused.setdefault(subject, []).append(error)
            elif error.status != NOT_FOUND:
                outcome.again.add(subject)
            log.warning("write refused", extra={"subject": f"{subject.namespace}/{subject.name}", "error": str(error)})
            return False
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome.again.add(subject)
            log.warning("write failed", extra={"subject": f"{subject.namespace}/{subject.name}", "error": str(error)})
            return False
        return True

    async def _create(self, document: Object, outcome: Outcome) -> None:
        kind, meta = document["kind"], document["metadata"]
        if self._known.stands(kind, meta["namespace"], meta["name"]) is not None:
            return
        try:
            self._known.took(kind, await self._kube.create(self._resources[kind], document))
            outcome.count("create", kind)
        except ApiServerError as error:
            if error.status != CONFLICT:
                raise
            await self._meet(document)

    def _stands(self, document: Object) -> bool:
        known = self._known.stands(*_at(document))
        return known is not None and self._same(known, document)

    async def _meet(self, document: Object) -> None:
        """Take note of what has the name already; a child of ours must be ours, a claim may be anybody's."""
        kind, meta = document["kind"], document["metadata"]
        found = await self._kube.get(self._resources[kind], namespace=meta["namespace"], name=meta["name"])
        if (found["metadata"].get("labels") or {}).get(MANAGED_BY) == MANAGER:
            self._known.took(kind, found)
        elif "ownerReferences" in meta:
            told = f"{kind} {meta['name']} is there already and is not yolofleet's; delete or rename it"
            raise ApiServerError(status=CONFLICT, reason=NOT_OURS, message=told)

    async def _apply(self, document: Object, outcome: Outcome) -> None:
        kind = document["kind"]
        answer = await self._kube.apply(self._resources[kind], document)
        meta = answer["metadata"]
        self._generations[_at(document)] = meta["uid"], meta.get("generation", 0)
        self._known.took(kind, answer)
        outcome.count("apply", kind)

    def _same(self, known: Object, document: Object) -> bool:
        """Tell whether the object stands as we wrote it: our hash and marks, and nobody changed its spec since."""
        meta, wanted = known["metadata"], document["metadata"]
        marks = ((meta.get(part) or {}, wanted.get(part, {})) for part in ("annotations", "labels"))
        if any(not ours.items() <= found.items() for found, ours in marks):
            return False
        if "deletionTimestamp" in meta:
            return False
        at, now = _at(document), meta.get("generation", 0)
        uid, generation = self._generations.get(at, (meta["uid"], now))
        ours = generation if uid == meta["uid"] else now  # a successor of the same name is taken as it is
        self._generations[at] = meta["uid"], ours
        same_spec = ours >= now
        replicas = document.get("spec", {}).get("replicas")
        return same_spec and (replicas is None or known.get("spec", {}).get("replicas") == replicas)

    async def _delete(self, target: Target, outcome: Outcome) -> None:
        known = self._known.stands(target.kind, target.namespace, target.name)
        if known is None:
            return
        uid = target.uid or known["metadata"]["uid"]
        if uid != known["metadata"]["uid"]:
            return  # a successor has the name
        resource = self._resources[target.kind]
        await self._kube.delete(resource, namespace=target.namespace, name=target.name, uid=uid)
        self._known.gone(target.kind, known)
        outcome.count("delete", target.kind)

    async def _status(self, write: StatusWrite, outcome: Outcome) -> None:
        target = write.target
        known = self._known.stands(target.kind, target.namespace, target.name)
        if known is None:
            return
        patch = difference(known.get("status") or {}, write.status)
        if patch:
            resource = self._resources[target.kind]
            namespace = target.namespace if resource.namespaced else None
            answer = await self._kube.merge(
                resource, namespace=namespace, name=target.name, patch={"status": patch}, subresource="status"
            )
            self._known.took(target.kind, answer)
            outcome.count("status", target.kind)
            await self._tell(write.events, outcome)

    async def _tell(self, events: Iterable[Object], outcome: Outcome) -> None:
        """Write Events; they are a courtesy, nothing fails with them."""
        for event in events:
            try:
                await self._kube.create(EVENT, event)
                outcome.count("create", "Event")
            except (ApiServerError, aiohttp.ClientError, TimeoutError, OSError) as error:
                log.warning("event not written", extra={"event_name": event["metadata"]["name"], "error": str(error)})


def _at(document: Object) -> Named:
    return document["kind"], document["metadata"]["namespace"], document["metadata"]["name"]


def difference(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON merge patch that makes `old` into `new`; empty when they are equal."""
    patch: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        if isinstance(value, dict) and isinstance(old.get(key), dict):
            if inner := difference(old[key], value):
                patch[key] = inner
        elif key not in old or old[key] != value:
            patch[key] = value
    return patch

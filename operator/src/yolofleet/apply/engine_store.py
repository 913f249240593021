"""The operator's hand in an S3 store: it signs what a build may bring, and makes it the engine once it is all there."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Collection
from dataclasses import dataclass
from datetime import datetime
from weakref import WeakValueDictionary

from pydantic import ValidationError

from yolofleet.api.build import Artifact, BuildResult
from yolofleet.api.store import (
    GRANTED_FILES,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    TIMINGS,
    Bucket,
    Contents,
    Grant,
    Published,
    StoredTimings,
)
from yolofleet.errors import StoreError
from yolofleet.objects import Content, Credential, Entry, Objects
from yolofleet.planning.builds.sweeping import Deletion, Place, StoredObject, Survey

SHA256_WORDS = re.compile(r"[a-f0-9]{64}")
LAYOUT = re.compile(
    r"([a-z0-9][a-z0-9-]{0,62})/([a-f0-9]{64})/(?:([A-Za-z0-9][A-Za-z0-9-]*)/)?[A-Za-z0-9][A-Za-z0-9_.-]*"
)
"""Below the prefix: namespace, key, attempt and file; what looks otherwise is somebody else's."""


TIMEOUT_S = 5.0
"""A pass waits for these few small objects: a store that hangs must not hold up the whole fleet."""


class FalseReportError(Exception):
    """A build said something of the store that isn't so; the message says what."""


@dataclass(frozen=True)
class Attempt:
    """One attempt at a key; `replaces` is the digest of the manifest that stood there when it began, if one did."""

    namespace: str
    key: str
    name: str
    replaces: str | None = None


class EngineStore:
    """The engines of all namespaces in one bucket; `credential` is read anew each time, as Secrets are renewed."""

    def __init__(self, bucket: Bucket, credential: Callable[[], Credential], *, timeout_s: float = TIMEOUT_S) -> None:
        self._timeout_s = timeout_s
        self._bucket = bucket
        self._credential = credential
        self._locks: WeakValueDictionary[Place, asyncio.Lock] = WeakValueDictionary()
        self._named: dict[tuple[str, datetime], str | None] = {}

    def _alone(self, place: Place) -> asyncio.Lock:
        """Return the lock under which a key is granted, confirmed or removed: never two of these at once."""
        return self._locks.setdefault(place, asyncio.Lock())

    def _objects(self, namespace: str) -> Objects:
        return Objects(self._bucket.of_namespace(namespace), self._credential(), timeout_s=self._timeout_s)

    async def grant(self, attempt: Attempt, *, seconds: int, timings_of: str | None = None) -> Grant:
        """Return what an attempt may do for so many seconds; StoreError where the store can't be asked.

        `timings_of` is the key of an engine of the same namespace whose timing cache it may read.
        """
        async with self._alone((attempt.namespace, attempt.key)):
            made = await self._granted(attempt, seconds)
        if timings_of is None:
            return made
        return made.model_copy(update={"timings": await self._timings(attempt.namespace, timings_of, seconds)})

    async def _timings(self, namespace: str, key: str, seconds: int) -> StoredTimings | None:
        """Let an engine's timing cache be read; engines of former days have none, and a build can do without."""
        objects = self._objects(namespace)
        told = _contents(await objects.get(objects.bucket.manifest_of(key), limit=MAX_MANIFEST_BYTES))
        file = told.file(TIMINGS) if told is not None else None
        if told is None or told.attempt is None or file is None:
            return None
        url = await objects.signed("GET", objects.bucket.file_of(key, told.attempt, TIMINGS), seconds=seconds)
        return StoredTimings(url=url, file=file)

    async def _granted(self, attempt: Attempt, seconds: int) -> Grant:
        objects, key = self._objects(attempt.namespace), attempt.key
        found = await objects.get(objects.bucket.manifest_of(key), limit=MAX_MANIFEST_BYTES)
        places = [objects.bucket.file_of(key, attempt.name, name) for name in GRANTED_FILES]
        signed = await asyncio.gather(*(objects.signed("PUT", place, seconds=seconds) for place in places))
        return Grant(
            key=key,
            uri=objects.bucket.uri_of(key),
            attempt=attempt.name,
            files=dict(zip(GRANTED_FILES, signed, strict=True)),
            published=None if found is None else await self._published(objects, key, found, seconds),
        )

    async def _published(self, objects: Objects, key: str, found: Content, seconds: int) -> Published:
        """Describe what lies there; what can't be read as a manifest has no files, and so counts as damaged."""
        told = _contents(found)
        names = [file.path for file in told.files] if told is not None and told.attempt else []
        places = [objects.bucket.file_of(key, told.attempt or "", name) for name in names] if told else []
        signed = await asyncio.gather(*(objects.signed("GET", place, seconds=seconds) for place in places))
        manifest = await objects.signed("GET", objects.bucket.manifest_of(key), seconds=seconds)
        return Published(sha256=_digest(found.body), manifest=manifest, files=dict(zip(names, signed, strict=True)))

    async def standing(self, namespace: str, key: str) -> BuildResult | None:
        """Return what is published under a key already, each file in its full size; None where there is no such thing.

        Its bytes are verified by every pod that takes it, which also finds what is damaged.
        """
        async with self._alone((namespace, key)):
            objects = self._objects(namespace)
            found = await objects.get(objects.bucket.manifest_of(key), limit=MAX_MANIFEST_BYTES)
            if found is None:
                return None
            try:
                artifact = await self._whole(objects, key, found)
            except FalseReportError:
                return None
            told = Contents.model_validate_json(found.body)
            weights = told.provenance.get("weightsSHA256")
            known = weights if weights and SHA256_WORDS.fullmatch(weights) else None
            return BuildResult(outcome="Cached", artifact=artifact, weights_sha256=known, work=told.work)

    async def confirm(self, attempt: Attempt, told: Artifact) -> Artifact:
        """Return what is published under a key after a build that reports `told`; FalseReportError where it lied.

        A manifest appears under the key only here, only when each of its files is there in its full size, and only
        where there is none, or in the place of the damaged one that the attempt was told of.
        """
        async with self._alone((attempt.namespace, attempt.key)):
            return await self._confirmed(attempt, told)

    async def _confirmed(self, attempt: Attempt, told: Artifact) -> Artifact:
        objects = self._objects(attempt.namespace)
        name = objects.bucket.manifest_of(attempt.key)
        standing = await objects.get(name, limit=MAX_MANIFEST_BYTES)
        if standing is not None and _digest(standing.body) == told.sha256:
            return await self._whole(objects, attempt.key, standing)
        if standing is not None and _digest(standing.body) != attempt.replaces:
            return await self._whole(objects, attempt.key, standing)  # another attempt was faster, and is as good
        mine = objects.bucket.file_of(attempt.key, attempt.name, MANIFEST)
        brought = await objects.get(mine, limit=MAX_MANIFEST_BYTES)
        if brought is None or _digest(brought.body) != told.sha256:
            raise FalseReportError(
                f"the build says that it published {told.sha256}, and the store has no such manifest"
            )
        artifact = await self._whole(objects, attempt.key, brought)
        if await objects.put(name, brought.body, over=standing.etag if standing else None):
            return artifact
        raise StoreError(f"{objects.bucket.uri_of(attempt.key)} changed while it was written; it is looked at again")

    async def survey(self, namespaces: Collection[str] = ()) -> Survey:
        """Return all that lies in the store of these namespaces (empty: of all); what is no engine's is passed over."""
        objects = Objects(self._bucket, self._credential())
        found = [seen async for entry in objects.list(self._bucket.prefix) if (seen := self._stored(entry)) is not None]
        mine = tuple(seen for seen in found if not namespaces or seen.place[0] in namespaces)
        manifests = [seen for seen in mine if seen.attempt is None and seen.name.endswith(f"/{MANIFEST}")]
        known = {at: self._named[at] for seen in manifests if (at := (seen.name, seen.modified)) in self._named}
        for seen in manifests:
            if (at := (seen.name, seen.modified)) not in known:
                known[at] = await self._attempt_in(objects, seen.name)
        self._named = known
        return Survey(mine, {seen.place: known[(seen.name, seen.modified)] for seen in manifests})

    def _stored(self, entry: Entry) -> StoredObject | None:
        match = LAYOUT.fullmatch(entry.name.removeprefix(self._bucket.prefix))
        if match is None:
            return None
        namespace, key, attempt = match.groups()
        return StoredObject((namespace, key), attempt, entry.name, entry.size_bytes, entry.modified)

    async def _attempt_in(self, objects: Objects, name: str) -> str | None:
        told = _contents(await objects.get(name, limit=MAX_MANIFEST_BYTES))
        return told.attempt if told is not None else None

    async def discard(self, doomed: Deletion, still: Callable[[], bool]) -> bool:
        """Remove what was decided on, if it is `still` so once nobody else can be at this key."""
        async with self._alone(doomed.place):
            if not still():
                return False
            objects = Objects(self._bucket, self._credential())
            await objects.remove(doomed.names[:1])  # a manifest goes before its files
            if len(doomed.names) > 1:
                await objects.remove(doomed.names[1:])
            return True

    async def _whole(self, objects: Objects, key: str, content: Content) -> Artifact:
        """Describe an engine whose files are all there; FalseReportError where one is not."""
        try:
            told = Contents.model_validate_json(content.body)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            place = ".".join(map(str, first["loc"]))
            raise FalseReportError(f"the manifest of {key} can't be read: {place}: {first['msg']}") from None
        if told.key != key or told.attempt is None:
            raise FalseReportError(f"the manifest of {key} is that of {told.key}, attempt {told.attempt}")
        for file in told.files:
            size = await objects.size(objects.bucket.file_of(key, told.attempt, file.path))
            if size != file.size_bytes:
                have = "is missing" if size is None else f"has {size} bytes"
                raise FalseReportError(f"{file.path} of {key} {have}, its manifest says {file.size_bytes} bytes")
        uri = objects.bucket.uri_of(key)
        return Artifact(uri=uri, sha256=_digest(content.body), size_bytes=told.size_bytes() + len(content.body))


def _contents(found: Content | None) -> Contents | None:
    """Return what a manifest says; None where there is none, or nothing that can be read as one."""
    try:
        return Contents.model_validate_json(found.body) if found is not None else None
    except ValidationError:
        return None


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()

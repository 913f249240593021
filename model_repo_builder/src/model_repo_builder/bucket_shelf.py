"""Engines in an S3 store, to be served: read by a credential that may do no more."""

from __future__ import annotations

import asyncio
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from model_repo_builder.errors import Failed
from model_repo_builder.store import DamagedError, Stored, artifact_of, check_digest, decoded
from yolofleet.api.store import CREDENTIAL_PATH, MAX_MANIFEST_BYTES
from yolofleet.errors import StoreError
from yolofleet.objects import Objects, credential_in

if TYPE_CHECKING:
    from collections.abc import Callable

    from yolofleet.api.store import Bucket, StoredFile
    from yolofleet.objects import Content, Credential

T = TypeVar("T")
REMEDY = "the pod tries again; a build puts an engine there only when it is whole"


@dataclass(frozen=True)
class BucketShelf:
    """The engines of one namespace in an S3 store."""

    bucket: Bucket
    credential: Credential

    def peek(self, key: str) -> Stored | None:
        """Return what is published under a key by its manifest alone."""
        content = self._asked(lambda: asyncio.run(self._manifest(key)))
        if content is None:
            return None
        uri = self.bucket.uri_of(key)
        told = decoded(content.body, key, uri)
        return Stored(told, artifact_of(uri, told, content.body))

    def take(self, stored: Stored, file: StoredFile, target: Path) -> None:
        """Copy a file, verified on the way."""
        told = stored.manifest
        name = self.bucket.file_of(told.key, told.attempt or "none", file.path)
        try:
            found = self._asked(lambda: asyncio.run(self._copied(name, file, target)))
        except FileNotFoundError:
            raise DamagedError(f"{self.bucket.address(name)} is missing") from None
        check_digest(found, file, self.bucket.address(name))

    async def _manifest(self, key: str) -> Content | None:
        return await Objects(self.bucket, self.credential).get(self.bucket.manifest_of(key), limit=MAX_MANIFEST_BYTES)

    async def _copied(self, name: str, told: StoredFile, target: Path) -> str:
        """Copy an object and return its sha256; never more than it should have."""
        digest, size = hashlib.sha256(), 0
        with target.open("wb") as file:
            async for chunk in Objects(self.bucket, self.credential).read(name):
                size += len(chunk)
                if size > told.size_bytes:
                    break
                digest.update(chunk)
                file.write(chunk)
        if size != told.size_bytes:
            raise DamagedError(f"{self.bucket.address(name)} has other than {told.size_bytes} bytes")
        return digest.hexdigest()

    def _asked(self, act: Callable[[], T]) -> T:
        try:
            return act()
        except StoreError as error:
            raise Failed(message=str(error), remedy=REMEDY) from None


def credential_of_pod() -> Credential:
    """Return the credential that is mounted into this pod; Failed where it isn't there."""
    try:
        return credential_in(Path(CREDENTIAL_PATH))
    except StoreError as error:
        raise Failed(
            message=str(error), remedy="make the Secret in this namespace, as docs/operations.md says"
        ) from None

"""Objects of an S3 store: read, list, write, remove, and sign for others; it knows no engine."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Awaitable, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Literal, TypeVar

import obstore
import obstore.exceptions
from obstore.store import S3Store

from yolofleet.api.store import ACCESS_KEY, SECRET_KEY, Bucket
from yolofleet.errors import StoreError

T = TypeVar("T")
CHUNK = 1024 * 1024
RETRIES = 3
CREDENTIAL = "check the Secret with the store's credential"
FULL = "enlarge the store, or delete YoloDeployments whose engines nobody needs"
REMEDIES = {
    "InvalidAccessKeyId": CREDENTIAL,
    "XAdminUserNotFound": CREDENTIAL,
    "SignatureDoesNotMatch": CREDENTIAL,
    "AccessDenied": "let the credential do this, or sign anew what has expired",
    "NoSuchBucket": "make the bucket, or name another one (store.s3.bucket)",
    "InsufficientStorage": FULL,
    "QuotaExceeded": FULL,
}
"""What to do about S3's error codes; anything else is the store's own to say."""
UNREACHABLE = "look at the store's pod and its events, and at NetworkPolicies"
_CODE = re.compile(r"<Code>(\w+)</Code>")
_MESSAGE = re.compile(r"<Message>([^<]*)</Message>")
_TIMES = re.compile(r" in [\d.]+[nµm]?s(, after .*?)?(?= -|:|$)", re.DOTALL)
"""How long it took: other at every turn, and so a condition would be written at every turn."""
_ERRORS = (obstore.exceptions.BaseError, OSError)


@dataclass(frozen=True)
class Credential:
    """An access key and its secret."""

    access: str
    secret: str


@dataclass(frozen=True)
class Entry:
    """One object of a listing."""

    name: str
    size_bytes: int
    modified: datetime


@dataclass(frozen=True)
class Content:
    """A small object, read whole; `etag` names this very state of it."""

    body: bytes
    etag: str


def credential_in(folder: Path) -> Credential:
    """Read a mounted Secret."""
    try:
        access, secret = ((folder / name).read_text().strip() for name in (ACCESS_KEY, SECRET_KEY))
    except OSError as error:
        told = f"the store's credential can't be read: {error.strerror} ({error.filename})"
        raise StoreError(f"{told}; its Secret needs the keys {ACCESS_KEY} and {SECRET_KEY}") from None
    return Credential(access, secret)


def told(text: str) -> str:
    """Return S3's own code and words, with a remedy, from an answer or from an error that quotes one."""
    if (code := _CODE.search(text)) is None:
        short = " ".join(_TIMES.sub("", text.partition("Debug source")[0]).split())
        return f"{short[:300]}; {UNREACHABLE}"
    message = _MESSAGE.search(text)
    remedy = REMEDIES.get(code[1])
    return f"{code[1]}: {message[1] if message else ''}" + (f"; {remedy}" if remedy else "")


class Objects:
    """A bucket, as one credential may use it."""

    def __init__(self, bucket: Bucket, credential: Credential, *, timeout_s: float = 30) -> None:
        self.bucket = bucket
        self._store = S3Store(
            bucket.name,
            endpoint=bucket.endpoint,
            region=bucket.region,
            access_key_id=credential.access,
            secret_access_key=credential.secret,
            virtual_hosted_style_request=False,
            client_options={"allow_http": True, "connect_timeout": "5s", "timeout": f"{timeout_s:g}s"},
            retry_config={"max_retries": RETRIES, "retry_timeout": timedelta(seconds=timeout_s)},
        )

    async def get(self, name: str, *, limit: int) -> Content | None:
        """Return a small object, None where there is none; StoreError where it has more than `limit` bytes."""
        answer = await self._found(obstore.get_async(self._store, name), name)
        if answer is None:
            return None
        if answer.meta["size"] > limit:
            raise StoreError(f"{self.bucket.address(name)} has {answer.meta['size']} bytes, more than {limit}")
        body = await self._asked(answer.bytes_async(), name)
        return Content(bytes(body), answer.meta["e_tag"] or "")

    async def size(self, name: str) -> int | None:
        """Return an object's size in bytes, None where there is none."""
        found = await self._found(obstore.head_async(self._store, name), name)
        return None if found is None else found["size"]

    async def read(self, name: str) -> AsyncIterator[bytes]:
        """Yield an object's content; FileNotFoundError where there is none."""
        answer = await self._found(obstore.get_async(self._store, name), name)
        if answer is None:
            raise FileNotFoundError(name)
        try:
            async for chunk in answer.stream(min_chunk_size=CHUNK):
                yield bytes(chunk)
        except _ERRORS as error:
            raise self._error(name, error) from error

    async def list(self, prefix: str) -> AsyncIterator[Entry]:
        """Yield all objects below a prefix."""
        try:
            async for several in obstore.list(self._store, prefix):
                for found in several:
                    yield Entry(found["path"], found["size"], found["last_modified"])
        except _ERRORS as error:
            raise self._error(prefix, error) from error

    async def put(self, name: str, body: bytes, *, over: str | None = None) -> bool:
        """Write an object where there is none, or only in the place of the ETag `over`; False where that isn't so."""
        mode: Literal["create"] | obstore.UpdateVersion = "create" if over is None else {"e_tag": over}
        try:
            await obstore.put_async(self._store, name, body, mode=mode, use_multipart=False)
        except (obstore.exceptions.AlreadyExistsError, obstore.exceptions.PreconditionError):
            return False
        except _ERRORS as error:
            raise self._error(name, error) from error
        return True

    async def remove(self, names: Iterable[str]) -> None:
        """Remove objects; who is gone already counts as removed."""
        doomed = sorted(names)
        await self._asked(obstore.delete_async(self._store, doomed), doomed[0] if doomed else "")

    async def signed(self, method: Literal["GET", "PUT"], name: str, *, seconds: int) -> str:
        """Return an address that gives or takes one object until it expires; asks nobody."""
        return await self._asked(obstore.sign_async(self._store, method, name, timedelta(seconds=seconds)), name)

    async def _found(self, act: Awaitable[T], name: str) -> T | None:
        try:
            return await act
        except FileNotFoundError as error:
            code = _CODE.search(str(error))
            if code is not None and code[1] not in {"NoSuchKey", "NotFound"}:  # an unknown user, a missing bucket
                raise self._error(name, error) from error
            return None
        except _ERRORS as error:
            raise self._error(name, error) from error

    async def _asked(self, act: Awaitable[T], name: str) -> T:
        try:
            return await act
        except _ERRORS as error:
            raise self._error(name, error) from error

    def _error(self, name: str, error: Exception) -> StoreError:
        return StoreError(f"the store {self.bucket.endpoint} ({self.bucket.address(name)}) says {told(str(error))}")

"""An S3 store as one build may use it: by addresses that the operator signed for its own key, without a credential."""

from __future__ import annotations

import base64
import hashlib
import re
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import urllib3

from model_repo_builder import manifest
from model_repo_builder.errors import Failed
from model_repo_builder.store import CHUNK, DamagedError, Stored, artifact_of, check_digest, decoded, drained
from yolofleet.api.store import MANIFEST, MAX_MANIFEST_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from model_repo_builder.manifest import Manifest
    from yolofleet.api.store import Grant, Published, StoredFile

OK = HTTPStatus.OK
UNREACHABLE = "look at the store's pod and its events, and at NetworkPolicies"
FULL = "the store is full: enlarge it, or delete YoloDeployments whose engines nobody needs"
REMEDIES = {
    "InsufficientStorage": FULL,
    "QuotaExceeded": FULL,
    "BadDigest": "the network or the store changed a file on its way: it is tried again",
    "AccessDenied": "the grant may have expired: a new attempt gets a new one",
}
RETRIES = urllib3.Retry(
    total=3, backoff_factor=0.5, status_forcelist=(500, 502, 503, 504), raise_on_status=False, allowed_methods=None
)
TIMEOUT = urllib3.Timeout(connect=5, read=60)
MAX_ANSWER_BYTES = 64 * 1024


@dataclass(frozen=True)
class GrantedStore:
    """The store of one build; `work` is scratch space."""

    grant: Grant
    work: Path | None = None

    def find(self, key: str) -> Stored | None:
        """Return what was published when the grant was made, every checksum verified."""
        published = self.grant.published
        if published is None or key != self.grant.key:
            return None
        content = self._manifest(published)
        if manifest.digest(content) != published.sha256:
            raise DamagedError(f"{self.grant.uri} has another manifest than a moment ago")
        told = decoded(content, key, self.grant.uri)
        for file in told.files:
            self._verify(published, file)
        return Stored(told, artifact_of(self.grant.uri, told, content))

    def _manifest(self, published: Published) -> bytes:
        try:
            with _answer("GET", published.manifest, self.grant.uri) as answer:
                return answer.read(MAX_MANIFEST_BYTES)
        except FileNotFoundError:
            raise DamagedError(f"{self.grant.uri} has lost its manifest") from None

    def _verify(self, published: Published, told: StoredFile) -> None:
        where = f"{self.grant.uri}/{told.path}"
        try:
            with _answer("GET", published.files[told.path], where) as answer:
                check_digest(drained(answer.stream(CHUNK)), told, where)
        except (FileNotFoundError, KeyError):
            raise DamagedError(f"{where} is missing") from None

    def take_timings(self, key: str, target: Path) -> bool:
        """Copy the timing cache that the grant names, verified; False where it names none."""
        del key  # the operator has chosen it already
        if (told := self.grant.timings) is None:
            return False
        where = f"{self.grant.uri}: {told.file.path} of another engine"
        try:
            with _answer("GET", told.url, where) as answer:
                check_digest(drained(answer.stream(CHUNK), copy_to=target), told.file, where)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def writing(self, key: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[GrantedWriter]:
        """Give a folder to write into; nobody has to wait, as each attempt has its own place in the store."""
        del key, on_wait
        with tempfile.TemporaryDirectory(dir=self.work, prefix="yolofleet-engine-") as folder:
            yield GrantedWriter(self.grant, Path(folder))


@dataclass(frozen=True)
class GrantedWriter:
    """Brings one attempt's files to its place in the store, the manifest last."""

    grant: Grant
    folder: Path

    def publish(self, told: Manifest) -> Stored:
        """Put the files, then the manifest; the operator makes it the engine when it finds all of it there."""
        told = told.model_copy(update={"attempt": self.grant.attempt})
        for file in told.files:
            _put(self._address(file.path), self.folder / file.path, self.grant.uri)
        content = manifest.encode(told)
        (self.folder / MANIFEST).write_bytes(content)
        _put(self._address(MANIFEST), self.folder / MANIFEST, self.grant.uri)
        return Stored(told, artifact_of(self.grant.uri, told, content))

    def _address(self, name: str) -> str:
        if (url := self.grant.files.get(name)) is None:
            raise Failed(message=f"the grant has no place for {name}", remedy="use operator and builder of one version")
        return url


def _put(url: str, path: Path, uri: str) -> None:
    """Send a file; the server compares what it got with Content-MD5 before the object appears."""
    with path.open("rb") as file:
        md5 = hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).digest()
        file.seek(0)
        headers = {"Content-Length": str(path.stat().st_size), "Content-MD5": base64.b64encode(md5).decode()}
        with _answer("PUT", url, f"{uri}/{path.name}", body=file, headers=headers):
            pass


@contextmanager
def _answer(method: str, url: str, what: str, **asked: Any) -> Iterator[urllib3.BaseHTTPResponse]:
    """Ask the store; yields a good answer, and raises FileNotFoundError or Failed with S3's own words."""
    with urllib3.PoolManager(timeout=TIMEOUT, retries=RETRIES) as pool:
        try:
            answer = pool.request(method, url, preload_content=False, redirect=False, **asked)
            if answer.status != OK:
                raise _refusal(answer.status, answer.read(MAX_ANSWER_BYTES).decode(errors="replace"), what)
            yield answer
        except urllib3.exceptions.HTTPError as error:
            raise Failed(message=f"the store does not answer: {error}", value=what, remedy=UNREACHABLE) from error


def _refusal(status: int, told: str, what: str) -> Exception:
    if status == HTTPStatus.NOT_FOUND and "NoSuchKey" in told:
        return FileNotFoundError(what)
    code, message = (found[1] if (found := re.search(f"<{tag}>([^<]*)<", told)) else "" for tag in ("Code", "Message"))
    remedy = REMEDIES.get(code, "look at the store's log")
    return Failed(message=f"the store refused it: HTTP {status} {code} {message}".rstrip(), value=what, remedy=remedy)

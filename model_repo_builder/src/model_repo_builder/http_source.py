"""Downloads one file over http(s): streaming, bounded, to checked addresses only, hashed on the way."""

from __future__ import annotations

import hashlib
import http.client
import socket
import ssl
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urljoin, urlsplit

from model_repo_builder.addresses import AddressRules, forbidden
from model_repo_builder.errors import Failed, Origin, Refused

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from model_repo_builder.settings import Limits

CHUNK = 1024 * 1024
REDIRECTS = frozenset({301, 302, 303, 307, 308})
PERMANENT = frozenset({400, 401, 403, 404, 405, 406, 410, 414, 451})
"""Answers that another try will not change."""


@dataclass(frozen=True)
class Fetched:
    """A file that lies on disk: its digest and size were taken while it was written."""

    path: Path
    sha256: str
    size_bytes: int


class _Broken(Exception):  # noqa: N818 - never leaves this module
    """A try that broke; the next one may not."""


@dataclass(frozen=True, kw_only=True)
class Download:
    """One download: where to, within which bounds; `origin` is what the user wrote."""

    target: Path
    limits: Limits
    rules: AddressRules
    origin: Origin
    on_bytes: Callable[[int, int | None], None]

    def fetch(self, url: str) -> Fetched:
        """Fetch `url`, with retries; refuses what can never work."""
        deadline = time.monotonic() + self.limits.total_s
        broken = ""
        for attempt in range(self.limits.tries):
            if attempt:
                time.sleep(min(self.limits.backoff_s * 2 ** (attempt - 1), max(0, deadline - time.monotonic())))
            try:
                return self._follow(url, deadline)
            except ssl.SSLCertVerificationError as error:
                raise self._refuse(
                    url,
                    f"the server's certificate is not trusted: {error.verify_message}",
                    "use one that a public authority signed, or plain http: the digest guards the file",
                ) from None
            except (_Broken, OSError, http.client.HTTPException) as error:
                broken = str(error) or type(error).__name__
            if time.monotonic() >= deadline:
                broken = f"no end within {self.limits.total_s:g} s ({broken})"
                break
        raise Failed(
            field=self.origin.field,
            value=self.origin.value,
            message=f"download of {url} failed after {attempt + 1} tries: {broken}",
            remedy="check that the address can be reached from the build pod (DNS, NetworkPolicy, server)",
        )

    def _follow(self, url: str, deadline: float) -> Fetched:
        for _ in range(self.limits.redirects + 1):
            answer = self._request(url)
            try:
                location = answer.response.headers.get("Location")
                if answer.response.status in REDIRECTS and location:
                    url = urljoin(url, location)
                    continue
                self._check_status(url, answer.response)
                return self._save(url, answer.response, deadline)
            finally:
                answer.connection.close()
        raise self._refuse(url, f"more than {self.limits.redirects} redirects", "give the address that they lead to")

    def _request(self, url: str) -> _Answer:
        split = self._checked(url)
        address = self._resolve(url, split)
        connection = _connection(split, address, self.limits.connect_s)
        try:
            connection.connect()
            connection.sock.settimeout(self.limits.read_s)
            path = (split.path or "/") + (f"?{split.query}" if split.query else "")
            connection.request("GET", path, headers={"User-Agent": "yolofleet", "Accept-Encoding": "identity"})
            return _Answer(connection, connection.getresponse())
        except BaseException:
            connection.close()
            raise

    def _checked(self, url: str) -> SplitResult:
        try:
            split = urlsplit(url)
            _ = split.port
        except ValueError as error:
            raise self._refuse(url, f"not a URL: {error}", "write it as https://host/path") from None
        if split.scheme not in {"http", "https"} or not split.hostname:
            raise self._refuse(url, "only http and https URLs with a host are fetched", "write it as https://host/path")
        if split.username is not None:
            raise Refused(
                field=self.origin.field,
                value=_without_user(url),
                message="a URL must not carry a password",
                remedy="serve the file without one, or use a PVC",
            )
        return split

    def _resolve(self, url: str, split: SplitResult) -> str:
        """Return an address of the host; all of them must be allowed, and the very one checked is connected to."""
        assert split.hostname is not None  # noqa: S101 - _checked saw to it
        try:
            found = socket.getaddrinfo(split.hostname, _port(split), type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            raise _Broken(f"the name {split.hostname!r} does not resolve: {error}") from None
        addresses = [str(info[4][0]) for info in found]
        for address in addresses:
            if reason := forbidden(address, self.rules):
                raise self._refuse(url, f"{split.hostname} is {address}, {reason}", "name a server that serves models")
        return addresses[0]

    def _check_status(self, url: str, response: http.client.HTTPResponse) -> None:
        if response.status == http.HTTPStatus.OK:
            return
        answered = f"HTTP {response.status} {response.reason}"
        if response.status in PERMANENT:
            raise self._refuse(url, f"the server answered {answered}", "check the address, and that it needs no login")
        raise _Broken(answered)

    def _save(self, url: str, response: http.client.HTTPResponse, deadline: float) -> Fetched:
        told = response.length
        if told is not None and told > self.limits.max_bytes:
            raise self._too_big(url, told)
        digest, size = hashlib.sha256(), 0
        with self.target.open("wb") as file:
            for chunk in _chunks(response, deadline):
                size += len(chunk)
                if size > self.limits.max_bytes:
                    raise self._too_big(url, size)
                digest.update(chunk)
                file.write(chunk)
                self.on_bytes(size, told)
        if told is not None and size != told:
            raise _Broken(f"the connection ended after {size} of {told} bytes")
        return Fetched(self.target, digest.hexdigest(), size)

    def _too_big(self, url: str, size: int) -> Refused:
        return self._refuse(
            url,
            f"the file has {size} bytes or more, and {self.limits.max_bytes} are allowed",
            "name the weights alone, or ask the administrator to raise YOLOFLEET_MAX_MODEL_MIB",
        )

    def _refuse(self, url: str, message: str, remedy: str) -> Refused:
        return self.origin.refused(message if url == self.origin.value else f"{message} ({url})", remedy)


@dataclass(frozen=True)
class _Answer:
    connection: http.client.HTTPConnection
    response: http.client.HTTPResponse


class _Pinned(http.client.HTTPConnection):
    """A connection to the address that was checked, whatever the name resolves to by now."""

    def __init__(self, split: SplitResult, address: str, timeout: float, context: ssl.SSLContext | None) -> None:
        super().__init__(str(split.hostname), _port(split), timeout=timeout)
        self._address, self._context = address, context
        self.default_port = 443 if context else 80  # else `Host` would carry :443, which some servers refuse

    def connect(self) -> None:
        self.sock = socket.create_connection((self._address, self.port), self.timeout)
        if self._context:
            self.sock = self._context.wrap_socket(self.sock, server_hostname=self.host)


def _connection(split: SplitResult, address: str, timeout: float) -> _Pinned:
    return _Pinned(split, address, timeout, ssl.create_default_context() if split.scheme == "https" else None)


def _port(split: SplitResult) -> int:
    return split.port or (443 if split.scheme == "https" else 80)


def _without_user(url: str) -> str:
    split = urlsplit(url)
    return split._replace(netloc=split.netloc.rpartition("@")[2]).geturl()


def _chunks(response: http.client.HTTPResponse, deadline: float) -> Iterator[bytes]:
    while chunk := response.read1(CHUNK):
        yield chunk
        if time.monotonic() > deadline:
            raise _Broken("the download took too long")

"""Where published engines lie: whole under their key, or not at all."""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from model_repo_builder import key_lock, manifest
from model_repo_builder.errors import Failed
from yolofleet.api.build import Artifact
from yolofleet.api.store import TIMINGS, folder_address

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from contextlib import AbstractContextManager

    from model_repo_builder.manifest import Manifest, StoredFile

STAGING = ".staging"
LOCKS = ".locks"
CHUNK = 1024 * 1024
WAIT_S = 3600.0


class DamagedError(Exception):
    """What lies under a key is not what its manifest says."""


@dataclass(frozen=True)
class Stored:
    """A published engine: its manifest, its place for others, and the folder that holds its files, if there is one."""

    manifest: Manifest
    artifact: Artifact
    folder: Path | None = None


class Writer(Protocol):
    """The only writer of a key, for now."""

    @property
    def folder(self) -> Path:
        """Return the folder to write files into."""

    def publish(self, manifest: Manifest) -> Stored:
        """Make the files appear under the key, all at once."""


class Shelf(Protocol):
    """Engines to serve: FolderStore is one on a volume, BucketShelf one in an S3 store."""

    def peek(self, key: str) -> Stored | None:
        """Return what is published under a key by its manifest alone; who copies the files verifies them."""

    def take(self, stored: Stored, file: StoredFile, target: Path) -> None:
        """Copy a file, verified on the way; DamagedError where it isn't what its manifest says."""


class Store(Protocol):
    """A store that engines are built into: FolderStore is one on a volume, GrantedStore one that speaks S3."""

    def find(self, key: str) -> Stored | None:
        """Return what is published under a key, every checksum verified; DamagedError where one is wrong."""

    def writing(self, key: str, on_wait: Callable[[], None]) -> AbstractContextManager[Writer]:
        """Become the key's only writer; what is not published when the block ends is gone."""

    def take_timings(self, key: str, target: Path) -> bool:
        """Copy the timing cache of a published engine, verified; False where it has none."""


@dataclass(frozen=True)
class FolderStore:
    """A store in a folder, usually on a PersistentVolumeClaim."""

    root: Path
    wait_s: float = WAIT_S

    def find(self, key: str) -> Stored | None:
        """Return what is published under a key, every checksum verified."""
        stored = self.peek(key)
        if stored is None:
            return None
        for file in stored.manifest.files:
            verify(self.root / key / file.path, file)
        return stored

    def take(self, stored: Stored, file: StoredFile, target: Path) -> None:
        """Copy a file, verified on the way."""
        verify(self.root / stored.manifest.key / file.path, file, copy_to=target)

    def take_timings(self, key: str, target: Path) -> bool:
        """Copy the timing cache of a published engine, verified; False where it has none."""
        stored = self.peek(key)
        file = stored.manifest.file(TIMINGS) if stored else None
        if stored is None or file is None:
            return False
        self.take(stored, file, target)
        return True

    def peek(self, key: str) -> Stored | None:
        """Return what is published under a key by its manifest alone; who copies the files verifies them."""
        folder = self.root / key
        try:
            content = (folder / manifest.MANIFEST).read_bytes()
        except (FileNotFoundError, NotADirectoryError):
            if folder.exists():
                raise DamagedError(f"{folder} has no manifest") from None
            return None
        told = decoded(content, key, str(folder))
        return Stored(told, artifact_of(folder_address(folder), told, content), folder)

    @contextmanager
    def writing(self, key: str, on_wait: Callable[[], None] = lambda: None) -> Iterator[FolderWriter]:
        """Become the key's only writer; what is not published when the block ends is gone."""
        for name in (STAGING, LOCKS):
            self._make(self.root / name)
        with key_lock.held(self._lock(key), wait_s=self.wait_s, on_wait=on_wait) as alone:
            if alone:
                self._sweep(key)
            folder = self.root / STAGING / f"{key}.{secrets.token_hex(8)}"
            self._make(folder)
            try:
                yield FolderWriter(self, key, folder)
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def _lock(self, key: str) -> Path:
        return self.root / LOCKS / key

    def _make(self, folder: Path) -> None:
        try:
            folder.mkdir(exist_ok=True)
        except OSError as error:
            raise Failed(
                message=f"the store can't be written: {error.strerror}",
                value=str(folder),
                remedy="check that the store's volume is mounted, has room, and lets uid 1000 write",
            ) from error

    def _sweep(self, key: str) -> None:
        """Remove what dead builders left: of this key, whose lock is ours, and of keys whose lock nobody holds."""
        for left in sorted((self.root / STAGING).iterdir()):
            owner = left.name.partition(".")[0]
            if owner == key:
                shutil.rmtree(left, ignore_errors=True)
                continue
            lock = self._lock(owner)
            if (handle := key_lock.try_hold(lock)) is not None:
                shutil.rmtree(left, ignore_errors=True)
                key_lock.let_go(lock, handle)


@dataclass(frozen=True)
class FolderWriter:
    """Writes one key of a FolderStore, into a staging folder."""

    store: FolderStore
    key: str
    folder: Path

    def publish(self, told: Manifest) -> Stored:
        """Write the manifest, sync everything to disk, and rename the folder to its key."""
        content = manifest.encode(told)
        (self.folder / manifest.MANIFEST).write_bytes(content)
        for path in sorted(self.folder.iterdir()):
            path.chmod(0o644)
            _sync(path)
        _sync(self.folder)
        target = self.store.root / self.key
        if (earlier := self._clear(target)) is not None:
            return earlier
        try:
            self.folder.rename(target)
        except OSError:
            if (earlier := self._clear(target)) is not None:  # no locks here, and another was faster
                return earlier
            raise
        _sync(self.store.root)
        return Stored(told, artifact_of(folder_address(target), told, content), target)

    def _clear(self, target: Path) -> Stored | None:
        """Return what is published already, or move a damaged thing out of the way."""
        try:
            return self.store.find(self.key)
        except DamagedError:
            aside = self.store.root / STAGING / f"{self.key}.damaged-{secrets.token_hex(8)}"
            target.rename(aside)
            shutil.rmtree(aside, ignore_errors=True)
            return None


def decoded(content: bytes, key: str, where: str) -> Manifest:
    """Read the manifest of a key; DamagedError where it is none, or another one's."""
    try:
        told = manifest.decode(content)
    except ValueError as error:
        raise DamagedError(f"{where}: {error}") from None
    if told.key != key:
        raise DamagedError(f"{where} holds the manifest of another key, {told.key}")
    return told


def artifact_of(uri: str, told: Manifest, content: bytes) -> Artifact:
    """Describe a published engine."""
    return Artifact(uri=uri, sha256=manifest.digest(content), size_bytes=told.size_bytes() + len(content))


def describe(path: Path) -> StoredFile:
    """Return a file's entry for a manifest."""
    return manifest.StoredFile(path=path.name, sha256=hashed(path), size_bytes=path.stat().st_size)


def verify(path: Path, told: StoredFile, *, copy_to: Path | None = None) -> None:
    """Check a file against its entry, copying it at the same time if asked: what is used is what was checked."""
    try:
        size = path.stat().st_size
        if size != told.size_bytes:
            raise DamagedError(f"{path} has {size} bytes, its manifest says {told.size_bytes}")
        check_digest(hashed(path, copy_to=copy_to), told, str(path))
    except FileNotFoundError:
        raise DamagedError(f"{path} is missing") from None


def check_digest(found: str, told: StoredFile, where: str) -> None:
    """Raise DamagedError where a file isn't what its entry says."""
    if found != told.sha256:
        raise DamagedError(f"{where} has sha256 {found}, its manifest says {told.sha256}")


def hashed(path: Path, *, copy_to: Path | None = None) -> str:
    """Return a file's sha256, and copy it in the same pass if asked."""
    with path.open("rb") as source:
        return drained(iter(lambda: source.read(CHUNK), b""), copy_to=copy_to)


def drained(chunks: Iterable[bytes], *, copy_to: Path | None = None) -> str:
    """Return the sha256 of all chunks, and write them to a file in the same pass if asked."""
    digest = hashlib.sha256()
    with Path(copy_to or os.devnull).open("wb") as target:
        for chunk in chunks:
            digest.update(chunk)
            target.write(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

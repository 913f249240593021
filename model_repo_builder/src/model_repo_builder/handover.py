"""What each container of a build pod leaves for the next one, and what the next one takes of it."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO, TypeAlias

from pydantic import Field, ValidationError

from model_repo_builder import manifest
from model_repo_builder.errors import Failed, Origin, clip
from model_repo_builder.fetch import CALIBRATION, DATASET, WEIGHTS
from model_repo_builder.http_source import Fetched
from model_repo_builder.store import DamagedError, check_digest, drained
from yolofleet.api.base import SHA256, ApiModel
from yolofleet.api.build import FETCHED_FILE
from yolofleet.api.store import GRANTED_FILES, MAX_MANIFEST_BYTES, TIMINGS

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_repo_builder.manifest import Manifest
    from yolofleet.api.build import BuildRequest
    from yolofleet.api.store import StoredFile

FetchedPair: TypeAlias = "tuple[Fetched, Origin]"
"""A fetched file, and what the user wrote to get it."""
DRAFT = "draft.json"
CHUNK = 1024 * 1024
MAX_NOTES = 32
MAX_NOTE = 1024
AGAIN = "it is tried again; if it comes back, look at the log of the container `convert`"


class FetchedFile(ApiModel):
    """What fetch says of a file that lies beside this, and what the user wrote to get it."""

    sha256: SHA256 | None = None
    size_bytes: Annotated[int, Field(ge=0)] = 0
    field: str = ""
    value: str = ""


class FetchedWeights(FetchedFile):
    """What fetch says of the weights and of the archives that are asked for, or that nothing is needed."""

    published: bool = False
    dataset: FetchedFile | None = None
    calibration: FetchedFile | None = None


def say_published(folder: Path) -> None:
    """Say that the engine is in the store: there is nothing to convert."""
    _write(folder, FetchedWeights(published=True))


def say_fetched(
    folder: Path, weights: FetchedPair, dataset: FetchedPair | None = None, calibration: FetchedPair | None = None
) -> None:
    """Say what was fetched; the files themselves lie beside it."""
    archives = {"dataset": dataset, "calibration": calibration}
    told = {name: FetchedFile(**_told(*pair)) for name, pair in archives.items() if pair is not None}
    _write(folder, FetchedWeights(**_told(*weights)).model_copy(update=told))


def _told(got: Fetched, origin: Origin) -> dict[str, Any]:
    return {"sha256": got.sha256, "size_bytes": got.size_bytes, "field": origin.field, "value": origin.value}


def _write(folder: Path, told: FetchedWeights) -> None:
    (folder / FETCHED_FILE).write_text(told.model_dump_json(by_alias=True), encoding="utf-8")


def read_fetched(path: Path) -> FetchedWeights:
    """Read what fetch said; only fetch can write there."""
    try:
        return FetchedWeights.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise Failed(message=f"fetch left no word of what it did: {error}", remedy="it is tried again") from None


def weights_of(folder: Path, told: FetchedWeights) -> tuple[Fetched, Origin]:
    """Return the fetched file and what it came from."""
    return _pair(folder / WEIGHTS, told)


def dataset_of(folder: Path, told: FetchedWeights) -> FetchedPair | None:
    """Return the fetched labelled set and what it came from; None where none was asked for."""
    return _pair(folder / DATASET, told.dataset) if told.dataset else None


def calibration_of(folder: Path, told: FetchedWeights) -> FetchedPair | None:
    """Return the fetched pictures that scales are taken from, and what they came from; None where none were asked."""
    return _pair(folder / CALIBRATION, told.calibration) if told.calibration else None


def timings_of(folder: Path) -> Path | None:
    """Return the timing cache that fetch brought, if it did."""
    path = folder / TIMINGS
    return path if path.is_file() else None


def _pair(path: Path, told: FetchedFile) -> FetchedPair:
    return Fetched(path, told.sha256 or "", told.size_bytes), Origin(told.field, told.value)


def emptied(folder: Path) -> Path:
    """Return a folder with nothing in it: a container may run twice in a pod whose node was started again."""
    for left in folder.iterdir():
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
    return folder


def leave_draft(folder: Path, made: Manifest) -> None:
    """Leave the manifest of what was converted, for publish to judge."""
    (folder / DRAFT).write_bytes(manifest.encode(made))


def take(folder: Path, target: Path, request: BuildRequest, told: FetchedWeights) -> Manifest:
    """Copy what convert left, file by file, and return its manifest; Failed where it isn't what it should be.

    Convert has opened the weights, so nothing that it says is believed: names come from a list, links are not followed,
    digests are taken anew, and what somebody else knows better replaces its word.
    """
    made = _draft(folder)
    _refuse_unless(made.key == request.key, "key", made.key)
    _refuse_unless(made.recipe == request.recipe, "recipe", "another recipe")
    _refuse_unless(made.backend == request.recipe.backend, "backend", made.backend)
    accuracy = made.gate.accuracy if made.gate else None
    measured_on = told.dataset.sha256 if told.dataset else None
    _refuse_unless((accuracy and accuracy.dataset_sha256) == measured_on, "gate.accuracy", str(accuracy))
    files = [file for file in made.files if file.path in GRANTED_FILES and file.path != manifest.MANIFEST]
    _refuse_unless(manifest.MODEL_FILE[made.backend] in {file.path for file in files}, "files", "no model")
    for file in files:
        _copied(folder / file.path, file, target / file.path)
    return made.model_copy(
        update={"files": files, "attempt": None, "provenance": provenance(made.provenance, request, told)}
    )


def provenance(said: dict[str, str], request: BuildRequest, told: FetchedWeights) -> dict[str, str]:
    """Return where an engine comes from: convert's words, bounded, and under them what the others know."""
    pictures = {"calibrationSHA256": told.calibration.sha256 or ""} if told.calibration else {}
    kept = {clip(name, 64): clip(text, MAX_NOTE) for name, text in sorted(said.items())[:MAX_NOTES]}
    return kept | {
        "builderImage": request.builder.image,
        "builderVersion": request.builder.version,
        "source": request.source.identity,
        "weightsSHA256": told.sha256 or "",
        **pictures,
    }


def _draft(folder: Path) -> Manifest:
    try:
        with _opened(folder / DRAFT, MAX_MANIFEST_BYTES) as file:
            return manifest.decode(file.read(MAX_MANIFEST_BYTES + 1))
    except (ValueError, DamagedError) as error:
        raise Failed(message=f"convert left no manifest: {error}", remedy=AGAIN) from None


def _copied(path: Path, told: StoredFile, target: Path) -> None:
    try:
        with _opened(path, told.size_bytes) as file:
            check_digest(drained(_chunks(file), copy_to=target), told, path.name)
    except DamagedError as error:
        raise Failed(message=f"convert left something else than it says: {error}", remedy=AGAIN) from None


def _chunks(file: BinaryIO) -> Iterator[bytes]:
    while chunk := file.read(CHUNK):
        yield chunk


def _opened(path: Path, limit: int) -> BinaryIO:
    """Open a plain file of at most so many bytes; a link could lead to what publish alone may read."""
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise DamagedError(f"{path.name} can't be opened: {error.strerror}") from None
    seen = os.fstat(handle)
    if not stat.S_ISREG(seen.st_mode) or seen.st_size > limit:
        os.close(handle)
        raise DamagedError(f"{path.name} is no plain file of at most {limit} bytes")
    return os.fdopen(handle, "rb")


def _refuse_unless(condition: bool, what: str, value: str) -> None:  # noqa: FBT001 - reads as a sentence
    if not condition:
        raise Failed(message=f"convert left the engine of another build: its {what}", value=value, remedy=AGAIN)

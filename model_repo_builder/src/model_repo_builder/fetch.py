"""Brings what a source names to a local file, weights or a zip of pictures: digest taken and checked, weights told."""

from __future__ import annotations

import difflib
import hashlib
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from model_repo_builder import builtin, engine_file
from model_repo_builder.errors import Failed, Origin, Refused
from model_repo_builder.http_source import Download, Fetched
from model_repo_builder.sniff import ULTRALYTICS_ENGINE, Format, glance, look

if TYPE_CHECKING:
    from pathlib import Path

    from model_repo_builder.progress import Report
    from model_repo_builder.settings import Settings
    from yolofleet.api.recipe import Task
    from yolofleet.api.sources import HttpSource, PvcSource, Source

CHUNK = 1024 * 1024
MIB = 1024 * 1024
WEIGHTS = "weights"
DATASET = "dataset"
CALIBRATION = "calibration"
"""What fetched files are called: their own names say nothing."""
WANTED = {WEIGHTS: ".pt or .onnx", DATASET: ".zip", CALIBRATION: ".zip"}
MODEL_FIELD, DATASET_FIELD = "spec.model", "spec.engine.accuracyGate.dataset"
CALIBRATION_FIELD = "spec.engine.calibration.source"
"""Where a user writes what they come from."""


@dataclass(frozen=True, kw_only=True)
class Weights:
    """Fetched weights; `origin` is what a refusal of their content points at."""

    path: Path
    sha256: str
    size_bytes: int
    format: Format
    origin: Origin


@dataclass(frozen=True, kw_only=True)
class Fetch:
    """One fetch into `folder`; `report` hears fractions of it."""

    settings: Settings
    folder: Path
    report: Report

    def run(self, source: Source, task: Task) -> Weights:
        """Fetch a source; refuses what is not there, not wanted, or not weights."""
        return recognised(*self.bring(source, task))

    def bring(self, source: Source, task: Task) -> tuple[Fetched, Origin]:
        """Fetch a source and check its digest, without a look at what it is: that is for who opens it."""
        if source.builtin is not None:
            origin = Origin("spec.model.builtin", source.builtin)
            return self._builtin(origin, task), origin
        return _Placed(self, MODEL_FIELD, WEIGHTS, self.settings.places.source).bring(source)

    def bring_dataset(self, source: Source) -> tuple[Fetched, Origin]:
        """Fetch a labelled set and check its digest, unopened."""
        return _Placed(self, DATASET_FIELD, DATASET, self.settings.places.dataset).bring(source)

    def bring_calibration(self, source: Source) -> tuple[Fetched, Origin]:
        """Fetch the pictures that scales are taken from and check their digest, unopened."""
        return _Placed(self, CALIBRATION_FIELD, CALIBRATION, self.settings.places.calibration).bring(source)

    def _builtin(self, origin: Origin, task: Task) -> Fetched:
        here = builtin.bundled()
        if found := here.get(origin.value):
            return _hashed(found, self.report, copy_to=self.folder / WEIGHTS)
        released = builtin.RELEASED.get(origin.value)
        if released is None:
            raise builtin.unknown(origin.value, {*builtin.RELEASED, *here})
        if released != task:
            raise task_mismatch(task, released, origin)
        return self.download(f"{self.settings.builtin_url}/{origin.value}.pt", origin, WEIGHTS)

    def download(self, url: str, origin: Origin, name: str) -> Fetched:
        """Download a file into the folder."""
        download = Download(
            target=self.folder / name,
            limits=self.settings.limits,
            rules=self.settings.rules,
            origin=origin,
            on_bytes=self._on_bytes,
        )
        return download.fetch(url)

    def _on_bytes(self, size: int, told: int | None) -> None:
        of = f" of {told / MIB:.1f}" if told else ""
        self.report(size / told if told else 0.0, f"{size / MIB:.1f}{of} MiB")


@dataclass(frozen=True)
class _Placed:
    """A file behind an address or on a claim, and the field of the spec that says so."""

    fetch: Fetch
    field: str
    name: str
    volume: Path

    def bring(self, source: Source) -> tuple[Fetched, Origin]:
        if source.http is not None:
            origin = Origin(f"{self.field}.http.url", source.http.url)
            return self._http(source.http, origin), origin
        if source.pvc is not None:
            origin = Origin(f"{self.field}.pvc.path", source.pvc.path)
            return self._pvc(source.pvc, origin), origin
        raise unsupported(source, self.field)

    def _http(self, source: HttpSource, origin: Origin) -> Fetched:
        got = self.fetch.download(source.url, origin, self.name)
        check_digest(got, Origin(f"{self.field}.http.sha256", source.sha256))
        return got

    def _pvc(self, source: PvcSource, origin: Origin) -> Fetched:
        path = inside(self.volume, origin, WANTED[self.name])
        limit = self.fetch.settings.limits.max_bytes
        if path.stat().st_size > limit:
            raise origin.refused(
                f"the file has {path.stat().st_size} bytes, and {limit} are allowed",
                f"name the {self.name} alone, or ask the administrator to raise YOLOFLEET_MAX_MODEL_MIB",
            )
        got = _hashed(path, self.fetch.report, copy_to=self.fetch.folder / self.name)
        if source.sha256 is not None:
            check_digest(got, Origin(f"{self.field}.pvc.sha256", source.sha256))
        return got


def inside(root: Path, origin: Origin, wanted: str) -> Path:
    """Return the file that the path names under `root`; refuses every way out of it, and what is no file."""
    parts = origin.value.split("/")
    if origin.value.startswith("/") or ".." in parts or "\0" in origin.value:
        raise origin.refused("the path must stay inside the volume", "write it relative to the volume, without `..`")
    try:
        path = (root / origin.value).resolve(strict=True)
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        raise origin.refused("no such file on the volume", _neighbours(root, parts)) from None
    except (OSError, RuntimeError) as error:  # no permission, a name too long; RuntimeError: a loop of links
        reason = getattr(error, "strerror", None) or "a loop of links"
        raise origin.refused(
            f"the file can't be read ({reason})", "let uid 1000 read it, under one plain name"
        ) from None
    if not path.is_relative_to(root.resolve()):
        raise origin.refused("the path is a link that leads out of the volume", "put the file itself on the volume")
    if not stat.S_ISREG(mode):
        raise origin.refused("the path is not a regular file", f"name the {wanted} itself")
    return path


def _neighbours(root: Path, parts: list[str]) -> str:
    folder = root.joinpath(*parts[:-1])
    names = sorted(entry.name for entry in folder.iterdir())[:1000] if folder.is_dir() else []
    close = difflib.get_close_matches(parts[-1], names, n=3) or names[:3]
    return f"there is {', '.join(close)}" if close else "check claimName and path; the folder is empty or absent"


def _hashed(path: Path, report: Report, *, copy_to: Path) -> Fetched:
    """Hash a file, and copy it at the same time, so that what is used is what was hashed."""
    digest, size, total = hashlib.sha256(), 0, max(path.stat().st_size, 1)
    try:
        with path.open("rb") as source, copy_to.open("wb") as target:
            while chunk := source.read(CHUNK):
                digest.update(chunk)
                size += len(chunk)
                target.write(chunk)
                report(min(size / total, 1.0), f"{size / MIB:.1f} MiB")
    except OSError as error:
        raise Failed(message=f"reading {path.name} broke: {error}", remedy="look at the volume's events") from error
    return Fetched(copy_to, digest.hexdigest(), size)


def check_digest(got: Fetched, told: Origin) -> None:
    """Refuse a file whose digest is not the one the user wrote; both stand in the message."""
    if got.sha256 != told.value:
        raise told.refused(
            f"the file's sha256 is {got.sha256}; it is {glance(got.path)} of {got.size_bytes} bytes",
            "write that digest if this is the file you mean, else fetch the right one",
        )


def recognised(got: Fetched, origin: Origin) -> Weights:
    """Return the weights with their format, or refuse what is neither .pt nor .onnx."""
    seen = look(got.path)
    if seen.format is None:
        told = f": {engine_file.read(got.path, origin).sentence()}" if seen.what == ULTRALYTICS_ENGINE else ""
        raise origin.refused(f"this is {seen.what}{told}", seen.remedy)
    return Weights(path=got.path, sha256=got.sha256, size_bytes=got.size_bytes, format=seen.format, origin=origin)


def task_mismatch(wanted: Task, found: Task, origin: Origin) -> Refused:
    """Say that a model does another task than the one asked for."""
    return Refused(
        field="spec.model.task",
        value=wanted,
        message=f"{origin.value} does {found}",
        remedy=f"set spec.model.task: {found}, or name a model that does {wanted}",
    )


def unsupported(source: Source, field: str) -> Refused:
    """Say that a kind of source is not fetched yet."""
    return Refused(
        field=f"{field}.{source.kind}",
        value=source.identity,
        message=f"this builder does not fetch from {source.kind} yet",
        remedy=f"use {'builtin, ' if field == MODEL_FIELD else ''}http or pvc",
    )

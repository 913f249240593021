"""Reads a user's pictures from a zip archive, member by member and bounded: nothing of it is ever unpacked to disk."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

import yaml

from model_repo_builder.errors import clip
from model_repo_builder.frames import SUFFIXES
from model_repo_builder.sniff import glance

if TYPE_CHECKING:
    from collections.abc import Iterator

    from PIL.Image import Image as Picture

    from model_repo_builder.errors import Origin
    from model_repo_builder.http_source import Fetched
    from yolofleet.errors import Refused

DATA = "data.yaml"
MOST_MEMBERS = 200_000
MOST_TEXT_BYTES, MOST_PICTURE_BYTES = 1024**2, 64 * 1024**2
MOST_PIXELS = 100_000_000
"""Of one picture: what a small file unfolds into is bounded, too."""
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Pillow reads others too, some by starting programs."""
BROKEN = (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
"""What a damaged, encrypted or unknown kind of archive raises."""


@contextmanager
def opened_zip(got: Fetched, origin: Origin, layout: str) -> Iterator[zipfile.ZipFile]:
    """Open an archive; what is wrong with it is refused under the name that the user wrote."""
    if not zipfile.is_zipfile(got.path):
        raise origin.refused(f"this is {glance(got.path)}, not a zip archive", layout)
    try:
        archive = zipfile.ZipFile(got.path)
    except BROKEN as error:
        raise origin.refused(f"the archive can't be read: {error}", "make it again; compare its digest") from None
    with archive:
        yield archive


@dataclass(frozen=True)
class PictureArchive:
    """An open archive; `sha256` is its own, `layout` how such an archive should look."""

    archive: zipfile.ZipFile
    sha256: str
    origin: Origin
    layout: str

    def members(self, part: str) -> list[str]:
        """Return the pictures by name; those of one folder where data.yaml names one for this part (`train`, `val`)."""
        names = self.archive.namelist()
        if len(names) > MOST_MEMBERS:
            raise self.refused(
                f"the archive has {len(names)} members, {MOST_MEMBERS} are allowed", "give fewer pictures"
            )
        folder = self._folder(part)
        found = sorted(name for name in names if _is_picture(name) and _in(name, folder))
        if not found:
            raise self.refused(f"the archive has no picture{f' in {folder}' if folder else ''}", self.layout)
        return found

    def picture(self, name: str) -> Picture:
        """Return a picture in RGB."""
        from PIL import Image, UnidentifiedImageError

        content = self.content(name, MOST_PICTURE_BYTES)
        try:
            with Image.open(BytesIO(content), formats=FORMATS) as seen:
                if seen.width * seen.height > MOST_PIXELS:
                    raise self.refused(f"{name} has {seen.width} x {seen.height} pixels", "scale it down")
                return seen.convert("RGB")
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
            raise self.refused(f"{name} is no picture: {error}", "take it out, or make the archive anew") from None

    def refused(self, message: str, remedy: str) -> Refused:
        """Refuse the archive."""
        return self.origin.refused(clip(message, 400), remedy)

    def data(self) -> dict[str, Any]:
        """Return what data.yaml says; nothing where there is none."""
        name = self._data_name()
        if not name:
            return {}
        try:
            told = yaml.safe_load(self.text(name))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise self.refused(f"{name} is no YAML: {error}", "mend it, or leave it out") from None
        return told if isinstance(told, dict) else {}

    def text(self, name: str) -> str:
        """Return a member's text."""
        return self.content(name, MOST_TEXT_BYTES).decode("utf-8", errors="replace")

    def content(self, name: str, limit: int) -> bytes:
        """Return a member of at most so many bytes."""
        try:
            with self.archive.open(name) as member:
                content = member.read(limit + 1)
        except BROKEN as error:
            raise self.refused(f"{name} can't be read: {error}", "make the archive anew; compare its digest") from None
        if len(content) > limit:
            raise self.refused(f"{name} has more than {limit} bytes", "take it out, or make it smaller")
        return content

    def _folder(self, part: str) -> str:
        """Return the folder that data.yaml names for a part, "" where it names none."""
        told = self.data().get(part)
        if told is None:
            return ""
        if not isinstance(told, str) or told.endswith(".txt"):
            raise self.refused(
                f"{DATA}: {part} is {clip(str(told), 80)!r}", f"name one folder of pictures: `{part}: images/{part}`"
            )
        return str(PurePosixPath(self._data_name()).parent / told.removeprefix("./")).rstrip("/")

    def _data_name(self) -> str:
        found = [name for name in self.archive.namelist() if PurePosixPath(name).name == DATA]
        return min(found, key=lambda name: (name.count("/"), name), default="")


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")  # macOS adds files of its own


def _in(name: str, folder: str) -> bool:
    return not folder or folder == "." or name.startswith(f"{folder}/")

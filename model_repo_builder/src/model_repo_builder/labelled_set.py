"""Reads a labelled set, a zip archive in YOLO's layout, member by member: nothing of it is ever unpacked to disk."""

from __future__ import annotations

import zipfile
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import yaml

from model_repo_builder.errors import clip
from model_repo_builder.frames import SUFFIXES
from model_repo_builder.metadata import BadMetadataError, class_names
from model_repo_builder.sniff import glance

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt
    from PIL.Image import Image as Picture

    from model_repo_builder.errors import Origin
    from model_repo_builder.http_source import Fetched
    from yolofleet.errors import Refused

LAYOUT = "give a .zip with images/val/*.jpg, labels/val/*.txt of the same names, and data.yaml beside the two"
DATA = "data.yaml"
MOST_MEMBERS = 200_000
MOST_TEXT_BYTES, MOST_PICTURE_BYTES = 1024**2, 64 * 1024**2
MOST_PIXELS = 100_000_000
"""Of one picture: what a small file unfolds into is bounded, too."""
FORMATS = ("JPEG", "PNG", "BMP", "WEBP")
"""Pillow reads others too, some by starting programs."""
MOST_CLASS = 1_000_000
BOX, FIRST_POLYGON = 5, 7
"""Numbers in a line of labels: class, centre, width, height; or class and three corners or more."""
BROKEN = (zipfile.BadZipFile, EOFError, OSError, NotImplementedError, RuntimeError, ValueError)
"""What a damaged, encrypted or unknown kind of archive raises."""
Objects: TypeAlias = "tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]"
"""Corners as fractions of the picture (N, 4), and classes (N)."""


@contextmanager
def opened(got: Fetched, origin: Origin) -> Iterator[LabelledSet]:
    """Open an archive; what is wrong with it is refused under the name that the user wrote."""
    if not zipfile.is_zipfile(got.path):
        raise origin.refused(f"this is {glance(got.path)}, not a zip archive", LAYOUT)
    try:
        archive = zipfile.ZipFile(got.path)
    except BROKEN as error:
        raise origin.refused(f"the archive can't be read: {error}", "make it again; compare its digest") from None
    with archive:
        yield LabelledSet(archive, got.sha256, origin)


@dataclass(frozen=True)
class LabelledSet:
    """An open archive; `sha256` is its own."""

    archive: zipfile.ZipFile
    sha256: str
    origin: Origin

    def pictures(self, most: int) -> list[str]:
        """Return the members that are pictures, the first by name; those of `val` where data.yaml names a folder."""
        names = self.archive.namelist()
        if len(names) > MOST_MEMBERS:
            raise self.refused(
                f"the archive has {len(names)} members, {MOST_MEMBERS} are allowed", "give fewer pictures"
            )
        folder = self._val_folder()
        found = sorted(name for name in names if _is_picture(name) and _in(name, folder))
        if not found:
            raise self.refused(f"the archive has no picture{f' in {folder}' if folder else ''}", LAYOUT)
        return found[:most]

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes; none where data.yaml tells none."""
        told = self._data().get("names")
        try:
            return class_names(told) if told is not None else ()
        except BadMetadataError as error:
            raise self.refused(
                f"{DATA}: {error}", "write names as Ultralytics does: `names: {0: person, 1: car}`"
            ) from None

    def picture(self, name: str) -> Picture:
        """Return a picture in RGB."""
        from PIL import Image, UnidentifiedImageError

        content = self._content(name, MOST_PICTURE_BYTES)
        try:
            with Image.open(BytesIO(content), formats=FORMATS) as seen:
                if seen.width * seen.height > MOST_PIXELS:
                    raise self.refused(f"{name} has {seen.width} x {seen.height} pixels", "scale it down")
                return seen.convert("RGB")
        except (UnidentifiedImageError, Image.DecompressionBombError, OSError, SyntaxError, ValueError) as error:
            raise self.refused(f"{name} is no picture: {error}", "take it out, or make the archive anew") from None

    def objects(self, picture: str) -> Objects:
        """Return what is labelled in a picture; nothing where it has no file of labels, as Ultralytics has it."""
        name = label_of(picture)
        if name not in self.archive.NameToInfo:
            return np.zeros((0, 4)), np.zeros(0, np.int64)
        lines = self._text(name).splitlines()
        rows = [self._row(name, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        corners = np.array([row[1:] for row in rows]).reshape(-1, 4)
        return corners, np.array([row[0] for row in rows], np.int64)

    def refused(self, message: str, remedy: str) -> Refused:
        """Refuse the set."""
        return self.origin.refused(clip(message, 400), remedy)

    def _row(self, name: str, number: int, line: str) -> tuple[float, ...]:
        """Return class and corners of one line: of a box, or of the polygon that a Segment set has."""
        try:
            kind, *rest = (float(word) for word in line.split())
        except ValueError:
            raise self._bad(name, number, line) from None
        numbers = np.array(rest)
        count = 1 + len(rest)
        box, polygon = count == BOX, count >= FIRST_POLYGON and count % 2 == 1
        good = 0 <= kind < MOST_CLASS and kind == int(kind) and bool(((numbers >= 0) & (numbers <= 1)).all())
        if not (good and (box or polygon)):
            raise self._bad(name, number, line)
        if polygon:
            points = numbers.reshape(-1, 2)
            return kind, *points.min(axis=0), *points.max(axis=0)
        x, y, width, height = rest
        return kind, x - width / 2, y - height / 2, x + width / 2, y + height / 2

    def _bad(self, name: str, number: int, line: str) -> Refused:
        told = f"{name} line {number} is {clip(line, 80)!r}"
        return self.refused(told, "write `class x y width height`, the last four from 0 to 1, fractions of the picture")

    def _val_folder(self) -> str:
        """Return the folder that data.yaml calls `val`, "" where it names none."""
        told = self._data().get("val")
        if told is None:
            return ""
        if not isinstance(told, str) or told.endswith(".txt"):
            raise self.refused(
                f"{DATA}: val is {clip(str(told), 80)!r}", "name one folder of pictures: `val: images/val`"
            )
        return str(PurePosixPath(self._data_name()).parent / told.removeprefix("./")).rstrip("/")

    def _data_name(self) -> str:
        found = [name for name in self.archive.namelist() if PurePosixPath(name).name == DATA]
        return min(found, key=lambda name: (name.count("/"), name), default="")

    def _data(self) -> dict[str, Any]:
        name = self._data_name()
        if not name:
            return {}
        try:
            told = yaml.safe_load(self._text(name))
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise self.refused(f"{name} is no YAML: {error}", "mend it, or leave it out") from None
        return told if isinstance(told, dict) else {}

    def _text(self, name: str) -> str:
        return self._content(name, MOST_TEXT_BYTES).decode("utf-8", errors="replace")

    def _content(self, name: str, limit: int) -> bytes:
        try:
            with self.archive.open(name) as member:
                content = member.read(limit + 1)
        except BROKEN as error:
            raise self.refused(f"{name} can't be read: {error}", "make the archive anew; compare its digest") from None
        if len(content) > limit:
            raise self.refused(f"{name} has more than {limit} bytes", "take it out, or make it smaller")
        return content


def label_of(picture: str) -> str:
    """Return where the labels of a picture are: the last folder `images` becomes `labels`, as Ultralytics has it."""
    parts = list(PurePosixPath(picture).with_suffix(".txt").parts)
    places = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return "/".join(parts)


def _is_picture(name: str) -> bool:
    path = PurePosixPath(name)
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".")  # macOS adds files of its own


def _in(name: str, folder: str) -> bool:
    return not folder or folder == "." or name.startswith(f"{folder}/")

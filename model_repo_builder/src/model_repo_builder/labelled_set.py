"""A labelled set: an archive of pictures in YOLO's layout, and what is to be seen in them."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from model_repo_builder.errors import clip
from model_repo_builder.metadata import BadMetadataError, class_names
from model_repo_builder.picture_archive import DATA, PictureArchive, opened_zip

if TYPE_CHECKING:
    from collections.abc import Iterator

    import numpy.typing as npt

    from model_repo_builder.errors import Origin
    from model_repo_builder.http_source import Fetched
    from yolofleet.errors import Refused

LAYOUT = "give a .zip with images/val/*.jpg, labels/val/*.txt of the same names, and data.yaml beside the two"
MOST_CLASS = 1_000_000
BOX, FIRST_POLYGON = 5, 7
"""Numbers in a line of labels: class, centre, width, height; or class and three corners or more."""
Objects: TypeAlias = "tuple[npt.NDArray[np.float64], npt.NDArray[np.int64]]"
"""Corners as fractions of the picture (N, 4), and classes (N)."""


@contextmanager
def opened(got: Fetched, origin: Origin) -> Iterator[LabelledSet]:
    """Open a labelled set; what is wrong with it is refused under the name that the user wrote."""
    with opened_zip(got, origin, LAYOUT) as archive:
        yield LabelledSet(archive, got.sha256, origin, LAYOUT)


class LabelledSet(PictureArchive):
    """Pictures with labels."""

    def pictures(self, most: int) -> list[str]:
        """Return the members that are pictures, the first by name; those of `val` where data.yaml names a folder."""
        return self.members("val")[:most]

    def names(self) -> tuple[str, ...]:
        """Return the names of the classes; none where data.yaml tells none."""
        told = self.data().get("names")
        try:
            return class_names(told) if told is not None else ()
        except BadMetadataError as error:
            raise self.refused(
                f"{DATA}: {error}", "write names as Ultralytics does: `names: {0: person, 1: car}`"
            ) from None

    def objects(self, picture: str) -> Objects:
        """Return what is labelled in a picture; nothing where it has no file of labels, as Ultralytics has it."""
        name = label_of(picture)
        if name not in self.archive.NameToInfo:
            return np.zeros((0, 4)), np.zeros(0, np.int64)
        lines = self.text(name).splitlines()
        rows = [self._row(name, number, line) for number, line in enumerate(lines, start=1) if line.strip()]
        corners = np.array([row[1:] for row in rows]).reshape(-1, 4)
        return corners, np.array([row[0] for row in rows], np.int64)

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


def label_of(picture: str) -> str:
    """Return where the labels of a picture are: the last folder `images` becomes `labels`, as Ultralytics has it."""
    parts = list(PurePosixPath(picture).with_suffix(".txt").parts)
    places = [index for index, part in enumerate(parts[:-1]) if part == "images"]
    if places:
        parts[places[-1]] = "labels"
    return "/".join(parts)

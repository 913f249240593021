"""The pictures that INT8 scales are taken from: a user's own, decoded a few at a time, bounded in count and time."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from model_repo_builder.errors import Failed
from model_repo_builder.frames import fitted, with_channels
from model_repo_builder.picture_archive import PictureArchive, opened_zip
from yolofleet.api.build import FEWEST_PICTURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from model_repo_builder.errors import Origin
    from model_repo_builder.http_source import Fetched
    from model_repo_builder.onnx_graph import Array
    from model_repo_builder.progress import Report
    from yolofleet.api.recipe import ImageSize

LAYOUT = "give a .zip of the cameras' own pictures (.jpg, .png, .bmp, .webp), in any folders"
IMAGES = "spec.engine.calibration.images"
LIMIT_S = 900.0
"""A build has an hour (builds.deadlineSeconds), and more to do than this."""
COMPARED = 16
"""Frames on which a quantised graph is compared with the one that it was made of."""


@contextmanager
def opened(got: Fetched, origin: Origin, *, images: int, size: ImageSize, channels: int) -> Iterator[CalibrationSet]:
    """Open an archive of pictures; what is wrong with it is refused under the name that the user wrote."""
    with opened_zip(got, origin, LAYOUT) as archive:
        told = PictureArchive(archive, got.sha256, origin, LAYOUT)
        names = told.members("train")
        if len(names) < FEWEST_PICTURES:
            raise told.refused(
                f"too few pictures to take scales from: {len(names)}, and {FEWEST_PICTURES} are needed",
                "give a few hundred of the cameras' own, from different hours",
            )
        yield CalibrationSet(archive=told, names=tuple(spread(names, images)), size=size, channels=channels)


def spread(names: Sequence[str], count: int) -> list[str]:
    """Return so many of them, evenly: neighbours of a film show the same."""
    if len(names) <= count:
        return list(names)
    return [names[index * len(names) // count] for index in range(count)]


@dataclass(frozen=True, kw_only=True)
class CalibrationSet:
    """Pictures of an open archive, as a model takes them."""

    archive: PictureArchive
    names: tuple[str, ...]
    size: ImageSize
    channels: int

    def batches(self, report: Report, *, at_once: int) -> Iterator[Array]:
        """Yield frames (N, C, H, W) from 0 to 1, a few at a time; Failed where it takes too long."""
        began, count = time.monotonic(), len(self.names)
        for start in range(0, count, at_once):
            if (spent := time.monotonic() - began) > LIMIT_S:
                raise _too_slow(start, count, spent)
            report(start / count, f"scales: picture {start + 1} of {count}")
            yield self._frames(self.names[start : start + at_once])

    def some(self) -> Array:
        """Return the few frames that a quantised graph is compared on."""
        return self._frames(spread(self.names, COMPARED))

    def _frames(self, names: Sequence[str]) -> Array:
        pixels = [fitted(self.archive.picture(name), self.size)[0].transpose(2, 0, 1) for name in names]
        return np.ascontiguousarray(with_channels(np.stack(pixels), self.channels))


def _too_slow(done: int, count: int, spent: float) -> Failed:
    return Failed(
        field=IMAGES,
        value=str(count),
        message=f"scales of {done} pictures took {spent:.0f} s, and {LIMIT_S:.0f} s are allowed for all",
        remedy=f"set {IMAGES} to {max(FEWEST_PICTURES, done * 9 // 10)}, or give builds.resources more CPU",
    )

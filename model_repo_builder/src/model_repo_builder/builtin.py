"""The closed table of model names that need no source: bundled weights and Ultralytics' own releases."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from model_repo_builder.errors import Refused

if TYPE_CHECKING:
    from collections.abc import Iterable

    from yolofleet.api.recipe import Task

SUFFIXES: dict[str, Task] = {"": "Detect", "-seg": "Segment", "-pose": "Pose", "-obb": "OBB", "-cls": "Classify"}
"""How Ultralytics' names tell the task."""


@dataclass(frozen=True)
class Family:
    """Names of one release: prefix, one of the sizes, ending, one of the tasks' suffixes."""

    prefix: str
    sizes: tuple[str, ...]
    suffixes: tuple[str, ...] = ("",)
    ending: str = ""

    def models(self) -> dict[str, Task]:
        """Return every name of the family and its task."""
        return {
            f"{self.prefix}{size}{self.ending}{suffix}": SUFFIXES[suffix]
            for size in self.sizes
            for suffix in self.suffixes
        }


ALL = tuple(SUFFIXES)
FAMILIES = (
    Family("yolov3", ("", "-spp", "-tiny"), ending="u"),
    Family("yolov5", tuple("nsmlx"), ending="u"),
    Family("yolov5", ("n6", "s6", "m6", "l6", "x6"), ending="u"),
    Family("yolov8", tuple("nsmlx"), ALL),
    Family("yolov9", tuple("tsmce")),
    Family("yolov9", tuple("ce"), ("-seg",)),
    Family("yolov10", tuple("nsmblx")),
    Family("yolo11", tuple("nsmlx"), ALL),
    Family("yolo12", tuple("nsmlx")),
    Family("yolo26", tuple("nsmlx"), ALL),
)
"""What ultralytics 8.4.190 lists for its release v8.4.0 (utils/downloads.py), for the five tasks that are served."""
RELEASED: dict[str, Task] = {name: task for family in FAMILIES for name, task in family.models().items()}


def bundled() -> dict[str, Path]:
    """Return the weights that come with this package, by name."""
    folder = Path(str(files("model_repo_builder"))) / "weights"
    return {path.stem: path for path in sorted(folder.glob("*.pt"))}


def unknown(name: str, known: Iterable[str]) -> Refused:
    """Say that no model is called `name`, with the closest names there are."""
    close = difflib.get_close_matches(name, sorted(known), n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(close)}?" if close else "for example yolo26n or yolo11s-seg"
    return Refused(
        field="spec.model.builtin",
        value=name,
        message="no built-in model has this name",
        remedy=f"{hint} Other weights come by spec.model.http or spec.model.pvc",
    )

"""One build in one process, as a person runs it: fetch → convert → publish, or the reason why not."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from model_repo_builder import request, timings
from model_repo_builder.convert import Conversion
from model_repo_builder.errors import Failed, Refused, failure_of
from model_repo_builder.fetch import Fetch
from model_repo_builder.store import DamagedError, Stored
from yolofleet.api.build import BuildRequest, BuildResult
from yolofleet.api.curve import row_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from model_repo_builder.progress import Board
    from model_repo_builder.settings import Settings
    from model_repo_builder.store import Store, Writer

R = TypeVar("R")


@dataclass(frozen=True, kw_only=True)
class Build:
    """One build; all that it touches is handed to it."""

    request: BuildRequest
    settings: Settings
    store: Store
    board: Board
    pictures: Path | None = None
    """A folder of the user's own pictures, for the gate of an engine."""
    optimization_level: int = 3
    """Of TensorRT's builder: 1 builds in a third of the time."""

    def run(self) -> BuildResult:
        """Build unless it is built already; every outcome but a bug is a result."""
        return outcome_of(self._run)

    def _run(self) -> BuildResult:
        request.check(self.request)
        request.check_device(self.request)
        return self._found() or self._written()

    def _found(self) -> BuildResult | None:
        return found(self.store, self.request.key, self.board)

    def _written(self) -> BuildResult:
        with self.store.writing(self.request.key, self._waiting) as writer:
            if known := self._found():
                return known
            with tempfile.TemporaryDirectory(dir=self.settings.places.work, prefix="yolofleet-") as scratch:
                stored = self._made(writer, Path(scratch))
        self.board.tell("Publish", 1.0, "published")
        return result_of(stored, "Published")

    def _waiting(self) -> None:
        self.board.tell("Fetch", 0.0, "another builder writes this key; waiting for its result")

    def _made(self, writer: Writer, scratch: Path) -> Stored:
        fetch = Fetch(settings=self.settings, folder=scratch, report=self.board.stage("Fetch"))
        weights = fetch.run(self.request.source, self.request.recipe.task)
        labelled, scales = self.request.labelled, self.request.calibration
        conversion = Conversion(
            request=self.request,
            board=self.board,
            folder=writer.folder,
            scratch=scratch,
            pictures=self.pictures,
            optimization_level=self.optimization_level,
            dataset=fetch.bring_dataset(labelled.source) if labelled else None,
            calibration=fetch.bring_calibration(scales.source) if scales else None,
            timings=timings.brought(self.store, self.request, scratch, self.board),
        )
        made = conversion.run(weights)
        self.board.tell("Publish", 0.2, "writing the manifest")
        return writer.publish(made)


def outcome_of(run: Callable[[], R]) -> R | BuildResult:
    """Return what a run comes to: every outcome but a bug is a result."""
    try:
        return run()
    except Refused as error:
        return BuildResult(outcome="Refused", failure=failure_of(error))
    except Failed as error:
        return BuildResult(outcome="Failed", failure=failure_of(error))
    except OSError as error:
        return BuildResult(outcome="Failed", failure=failure_of(broken_volume(error)))


def found(store: Store, key: str, board: Board) -> BuildResult | None:
    """Return what is published already; a damaged one counts as none, and publishing replaces it."""
    try:
        stored = store.find(key)
    except DamagedError as error:
        board.tell("Fetch", 0.0, f"building again: {error}")
        return None
    if stored is None:
        return None
    board.tell("Publish", 1.0, "published already")
    return result_of(stored, "Cached")


def result_of(stored: Stored, outcome: str) -> BuildResult:
    """Return the result for a published engine."""
    weights = stored.manifest.provenance.get("weightsSHA256")
    told = {
        "artifact": stored.artifact,
        "weightsSHA256": weights,
        "gate": stored.manifest.gate,
        "work": stored.manifest.work,
        "rows": [row_of(point) for point in stored.manifest.points or []] or None,
    }
    return BuildResult.model_validate({"outcome": outcome} | told)


def broken_volume(error: OSError) -> Failed:
    """Say what the operating system said of a file."""
    return Failed(
        message=f"a file operation broke: {error.strerror or error}",
        value=str(error.filename or ""),
        remedy="check the room on the store's volume and on the pod's /tmp, and that uid 1000 may write",
    )

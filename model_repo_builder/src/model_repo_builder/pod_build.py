"""The three containers of a build pod: each does a part of a build, holds what that part needs, and nothing more."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from model_repo_builder import handover, request, timings
from model_repo_builder.build import found, result_of
from model_repo_builder.convert import Conversion
from model_repo_builder.errors import Failed
from model_repo_builder.fetch import Fetch, recognised
from yolofleet.api.build import FETCHED_FILE, BuildRequest, BuildResult

if TYPE_CHECKING:
    from model_repo_builder.progress import Board
    from model_repo_builder.settings import Settings
    from model_repo_builder.store import Store


@dataclass(frozen=True, kw_only=True)
class PodBuild:
    """A build as its pod's containers carry it out; None is what a container says that leaves the rest to the next."""

    request: BuildRequest
    settings: Settings
    board: Board

    def fetch(self, store: Store) -> BuildResult | None:
        """Bring weights and sets of pictures, unopened, unless the engine is there already; the store is read only."""
        request.check(self.request)
        places = self.settings.places
        if found(store, self.request.key, self.board) is not None:
            handover.say_published(places.weights)
            return None
        fetch = Fetch(settings=self.settings, folder=places.weights, report=self.board.stage("Fetch"))
        weights = fetch.bring(self.request.source, self.request.recipe.task)
        labelled, scales = self.request.labelled, self.request.calibration
        dataset = fetch.bring_dataset(labelled.source) if labelled else None
        calibration = fetch.bring_calibration(scales.source) if scales else None
        timings.brought(store, self.request, places.weights, self.board)
        handover.say_fetched(places.weights, weights, dataset, calibration)
        return None

    def convert(self) -> BuildResult | None:
        """Open the weights and make an engine of them, without store, grant, token and network."""
        places = self.settings.places
        told = handover.read_fetched(places.weights / FETCHED_FILE)
        if told.published:
            return None
        request.check_device(self.request)
        weights = recognised(*handover.weights_of(places.weights, told))
        folder = handover.emptied(places.engine)
        with tempfile.TemporaryDirectory(dir=places.work, prefix="yolofleet-") as scratch:
            conversion = Conversion(
                request=self.request,
                board=self.board,
                folder=folder,
                scratch=Path(scratch),
                dataset=handover.dataset_of(places.weights, told),
                calibration=handover.calibration_of(places.weights, told),
                timings=handover.timings_of(places.weights),
            )
            made = conversion.run(weights)
        handover.leave_draft(folder, made)
        return None

    def publish(self, store: Store) -> BuildResult:
        """Bring what convert left into the store, if it is what was asked for; the weights are not there."""
        places = self.settings.places
        told = handover.read_fetched(places.fetched)
        with store.writing(self.request.key, self._waiting) as writer:
            if known := found(store, self.request.key, self.board):
                return known
            if told.published:
                raise Failed(message="the engine went from the store during the build", remedy="it is tried again")
            self.board.tell("Publish", 0.2, "checking what convert left")
            stored = writer.publish(handover.take(places.engine, writer.folder, self.request, told))
        self.board.tell("Publish", 1.0, "published")
        return result_of(stored, "Published")

    def _waiting(self) -> None:
        self.board.tell("Publish", 0.0, "another builder writes this key; waiting for its result")

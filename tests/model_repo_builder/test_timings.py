"""A build begins with the timing cache of an earlier engine that is whole, and does without one that isn't."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_repo_builder import timings
from model_repo_builder.progress import Board
from model_repo_builder.store import FolderStore, describe
from tests.model_repo_builder.making import pvc, request
from tests.model_repo_builder.test_store import KEY, OTHER, told_of
from yolofleet.api.build import BuildRequest
from yolofleet.api.store import TIMINGS

KNOWN = b"what TensorRT timed"


@pytest.fixture
def wanted() -> BuildRequest:
    return request(pvc("m.onnx")).model_copy(update={"timings_of": KEY})


@pytest.fixture
def store(tmp_path: Path) -> FolderStore:
    """A store with one engine and its timings."""
    made = FolderStore(tmp_path / "store")
    made.root.mkdir()
    with made.writing(KEY) as writer:
        (writer.folder / "model.onnx").write_bytes(b"a whole model")
        (writer.folder / TIMINGS).write_bytes(KNOWN)
        told = told_of(writer.folder)
        files = [describe(writer.folder / name) for name in ("model.onnx", TIMINGS)]
        writer.publish(told.model_copy(update={"files": files}))
    return made


def brought(store: FolderStore, wanted: BuildRequest, folder: Path) -> tuple[Path | None, list[str]]:
    heard: list[str] = []
    board = Board(listeners=(lambda progress: heard.append(progress.message),))
    return timings.brought(store, wanted, folder, board), heard


def test_they_are_copied_and_said(store: FolderStore, wanted: BuildRequest, tmp_path: Path) -> None:
    path, heard = brought(store, wanted, tmp_path)
    assert path == tmp_path / TIMINGS
    assert path.read_bytes() == KNOWN
    assert heard == [f"begins with the kernel timings of {KEY[:12]}"]


def test_without_a_wish_nothing_is_looked_for(store: FolderStore, wanted: BuildRequest, tmp_path: Path) -> None:
    assert brought(store, wanted.model_copy(update={"timings_of": None}), tmp_path) == (None, [])


def test_an_engine_that_is_gone_or_has_none_is_done_without(
    store: FolderStore, wanted: BuildRequest, tmp_path: Path
) -> None:
    path, heard = brought(store, wanted.model_copy(update={"timings_of": OTHER}), tmp_path)
    assert (path, heard) == (None, [f"{OTHER[:12]} has no kernel timings"])


def test_damaged_ones_are_left_and_leave_nothing(store: FolderStore, wanted: BuildRequest, tmp_path: Path) -> None:
    (store.root / KEY / TIMINGS).write_bytes(b"what TensorRT timeD")
    path, (heard,) = brought(store, wanted, tmp_path)
    assert path is None
    assert heard.startswith("kernels are timed anew: ")
    assert not (tmp_path / TIMINGS).exists()

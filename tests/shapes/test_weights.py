"""The bundled weights are what their card says, and carry nothing of the machine that trained them."""

import hashlib
import json
import pickle
import zipfile
from pathlib import Path

import pytest

from e2e.shapes.checkpoint import pickled_globals, pickled_strings
from e2e.shapes.geometry import CLASS_NAMES

FOLDER = Path(__file__).parents[2] / "model_repo_builder" / "src" / "model_repo_builder" / "weights"
WEIGHTS = FOLDER / "yolo26n-shapes.pt"
CARD = json.loads((FOLDER / "yolo26n-shapes.json").read_text())
LICENCE = "AGPL-3.0 (https://ultralytics.com/license)"


def pack(path, content, *, protocol):
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("x/data.pkl", pickle.dumps(content, protocol=protocol))
    return path


def test_the_card_names_these_bytes():
    assert hashlib.sha256(WEIGHTS.read_bytes()).hexdigest() == CARD["sha256"]
    assert WEIGHTS.stat().st_size == CARD["size_bytes"] <= 6_000_000


def test_the_card_names_the_classes_of_the_generator():
    assert tuple(CARD["classes"]) == CLASS_NAMES
    assert set(CLASS_NAMES) <= set(pickled_strings(WEIGHTS))


def test_both_heads_see():
    assert {head: m["map50"] >= 0.97 for head, m in CARD["metrics"].items()} == {
        "one_to_many": True,
        "one_to_one": True,
    }


def test_loading_imports_what_the_card_lists_and_no_numpy():
    found = pickled_globals(WEIGHTS)
    assert list(found) == CARD["globals"]
    assert {name.split(".")[0] for name in found} == {"__builtin__", "collections", "torch", "ultralytics"}


def test_no_path_is_left_inside():
    assert [text for text in pickled_strings(WEIGHTS) if "/" in text or "\\" in text] == [LICENCE]


def test_globals_are_found(tmp_path):
    assert pickled_globals(pack(tmp_path / "a.pt", [Path("/x"), {1}], protocol=2)) == (
        "__builtin__.set",
        "pathlib.PosixPath",
    )


def test_a_protocol_that_hides_names_is_refused(tmp_path):
    with pytest.raises(ValueError, match="STACK_GLOBAL: save it with pickle protocol 2"):
        pickled_globals(pack(tmp_path / "a.pt", Path("/x"), protocol=4))


def test_an_archive_without_a_pickle_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.pt", "w") as archive:
        archive.writestr("x/version", "3")
    with pytest.raises(ValueError, match="holds 0 pickles, one is expected: save it with torch"):
        pickled_globals(tmp_path / "a.pt")

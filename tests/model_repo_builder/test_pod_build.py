"""A pod's three containers make what one process makes, and publish believes nothing that convert says."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from model_repo_builder import handover
from model_repo_builder.store import FolderStore
from tests.model_repo_builder.making import Bench, TinyYolo, checkpoint, pickled, pvc, request
from yolofleet.api.build import BuildResult

if TYPE_CHECKING:
    from collections.abc import Callable

SECRET = "a grant that nobody may have"


@pytest.fixture
def wanted(bench: Bench) -> Any:
    TinyYolo().save(bench.source / "m.onnx")
    return request(pvc("m.onnx"))


def files(folder: Path) -> dict[str, str]:
    """Return what lies in a folder, by digest."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_it_makes_what_one_process_makes(bench: Bench, wanted: Any, tmp_path: Path) -> None:
    (tmp_path / "alone").mkdir()
    alone = Bench(tmp_path / "alone")
    TinyYolo().save(alone.source / "m.onnx")
    assert bench.in_pod(wanted).outcome == alone.build(wanted).outcome == "Published"
    made, expected = (files(one.root / "store" / wanted.key) for one in (bench, alone))
    assert made == expected
    assert bench.leftovers() == []


def test_what_is_published_is_neither_fetched_nor_converted_again(bench: Bench, wanted: Any) -> None:
    first = bench.in_pod(wanted)
    (bench.source / "m.onnx").unlink()
    assert bench.in_pod(wanted) == first.model_copy(update={"outcome": "Cached"})


def test_a_damaged_engine_is_built_anew(bench: Bench, wanted: Any) -> None:
    first = bench.in_pod(wanted)
    (bench.root / "store" / wanted.key / "model.onnx").write_bytes(b"x")
    assert bench.in_pod(wanted) == first


def test_fetch_leaves_the_weights_unopened_and_convert_says_what_they_are(bench: Bench) -> None:
    (bench.source / "best.pt").write_bytes(b"<html>404</html>")
    seen: list[str] = []
    result = bench.in_pod(request(pvc("best.pt")), between=seen.append)
    assert seen == ["fetch", "convert"]
    assert result.failure is not None
    assert (result.outcome, result.failure.field) == ("Refused", "spec.model.pvc.path")
    assert "a web page" in result.failure.message


def test_a_hostile_pickle_ends_in_convert_by_the_name_of_its_global(bench: Bench) -> None:
    checkpoint(bench.source / "best.pt", pickled("os.system"))
    seen: list[str] = []
    result = bench.in_pod(request(pvc("best.pt")), between=seen.append)
    assert seen == ["fetch", "convert"]
    assert result.failure is not None
    assert "os.system" in result.failure.message
    assert files(bench.root / "store") == {}


def test_a_container_that_runs_twice_begins_anew(bench: Bench, wanted: Any) -> None:
    """As after a reboot of its node: what the first run left is not published."""
    (bench.root / "engine/model.plan").write_bytes(b"left over")
    (bench.root / "engine/folder").mkdir()
    assert bench.in_pod(wanted).outcome == "Published"
    assert "model.plan" not in files(bench.root / "store" / wanted.key)


def test_an_engine_that_goes_from_the_store_meanwhile_is_tried_again(bench: Bench, wanted: Any) -> None:
    bench.in_pod(wanted)

    def lose(name: str) -> None:
        if name == "publish":
            (bench.root / "store" / wanted.key).rename(bench.root / "gone")

    result = bench.in_pod(wanted, between=lose)
    assert result.failure is not None
    assert (result.outcome, result.failure.remedy) == ("Failed", "it is tried again")


def told(**parts: Any) -> Callable[[Path, dict[str, Any]], None]:
    """Make a draft that says something else."""
    return lambda _folder, draft: draft.update(parts)


def linked(name: str, to: str) -> Callable[[Path, dict[str, Any]], None]:
    """Put a link in the place of a file."""

    def lie(folder: Path, _draft: dict[str, Any]) -> None:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(to)

    return lie


def piped(folder: Path, _draft: dict[str, Any]) -> None:
    (folder / "model.onnx").unlink()
    os.mkfifo(folder / "model.onnx")


def changed(folder: Path, draft: dict[str, Any]) -> None:
    size = next(file["sizeBytes"] for file in draft["files"] if file["path"] == "model.onnx")
    (folder / "model.onnx").write_bytes(b"x" * size)


def grown(folder: Path, _draft: dict[str, Any]) -> None:
    with (folder / "model.onnx").open("ab") as file:
        file.write(b"more")


def missing(folder: Path, _draft: dict[str, Any]) -> None:
    (folder / "model.onnx").unlink()


def no_model(_folder: Path, draft: dict[str, Any]) -> None:
    draft["files"] = [file for file in draft["files"] if file["path"] != "model.onnx"]


def another_recipe(_folder: Path, draft: dict[str, Any]) -> None:
    draft["recipe"]["maxBatchSize"] = 4


def away(_folder: Path, draft: dict[str, Any]) -> None:
    draft["files"][0]["path"] = "../../other/model.onnx"


def endless(_folder: Path, draft: dict[str, Any]) -> None:
    draft["metadata"] = {"names": "x" * (17 * 1024**2)}


LIES: dict[str, tuple[Callable[[Path, dict[str, Any]], None], str]] = {
    "another key": (told(key="f" * 64), "another build: its key"),
    "another recipe": (another_recipe, "another build: its recipe"),
    "another backend": (told(backend="TensorRT"), "another build: its backend"),
    "a batch of 900": (told(maxBatchSize=9000), "no manifest"),
    "a batch that is no number": (told(maxBatchSize=float("nan")), "no manifest"),
    "a path that leads out": (away, "no manifest"),
    "no model": (no_model, "its files"),
    "a model that is not there": (missing, "can't be opened"),
    "a model that is another one": (changed, "has sha256"),
    "a model that has grown": (grown, "no plain file"),
    "a link to what publish alone may read": (linked("model.onnx", "/proc/self/environ"), "can't be opened"),
    "a manifest that is a link": (linked("draft.json", "/proc/self/environ"), "can't be opened"),
    "a pipe that nobody writes": (piped, "no plain file"),
    "a text without end": (endless, "no manifest"),
}


@pytest.mark.parametrize("name", LIES)
def test_what_convert_leaves_is_judged_before_it_is_published(
    name: str, bench: Bench, wanted: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A condition, and nothing else: the store stays empty, and no word of publish's own gets out."""
    monkeypatch.setenv("YOLOFLEET_GRANT_OF_A_TEST", SECRET)
    lie, words = LIES[name]

    def between(phase: str) -> None:
        if phase == "publish":
            path = bench.root / "engine/draft.json"
            draft = json.loads(path.read_bytes())
            path.write_text("{}")
            lie(path.parent, draft)
            if not path.is_symlink():
                path.write_text(json.dumps(draft))

    result = bench.in_pod(wanted, between=between)
    assert result.outcome == "Failed"
    assert result.failure is not None
    assert words in result.failure.message
    assert SECRET not in result.model_dump_json()
    assert FolderStore(bench.root / "store").find(wanted.key) is None
    assert files(bench.root / "store") == {}


def test_where_an_engine_comes_from_is_not_for_convert_to_say(bench: Bench, wanted: Any) -> None:
    """Digest, source and builder are what fetch and the operator know; the rest is bounded."""

    def between(phase: str) -> None:
        if phase == "publish":
            path = bench.root / "engine/draft.json"
            draft = json.loads(path.read_bytes())
            draft["provenance"] |= {"weightsSHA256": "0" * 64, "source": "builtin:x", "notes": "n" * 10_000}
            draft["provenance"] |= {f"more{number:03d}": "x" for number in range(200)}
            draft["attempt"] = "another"
            path.write_text(json.dumps(draft))

    result = bench.in_pod(wanted, between=between)
    digest = hashlib.sha256((bench.source / "m.onnx").read_bytes()).hexdigest()
    assert (result.outcome, result.weights_sha256) == ("Published", digest)
    stored = FolderStore(bench.root / "store").find(wanted.key)
    assert stored is not None
    said = stored.manifest.provenance
    assert (said["source"], said["weightsSHA256"]) == ("pvc:weights/m.onnx", digest)
    assert len(said) <= handover.MAX_NOTES + 4
    assert max(map(len, said.values())) <= handover.MAX_NOTE
    assert stored.manifest.attempt is None


def test_files_that_are_on_no_list_stay_behind(bench: Bench, wanted: Any) -> None:
    def between(phase: str) -> None:
        if phase == "publish":
            path = bench.root / "engine/draft.json"
            draft = json.loads(path.read_bytes())
            (path.parent / "sitecustomize.py").write_text("import os")
            draft["files"].append({"path": "sitecustomize.py", "sha256": "0" * 64, "sizeBytes": 9})
            path.write_text(json.dumps(draft))

    assert bench.in_pod(wanted, between=between).outcome == "Published"
    assert files(bench.root / "store" / wanted.key).keys() == {"manifest.json", "metadata.json", "model.onnx"}


@pytest.mark.parametrize("words", ["", "[]", '{"sha256": "x"}'])
def test_without_a_word_of_fetch_nothing_is_converted(words: str, bench: Bench, wanted: Any) -> None:
    def between(phase: str) -> None:
        if phase == "convert":
            (bench.root / "weights/fetched.json").write_text(words)

    result: BuildResult = bench.in_pod(wanted, between=between)
    assert result.outcome == "Failed"
    assert result.failure is not None
    assert "fetch left no word" in result.failure.message

"""Whole or not at all: crashes, races, damage, and what dead builders leave."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from model_repo_builder import key_lock, store
from model_repo_builder.errors import Failed
from model_repo_builder.manifest import Manifest, TensorSpec, decode, encode
from model_repo_builder.store import DamagedError, FolderStore, Stored, describe
from tests.model_repo_builder.making import request

if TYPE_CHECKING:
    from collections.abc import Iterator

REQUEST = request({"builtin": "yolo26n-shapes"})
KEY = REQUEST.key
OTHER = request({"builtin": "yolo26n"}).key

WRITER = """
import sys, time
from pathlib import Path
from model_repo_builder.store import FolderStore
with FolderStore(Path(sys.argv[1])).writing(sys.argv[2]) as writer:
    with (writer.folder / "model.onnx").open("wb") as file:
        file.write(b"half a model")
        file.flush()
        print("writing", flush=True)
        time.sleep(60)
"""
RACER = """
import sys
from pathlib import Path
from tests.model_repo_builder.test_store import publish
from model_repo_builder.store import FolderStore
root, content = Path(sys.argv[1]), sys.argv[2].encode()
engines = FolderStore(root)
print("ready", flush=True)
sys.stdin.readline()
made = 0
for _ in range(5):
    with engines.writing(sys.argv[3]) as writer:
        if engines.find(sys.argv[3]) is None:
            publish(writer, content)
            made += 1
print(made, flush=True)
"""


def told_of(folder: Path, key: str = KEY) -> Manifest:
    tensor = TensorSpec(name="images", data_type="FP32", dims=[-1, 3, 64, 64])
    return Manifest(
        key=key,
        backend="ONNXRuntime",
        max_batch_size=8,
        files=[describe(path) for path in sorted(folder.iterdir())],
        inputs=[tensor],
        outputs=[tensor],
        metadata={"names": {"0": "a"}},
        recipe=REQUEST.recipe,
        provenance={},
    )


def publish(writer: store.Writer, content: bytes = b"a whole model", key: str = KEY) -> Stored:
    (writer.folder / "model.onnx").write_bytes(content)
    return writer.publish(told_of(writer.folder, key))


def child(program: str, *arguments: str) -> subprocess.Popen[str]:
    here = Path(__file__).parents[2]
    path = os.pathsep.join(map(str, (here, here / "operator/src", here / "model_repo_builder/src")))
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        stdout=subprocess.PIPE,
        stdin=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )


@contextmanager
def dead_writer(root: Path, key: str = KEY) -> Iterator[None]:
    """A builder that was killed while it wrote a file."""
    with child(WRITER, str(root), key) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "writing\n"
        process.send_signal(signal.SIGKILL)
        process.wait()
        yield


def visible(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir() if not path.name.startswith("."))


def staged(root: Path) -> list[str]:
    return sorted(path.name for path in (root / ".staging").iterdir())


def test_nothing_is_seen_before_it_is_whole(tmp_path: Path) -> None:
    engines = FolderStore(tmp_path)
    with engines.writing(KEY) as writer:
        (writer.folder / "model.onnx").write_bytes(b"half")
        assert engines.find(KEY) is None
        assert visible(tmp_path) == []
        publish(writer)
        found = engines.find(KEY)
    assert found is not None
    assert (found.folder / "model.onnx").read_bytes() == b"a whole model"
    assert visible(tmp_path) == [KEY]
    assert staged(tmp_path) == []


def test_a_published_engine_can_be_read_by_others(tmp_path: Path) -> None:
    with FolderStore(tmp_path).writing(KEY) as writer:
        stored = publish(writer)
    assert stored.folder.stat().st_mode & 0o777 == 0o755
    assert (stored.folder / "model.onnx").stat().st_mode & 0o777 == 0o644
    assert stored.artifact.uri == f"file://{tmp_path}/{KEY}"
    assert stored.artifact.size_bytes == sum(path.stat().st_size for path in stored.folder.iterdir())


def test_what_is_not_published_is_gone(tmp_path: Path) -> None:
    def broken() -> None:
        with FolderStore(tmp_path).writing(KEY) as writer:
            (writer.folder / "model.onnx").write_bytes(b"half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        broken()
    assert staged(tmp_path) == []
    assert visible(tmp_path) == []
    assert list((tmp_path / ".locks").iterdir()) == []


def test_a_killed_writer_blocks_nobody_and_its_rest_is_removed(tmp_path: Path) -> None:
    with dead_writer(tmp_path):
        assert len(staged(tmp_path)) == 1
        began = time.monotonic()
        with FolderStore(tmp_path).writing(KEY) as writer:
            assert staged(tmp_path) == [writer.folder.name]
            publish(writer)
        assert time.monotonic() - began < 10  # seconds of a busy machine, not the minute that the writer had left
    assert FolderStore(tmp_path).find(KEY) is not None
    assert staged(tmp_path) == []


def test_what_a_killed_writer_of_another_key_left_is_removed_too(tmp_path: Path) -> None:
    with dead_writer(tmp_path, OTHER), FolderStore(tmp_path).writing(KEY) as writer:
        assert staged(tmp_path) == [writer.folder.name]


def test_a_living_writer_of_another_key_is_left_alone(tmp_path: Path) -> None:
    engines = FolderStore(tmp_path)
    with engines.writing(OTHER) as other:
        (other.folder / "model.onnx").write_bytes(b"half")
        with engines.writing(KEY) as writer:
            publish(writer)
        assert (other.folder / "model.onnx").read_bytes() == b"half"
        publish(other, key=OTHER)
    assert visible(tmp_path) == sorted([KEY, OTHER])


def test_a_second_writer_waits_and_sees_the_firsts_result(tmp_path: Path) -> None:
    engines, waited, seen = FolderStore(tmp_path), threading.Event(), []

    def second() -> None:
        with engines.writing(KEY, waited.set):
            seen.append(engines.find(KEY))

    with engines.writing(KEY) as writer:
        thread = threading.Thread(target=second)
        thread.start()
        assert waited.wait(30)
        first = publish(writer)
    thread.join(30)
    assert [stored.artifact for stored in seen if stored] == [first.artifact]


def test_a_writer_that_never_ends_is_not_waited_for_for_ever(tmp_path: Path) -> None:
    with FolderStore(tmp_path).writing(KEY):
        began = time.monotonic()
        with pytest.raises(Failed, match="another builder") as caught, FolderStore(tmp_path, wait_s=0.3).writing(KEY):
            pass
        assert time.monotonic() - began < 10
    assert caught.value.value == KEY


def test_of_many_processes_one_publishes_and_all_see_one_result(tmp_path: Path) -> None:
    racers = [child(RACER, str(tmp_path), f"content {index}", KEY) for index in range(4)]
    for racer in racers:
        assert racer.stdout is not None
        assert racer.stdout.readline() == "ready\n"
    made = [int(racer.communicate("go\n", timeout=60)[0]) for racer in racers]
    assert [racer.returncode for racer in racers] == [0] * 4
    assert sum(made) == 1
    found = FolderStore(tmp_path).find(KEY)
    assert found is not None
    assert (found.folder / "model.onnx").read_bytes().startswith(b"content ")
    assert staged(tmp_path) == []


def test_without_locks_the_second_rename_yields_to_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no locks: two builders write at once, the first result stands."""
    monkeypatch.setattr(key_lock, "_take", lambda path: -1)
    engines = FolderStore(tmp_path)
    with engines.writing(KEY) as one, engines.writing(KEY) as two:
        first = publish(one, b"first")
        second = publish(two, b"second")
    assert second.artifact == first.artifact
    found = engines.find(KEY)
    assert found is not None
    assert (found.folder / "model.onnx").read_bytes() == b"first"


def published(tmp_path: Path) -> Stored:
    with FolderStore(tmp_path).writing(KEY) as writer:
        return publish(writer)


DAMAGES = {
    "a flipped byte": lambda folder: (folder / "model.onnx").write_bytes(b"a whOle model"),
    "a cut file": lambda folder: (folder / "model.onnx").write_bytes(b"a whole"),
    "a missing file": lambda folder: (folder / "model.onnx").unlink(),
    "no manifest": lambda folder: (folder / "manifest.json").unlink(),
    "half a manifest": lambda folder: (folder / "manifest.json").write_text('{"version": 1, "key'),
    "a manifest of later days": lambda folder: (folder / "manifest.json").write_text('{"version": 2}'),
    "a path out": lambda folder: (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace('"model.onnx"', '"../model.onnx"')
    ),
    "another's manifest": lambda folder: (folder / "manifest.json").write_text(
        (folder / "manifest.json").read_text().replace(folder.name, OTHER)
    ),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_noticed_and_publishing_again_repairs_it(name: str, tmp_path: Path) -> None:
    stored = published(tmp_path)
    DAMAGES[name](stored.folder)
    engines = FolderStore(tmp_path)
    with pytest.raises(DamagedError):
        engines.find(KEY)
    with engines.writing(KEY) as writer:
        publish(writer)
    assert engines.find(KEY) is not None
    assert staged(tmp_path) == []


def test_publishing_twice_keeps_the_first(tmp_path: Path) -> None:
    first = published(tmp_path)
    with FolderStore(tmp_path).writing(KEY) as writer:
        again = publish(writer, b"another model")
    assert again.artifact == first.artifact
    assert (first.folder / "model.onnx").read_bytes() == b"a whole model"


def test_a_store_that_is_not_mounted_is_told(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="mounted") as caught, FolderStore(tmp_path / "absent").writing(KEY):
        pass
    assert "absent" in caught.value.value


def test_a_manifest_reads_back(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x")
    told = told_of(tmp_path)
    assert decode(encode(told)) == told
    assert encode(decode(encode(told))) == encode(told)

"""The container's contract: environment in, termination message and exit code out; and the same by hand."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from model_repo_builder.__main__ import main
from model_repo_builder.errors import Failed, clip, failure_of
from model_repo_builder.settings import BUILTIN_URL, settings_from
from model_repo_builder.store import FolderStore
from model_repo_builder.termination import words
from tests.model_repo_builder.making import Bench, TinyYolo, checkpoint, pickled, pvc, request, server
from yolofleet.api.build import BUILD_ENV, EXIT_REFUSED, PHASES, SERVE_ENV, BuildResult, Failure
from yolofleet.api.recipe import engine_key
from yolofleet.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
PATH = os.pathsep.join(map(str, (ROOT, ROOT / "operator/src", ROOT / "model_repo_builder/src")))


@pytest.fixture(autouse=True)
def _own_signals() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "termination-log"
    path.touch()
    return path


def folders(bench: Bench) -> list[str]:
    """Where a pod's container finds things."""
    told = {"out": "store", "source": "source", "weights": "weights", "fetched": "weights/fetched.json"}
    return [part for name, at in (told | {"engine": "engine"}).items() for part in (f"--{name}", str(bench.root / at))]


def run(bench: Bench, log: Path) -> int:
    """Run the containers of a build pod as Kubernetes does: the first that fails is the last."""
    log.write_bytes(b"")
    for phase in PHASES:
        arguments = [phase, *folders(bench), "--progress-port", "0", "--termination-log", str(log)]
        if code := converted(arguments) if phase == "convert" else main(arguments):
            return code
    return 0


def converted(arguments: list[str]) -> int:
    """Run the container that forks, and gives up the network, in a process of its own."""
    command = [sys.executable, "-m", "model_repo_builder", *arguments]
    return subprocess.run(command, env=os.environ | {"PYTHONPATH": PATH}, timeout=120, check=False).returncode


def result(log: Path) -> BuildResult:
    return BuildResult.model_validate_json(log.read_bytes())


def test_published_then_cached(bench: Bench, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    TinyYolo().save(bench.source / "m.onnx")
    wanted = request(pvc("m.onnx"))
    monkeypatch.setenv(BUILD_ENV, json.dumps(wanted.wire()))
    assert run(bench, log) == 0
    first = result(log)
    assert first.outcome == "Published"
    assert first.failure is None
    assert first.weights_sha256
    assert first.gate is not None
    assert first.work is not None
    assert first.work.megaflops + first.work.weight_kilobytes > 0, "what an estimate is made from"
    assert first.gate.sentence().endswith("frames against itself (finite, right shapes): largest error 0")
    assert first.artifact
    assert first.artifact.uri.endswith(wanted.key)
    assert run(bench, log) == 0
    assert result(log) == first.model_copy(update={"outcome": "Cached"})
    captured = capsys.readouterr()
    assert BuildResult.model_validate_json(captured.out.splitlines()[0]) == first
    assert "100 %" in captured.err


def test_refused_is_42(bench: Bench, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint(bench.source / "best.pt", pickled("os.system"))
    monkeypatch.setenv(BUILD_ENV, json.dumps(request(pvc("best.pt")).wire()))
    assert run(bench, log) == EXIT_REFUSED
    told = result(log)
    assert told.outcome == "Refused"
    assert told.failure is not None
    assert "os.system" in told.failure.message


def test_failed_is_1(bench: Bench, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bench.root / "store").rmdir()
    TinyYolo().save(bench.source / "m.onnx")
    monkeypatch.setenv(BUILD_ENV, json.dumps(request(pvc("m.onnx")).wire()))
    assert run(bench, log) == 1
    assert result(log).outcome == "Failed"


def test_a_missing_request_is_refused(bench: Bench, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(BUILD_ENV, raising=False)
    assert run(bench, log) == EXIT_REFUSED
    failure = result(log).failure
    assert failure is not None
    assert failure.field == BUILD_ENV


def test_a_bug_is_loud_and_may_be_tried_again(
    bench: Bench, log: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setenv(BUILD_ENV, json.dumps(request(pvc("m.onnx")).wire()))
    monkeypatch.setattr("model_repo_builder.pod_build.Fetch.bring", lambda *_: 1 / 0)
    assert run(bench, log) == 1
    failure = result(log).failure
    assert failure is not None
    assert "ZeroDivisionError" in failure.message
    assert "Traceback" in capsys.readouterr().err
    assert bench.leftovers() == []


def test_wrong_settings_are_told(bench: Bench, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(BUILD_ENV, json.dumps(request(pvc("m.onnx")).wire()))
    monkeypatch.setenv("YOLOFLEET_BUILTIN_URL", "ftp://mirror")
    assert run(bench, log) == 1
    failure = result(log).failure
    assert failure is not None
    assert "YOLOFLEET_BUILTIN_URL is 'ftp://mirror'" in failure.message


STOPPED = """
import sys
from dataclasses import replace
from model_repo_builder import __main__ as program
from model_repo_builder.settings import settings_from
from tests.model_repo_builder.making import LOOPBACK
program.settings_from = lambda *a, **k: replace(settings_from(*a, **k), rules=LOOPBACK)
sys.exit(program.main(sys.argv[1:]))
"""


def test_sigterm_leaves_a_clean_store_and_last_words(bench: Bench, log: Path) -> None:
    """Killed in the middle of a download, as when its node is drained."""
    downloading: list[int] = []

    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        downloading.append(1)
        try:
            while True:
                handler.wfile.write(b"x" * 1024)
                handler.wfile.flush()
                time.sleep(0.02)
        except OSError:
            return

    with server({"/m.pt": drip}) as base:
        wanted = request({"http": {"url": f"{base}/m.pt", "sha256": "0" * 64}})
        environment = os.environ | {
            BUILD_ENV: json.dumps(wanted.wire()),
            "PYTHONPATH": PATH,
            "TMPDIR": str(bench.root / "work"),
        }
        arguments = ["fetch", *folders(bench), "--progress-port", "0", "--termination-log", str(log)]
        with subprocess.Popen([sys.executable, "-c", STOPPED, *arguments], env=environment) as process:
            deadline = time.monotonic() + 60
            while not downloading and time.monotonic() < deadline:
                time.sleep(0.02)
            assert downloading
            process.terminate()
            assert process.wait(60) == 1
    told = result(log)
    assert told.outcome == "Failed"
    assert told.failure is not None
    assert "SIGTERM" in told.failure.message
    assert bench.leftovers() == []
    assert [path.name for path in (bench.root / "store").iterdir() if not path.name.startswith(".")] == []


def test_assemble_by_environment(bench: Bench, log: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    TinyYolo().save(bench.source / "m.onnx")
    wanted = request(pvc("m.onnx"))
    bench.build(wanted)
    monkeypatch.setenv(SERVE_ENV, json.dumps({"key": wanted.key, "modelName": "gate", "maxBatchSize": 4}))
    places = ("--store", str(bench.root / "store"), "--models", str(bench.root / "models"))
    assert main(["assemble", *places, "--termination-log", str(log)]) == 0
    assert (bench.root / "models/gate/config.pbtxt").is_file()
    assert log.read_bytes() == b""
    (bench.root / "store" / wanted.key / "model.onnx").write_bytes(b"x")
    assert main(["assemble", *places, "--termination-log", str(log)]) == 1
    assert "manifest says" in Failure.model_validate_json(log.read_bytes()).message


def test_by_hand_with_a_file(bench: Bench, capsys: Any) -> None:
    path = TinyYolo().save(bench.root / "mine.onnx")
    store, models = bench.root / "made", bench.root / "models"
    assert main(["build", "--model", str(path), "--image-size", "64x64", "--out", str(store)]) == 0
    (key,) = [folder.name for folder in store.iterdir() if not folder.name.startswith(".")]
    said = capsys.readouterr().out
    assert f"Published: {store}/{key}" in said
    assert "next: python -m model_repo_builder assemble" in said
    assert main(["assemble", "--store", str(store), "--key", key, "--models", str(models), "--name", "mine"]) == 0
    assert (models / "mine/1/model.onnx").is_file()
    stored = FolderStore(store).find(key)
    assert stored is not None
    assert key == engine_key(
        recipe=stored.manifest.recipe,
        target=None,
        builder=request(pvc("x")).builder.model_copy(update={"version": stored.manifest.provenance["builderVersion"]}),
    )


def test_a_changed_file_of_the_same_name_is_another_engine(bench: Bench) -> None:
    store = bench.root / "made"
    for channels in (6, 6, 7):
        tiny = TinyYolo(channels=channels, metadata=None)
        path = tiny.save(bench.root / "mine.onnx")
        assert main(["build", "--model", str(path), "--image-size", "64x64", "--out", str(store)]) == 0
    assert len([folder for folder in store.iterdir() if not folder.name.startswith(".")]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "yolo26nn"], "did you mean"),
        (["--model", "https://example.com/best.pt"], "spec.model.http.sha256"),
        (["--model", "nowhere/best.pt"], "no such file"),
        (["--model", "my model.pt"], "rename the file"),
        (["--model", "yolo26n-shapes", "--image-size", "640"], "write height x width"),
        (["--model", "yolo26n-shapes", "--image-size", "100x640"], "spec.engine.imageSize.height"),
        (["--model", "yolo26n-shapes", "--backend", "TensorRT"], "backend: ONNXRuntime"),
        (["--model", "yolo26n-shapes", "--max-batch-size", "0"], "spec.engine.maxBatchSize"),
        (["--model", "Bad Name"], "spec.model.builtin"),
    ],
)
def test_wrong_arguments_are_refused_with_what_to_do(
    arguments: list[str], said: str, bench: Bench, capsys: Any
) -> None:
    assert main(["build", "--out", str(bench.root / "made"), *arguments]) == EXIT_REFUSED
    captured = capsys.readouterr()
    assert captured.err.splitlines()[-1].startswith("Refused: ")
    assert said in captured.err


LIGHT = """
import sys
sys.modules |= dict.fromkeys(("torch", "ultralytics", "onnx", "onnxruntime", "tensorrt", "cv2"))  # importing one fails
import model_repo_builder.__main__ as program
sys.exit(program.main(sys.argv[1:]))
"""


@pytest.mark.parametrize("verb", [*PHASES, "assemble"])
def test_cached_builds_and_assembly_import_nothing_heavy(verb: str, bench: Bench) -> None:
    """The operator's image has none of it, and a cached build ends in about a second."""
    TinyYolo().save(bench.source / "m.onnx")
    wanted = request(pvc("m.onnx"))
    bench.build(wanted)
    serve = {"key": wanted.key, "modelName": "gate", "maxBatchSize": 4}
    environment = {BUILD_ENV: json.dumps(wanted.wire()), SERVE_ENV: json.dumps(serve), "PYTHONPATH": PATH}
    (bench.root / "weights/fetched.json").write_text('{"published": true}')
    in_pod = [*folders(bench), "--progress-port", "0"]
    assembling = ["--store", str(bench.root / "store"), "--models", str(bench.root / "models")]
    command = [sys.executable, "-c", LIGHT, verb, *(assembling if verb == "assemble" else in_pod)]
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("char", ["x", "é", "漢", "🦙", '"', "\\", "\n"])
def test_last_words_always_fit(char: str) -> None:
    long = Failure(field=char * 256, value=char * 512, message=char * 1024, remedy=char * 512)
    for told in (BuildResult(outcome="Refused", failure=long), long):
        assert len(words(told)) <= 4096
        assert type(told).model_validate_json(words(told))


def test_short_words_are_left_alone() -> None:
    told = BuildResult(outcome="Refused", failure=Failure(field="spec.model", message="no", remedy="yes"))
    assert BuildResult.model_validate_json(words(told)) == told


def test_long_texts_keep_beginning_and_end() -> None:
    failure = failure_of(Failed(message="begin" + "x" * 5000 + "end", remedy="r"))
    assert failure.message.startswith("begin")
    assert failure.message.endswith("end")
    assert len(failure.message) == 1024
    assert clip("a\nb\x00c", 10) == "a b c"


def test_settings_have_defaults_and_say_what_is_wrong() -> None:
    assert settings_from({}).builtin_url == BUILTIN_URL
    assert settings_from({"YOLOFLEET_BUILTIN_URL": "http://mirror/x/"}).builtin_url == "http://mirror/x"
    assert settings_from({"YOLOFLEET_MAX_MODEL_MIB": "3"}).limits.max_bytes == 3 * 1024**2
    assert settings_from({}).rules.allowed == ()
    for wrong in ("0", "-1", "1.5", "many"):
        with pytest.raises(SettingsError, match="YOLOFLEET_MAX_MODEL_MIB"):
            settings_from({"YOLOFLEET_MAX_MODEL_MIB": wrong})

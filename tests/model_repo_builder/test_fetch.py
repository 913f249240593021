"""The fetch: retries what may pass, follows redirects, reports, and tells models by content."""

from __future__ import annotations

import hashlib
import subprocess
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from model_repo_builder.builtin import RELEASED, bundled
from model_repo_builder.errors import Failed, Refused
from model_repo_builder.fetch import Fetch
from tests.model_repo_builder.making import Bench, TinyYolo, pvc, request, server
from yolofleet.api.sources import Source

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

MODEL = TinyYolo().model().SerializeToString()


def source(url: str, content: bytes = MODEL) -> Source:
    return Source.model_validate({"http": {"url": url, "sha256": hashlib.sha256(content).hexdigest()}})


def fetch(bench: Bench, report: Callable[[float, str], None] = lambda *_: None, **limits: Any) -> Fetch:
    settings = bench.settings()
    return Fetch(
        settings=replace(settings, limits=replace(settings.limits, **limits)), folder=bench.root / "work", report=report
    )


def test_a_file_named_pt_that_is_onnx_is_onnx(bench: Bench) -> None:
    with server({"/best.pt": (200, {}, MODEL)}) as base:
        weights = fetch(bench).run(source(f"{base}/best.pt"), "Detect")
    assert weights.format == "ONNX"
    assert weights.path.read_bytes() == MODEL
    assert weights.sha256 == hashlib.sha256(MODEL).hexdigest()
    assert weights.size_bytes == len(MODEL)


@pytest.fixture
def certificate(tmp_path: Path) -> Path:
    """A self-signed certificate for 127.0.0.1, with its key in one file."""
    made, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(made), "-days", "2", "-nodes"]
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", *subject, *files]
    subprocess.run(command, check=True, capture_output=True)
    made.write_bytes(made.read_bytes() + key.read_bytes())
    return made


def test_https_checks_the_name_although_the_address_is_pinned(
    bench: Bench, certificate: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    with server({"/m": (200, {}, MODEL)}, certificate=certificate) as base:
        assert fetch(bench).run(source(f"{base}/m"), "Detect").size_bytes == len(MODEL)
        other = base.replace("127.0.0.1", "localhost")
        with pytest.raises(Refused, match="not trusted: Hostname mismatch"):
            fetch(bench).run(source(f"{other}/m"), "Detect")


def test_a_certificate_that_nobody_signed_is_refused_with_a_way_out(bench: Bench, certificate: Path) -> None:
    with server({"/m": (200, {}, MODEL)}, certificate=certificate) as base, pytest.raises(Refused) as caught:
        fetch(bench).run(source(f"{base}/m"), "Detect")
    assert caught.value.field == "spec.model.http.url"
    assert "self-signed" in caught.value.message
    assert "plain http" in caught.value.remedy


def test_redirects_are_followed_relative_and_absolute(bench: Bench) -> None:
    with server({"/b/model": (200, {}, MODEL)}) as elsewhere:
        answers = {
            "/latest": (302, {"Location": "a/v1?download=1"}, b""),
            "/a/v1": (307, {"Location": f"{elsewhere}/b/model"}, b""),
        }
        with server(answers) as base:
            assert fetch(bench).run(source(f"{base}/latest"), "Detect").size_bytes == len(MODEL)


def test_what_breaks_is_tried_again(bench: Bench) -> None:
    calls: list[int] = []

    def flaky(handler: Any) -> None:
        calls.append(1)
        whole = len(calls) == 3
        handler.send_response(503 if len(calls) == 1 else 200)
        handler.send_header("Content-Length", str(len(MODEL)))
        handler.end_headers()
        handler.wfile.write(MODEL if whole else MODEL[:100])

    with server({"/m": flaky}) as base:
        assert fetch(bench).run(source(f"{base}/m"), "Detect").size_bytes == len(MODEL)
    assert len(calls) == 3


def test_a_server_that_stays_broken_fails_with_its_last_words(bench: Bench) -> None:
    with server({"/m": (500, {}, b"")}) as base, pytest.raises(Failed) as caught:
        fetch(bench).run(source(f"{base}/m"), "Detect")
    assert caught.value.field == "spec.model.http.url"
    assert caught.value.value == f"{base}/m"
    assert "3 tries" in caught.value.message
    assert "HTTP 500" in caught.value.message
    assert "NetworkPolicy" in caught.value.remedy


def test_nobody_listening_fails_and_may_be_tried_again(bench: Bench) -> None:
    result = bench.build(request({"http": {"url": "http://127.0.0.1:1/m", "sha256": "0" * 64}}))
    assert result.outcome == "Failed"
    assert result.failure is not None
    assert "refused" in result.failure.message


def test_a_name_that_does_not_resolve_fails(bench: Bench) -> None:
    with pytest.raises(Failed, match="does not resolve"):
        fetch(bench).run(source("http://no-such-host.invalid/m"), "Detect")


def test_a_slow_server_is_left_after_the_deadline(bench: Bench) -> None:
    def drip(handler: Any) -> None:
        handler.send_response(200)
        handler.end_headers()
        try:
            for _ in range(400):
                handler.wfile.write(b"x")
                handler.wfile.flush()
                time.sleep(0.05)
        except OSError:
            return

    began = time.monotonic()
    with server({"/m": drip}) as base, pytest.raises(Failed, match=r"no end within 0\.3 s"):
        fetch(bench, total_s=0.3).run(source(f"{base}/m"), "Detect")
    assert time.monotonic() - began < 10  # of the 20 s that it would take


def test_a_silent_server_is_left_after_the_read_timeout(bench: Bench) -> None:
    def silent(_: Any) -> None:
        time.sleep(1)

    with server({"/m": silent}) as base, pytest.raises(Failed, match="timed out"):
        fetch(bench, read_s=0.1, tries=2).run(source(f"{base}/m"), "Detect")


def test_progress_is_told_in_fractions_of_the_announced_length(bench: Bench) -> None:
    heard: list[float] = []
    with server({"/m": (200, {}, MODEL)}) as base:
        fetch(bench, report=lambda fraction, _: heard.append(fraction)).run(source(f"{base}/m"), "Detect")
    assert heard == sorted(heard)
    assert heard[-1] == 1.0


def test_a_released_name_is_fetched_from_the_base_url(bench: Bench) -> None:
    with server({"/mirror/yolo11s-seg.pt": (200, {}, MODEL)}) as base:
        settings = bench.settings(builtin_url=f"{base}/mirror")
        run = Fetch(settings=settings, folder=bench.root / "work", report=lambda *_: None).run
        weights = run(Source(builtin="yolo11s-seg"), "Segment")
    assert weights.origin.field == "spec.model.builtin"
    assert weights.size_bytes == len(MODEL)


def test_a_mirror_without_the_name_is_told_by_the_users_field(bench: Bench) -> None:
    with server({}) as base:
        result = bench.build(request({"builtin": "yolo26n"}), settings=bench.settings(builtin_url=base))
    assert result.outcome == "Refused"
    assert result.failure is not None
    assert (result.failure.field, result.failure.value) == ("spec.model.builtin", "yolo26n")
    assert f"{base}/yolo26n.pt" in result.failure.message


def test_bundled_weights_need_no_network(bench: Bench) -> None:
    assert "yolo26n-shapes" in bundled()
    weights = fetch(bench).run(Source(builtin="yolo26n-shapes"), "Detect")
    assert weights.format == "PyTorch"


def test_a_file_on_a_volume_is_copied_so_that_what_is_used_is_what_was_hashed(bench: Bench) -> None:
    (bench.source / "m.onnx").write_bytes(MODEL)
    weights = fetch(bench).run(Source.model_validate(pvc("m.onnx")), "Detect")
    (bench.source / "m.onnx").write_bytes(b"changed meanwhile")
    assert weights.path.read_bytes() == MODEL


@pytest.mark.parametrize(
    ("name", "task"),
    [
        ("yolo26n", "Detect"),
        ("yolo26x-obb", "OBB"),
        ("yolo12m", "Detect"),
        ("yolo11l-cls", "Classify"),
        ("yolov10b", "Detect"),
        ("yolov9c-seg", "Segment"),
        ("yolov8s-pose", "Pose"),
        ("yolov5n6u", "Detect"),
        ("yolov3-tinyu", "Detect"),
    ],
)
def test_ultralytics_names_are_known_with_their_tasks(name: str, task: str) -> None:
    assert RELEASED[name] == task


def test_names_that_no_release_has_are_not_known() -> None:
    assert not {"yolo12n-seg", "yolov9t-seg", "yolov10n-seg", "yolov5nu-seg", "yolo26n.pt"} & set(RELEASED)

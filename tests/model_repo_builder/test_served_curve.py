"""A build measures its engine through Triton where it has a slice, and goes on where that can't be done."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from model_repo_builder import served_curve
from model_repo_builder.served_curve import Asked, Draft, points
from tests.model_repo_builder.making import Bench, TinyYolo, pvc, request
from yolofleet.api.curve import CurvePoint, point_of, row_of
from yolofleet.api.recipe import Target, engine_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from model_repo_builder.manifest import Manifest
    from yolofleet.api.build import BuildRequest

SLICE = Target(compute_capability="9.0", sm_count=16, memory_mib=9984)
POINT = CurvePoint(
    endpoint="Ultralytics", batch=8, instances=2, frames_per_second=1310, p50_microseconds=6110, p99_microseconds=6150
)


def quiet(_fraction: float, _words: str) -> None:
    pass


def server(folder: Path, words: str) -> None:
    """Put a `tritonserver` in a folder."""
    path = folder / "tritonserver"
    path.write_text(f"#!/bin/sh\n{words}\n")
    path.chmod(0o755)


@pytest.fixture
def draft(bench: Bench) -> Draft:
    TinyYolo().save(bench.source / "m.onnx")
    wanted = request(pvc("m.onnx"))
    assert bench.build(wanted).outcome == "Published"
    stored = bench.store.peek(wanted.key)
    assert stored is not None
    return Draft(stored.manifest, bench.root / "store" / wanted.key)


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scratch")


def on_a_slice(bench: Bench) -> BuildRequest:
    TinyYolo().save(bench.source / "m.onnx")
    made = request(pvc("m.onnx"))
    key = engine_key(recipe=made.recipe, target=SLICE, builder=made.builder)
    return made.model_copy(update={"key": key, "target": SLICE, "measure_seconds": 5})


def test_an_image_without_a_server_says_so(draft: Draft, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(scratch))
    assert points(draft, scratch, Asked(budget_s=1), quiet) == "this image has no tritonserver"


def test_a_server_that_ends_is_quoted(draft: Draft, scratch: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    server(scratch, "echo no such backend; exit 3")
    monkeypatch.setenv("PATH", f"{scratch}:/usr/bin:/bin")
    assert points(draft, scratch, Asked(budget_s=1), quiet) == "tritonserver ended with 3: no such backend"


def test_what_is_measured_is_the_repository_that_would_be_served(
    draft: Draft, scratch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server(scratch, "exit 0")
    monkeypatch.setenv("PATH", f"{scratch}:/usr/bin:/bin")
    seen: list[Any] = []

    @contextmanager
    def running(models: Path, _log: Path) -> Iterator[str]:
        seen.extend(sorted(str(path.relative_to(models)) for path in models.rglob("*") if path.is_file()))
        yield "here"

    monkeypatch.setattr(served_curve, "running", running)
    monkeypatch.setattr(served_curve.measure, "curve_points", lambda ask, _report: seen.append(ask) or [POINT])
    assert points(draft, scratch, Asked(budget_s=30), quiet) == [POINT]
    assert seen[:2] == ["measured/1/model.onnx", "measured/config.pbtxt"]
    assert (seen[2].model, seen[2].endpoint, seen[2].budget_s) == ("measured", "Ultralytics", 30)


def test_points_travel_in_few_bytes() -> None:
    assert row_of(POINT) == [0, 8, 2, 1310, 6110, 6150, 0]
    assert point_of(row_of(POINT)) == POINT
    with pytest.raises(ValueError, match="no endpoint has the number 9"):
        point_of([9, 8, 2, 1310, 6110, 6150, 0])


@pytest.mark.parametrize("found", [[POINT], "this image has no tritonserver"])
def test_a_build_reports_what_it_measured_or_why_not(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, found: list[CurvePoint] | str
) -> None:
    wanted = on_a_slice(bench)
    monkeypatch.setattr(served_curve, "points", lambda *_: found)
    first = bench.in_pod(wanted)
    assert first.outcome == "Published"
    assert first.rows == (None if isinstance(found, str) else [row_of(POINT)])
    stored = bench.store.peek(wanted.key)
    assert stored is not None
    told: Manifest = stored.manifest
    assert told.points == (None if isinstance(found, str) else found)
    assert ("was not measured: this image" in told.provenance["notes"]) == isinstance(found, str)
    assert bench.in_pod(wanted) == first.model_copy(update={"outcome": "Cached"})


def test_a_build_without_a_slice_measures_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU of whatever node a build ran on says nothing of the one that serves."""
    TinyYolo().save(bench.source / "m.onnx")
    wanted = request(pvc("m.onnx")).model_copy(update={"measure_seconds": 5})
    monkeypatch.setattr(served_curve, "points", lambda *_: pytest.fail("measured"))
    assert bench.in_pod(wanted).rows is None

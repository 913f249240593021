"""Rows of several runs become one file; ratios stay within a run, and only an engine that passed its gate is best."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from e2e.gpu import report

HEAD = {"gpu": "NVIDIA H200", "sms": 132, "tensorrt": "10.6.0", "torch": "2.11.0", "date": "2026-11-22"}


def row(path: str, rate: float, engine: str = "", **more: Any) -> dict[str, Any]:
    told = {"model": "yolo11n", "batch": 8, "sms": 132, "instances": 1, "path": path, "images_per_s": rate}
    return {**told, **({"engine": engine} if engine else {}), **more}


def judged(engine: str, map50_95: float, *failings: str) -> dict[str, Any]:
    return {"model": "yolo11n", "path": "engine", "engine": engine, "map50_95": map50_95, "failings": list(failings)}


@pytest.fixture
def out(tmp_path: Path) -> Path:
    for name in ("rows", "engines"):
        (tmp_path / name).mkdir()
    runs = {
        "bench-variants": [
            row("engine", 7000.0, "yolo11n-FP16-b8.plan"),
            row("engine", 9000.0, "yolo11n-FP16-b8-wrong.plan"),
            row("engine", 8000.0, "yolo11n-INT8-b8.plan"),
            row("engine", 8500.0, "yolo11n-FP8-b8.plan"),
            row("torch_compile", 6400.0, mode="default"),
            row("torch_compile", 6000.0, mode="max-autotune"),
            row("torch_eager", 1600.0),
            {"model": "yolo11n", "batch": 8, "path": "ultralytics_engine", "error": "RuntimeError: no such file"},
        ],
        "bench-own": [row("engine", 7000.0, "yolo11n-FP16-b8.plan"), row("ultralytics_engine", 5000.0)],
        "bench-other": [row("engine", 1.0, "yolo11n-FP16-b8-never-judged.plan")],
        "slices-mps": [row("engine", 900.0, sms=16), row("engine", 5000.0, instances=2)],
        "accuracy": [
            {"model": "yolo11n", "path": "torch", "map50_95": 0.81},
            judged("yolo11n-FP16-b8.plan", 0.81),
            judged("yolo11n-FP16-b8-wrong.plan", 0.81, "4 of 100 boxes are seen by one of the two only"),
            judged("yolo11n-INT8-b8.plan", 0.803, "scores differ by up to 0.178"),
            judged("yolo11n-FP8-b8.plan", 0.79),
        ],
    }
    for name, rows in runs.items():
        (tmp_path / "rows" / f"{name}.json").write_text(json.dumps({**HEAD, "command": f"python {name}", "rows": rows}))
    (tmp_path / "rows" / "rates.json").write_text(json.dumps([{"fp16_tflops": 690.0}]))
    (tmp_path / "engines" / "a.first.json").write_text(json.dumps({"engine": "a.plan", "build_s": 100.0}))
    return tmp_path


def test_all_rows_are_kept_with_their_runs(out: Path) -> None:
    told = report.merged(out)
    assert told["gpu"] == "NVIDIA H200"
    assert told["rates"] == {"fp16_tflops": 690.0}
    assert told["runs"]["bench-own"] == "python bench-own"
    assert {each["run"] for each in told["rows"]} == {"bench-variants", "bench-own", "bench-other", "slices-mps"}
    assert told["builds"] == [{"engine": "a.plan", "build_s": 100.0, "cache": "first"}]
    assert len(told["accuracy"]) == 5


def test_the_best_engine_is_one_that_passed(out: Path) -> None:
    """FP8 lost too much, the wrong one failed its gate; INT8 is judged by mAP."""
    assert report.passing(report.merged(out)["accuracy"]) == {"yolo11n-FP16-b8.plan", "yolo11n-INT8-b8.plan"}
    found = {each["run"]: each for each in report.ratios(report.merged(out))}
    best = found["bench-variants"]
    assert (best["engine"], best["torch_compile"], best["torch_eager"]) == ("yolo11n-INT8-b8.plan", 1.25, 5.0)
    assert "ultralytics_engine" not in best, "another run has it"
    assert found["bench-own"]["ultralytics_engine"] == 1.4
    assert "slices-mps" not in found, "neither a slice nor two instances are the whole GPU's one"


def test_what_nobody_judged_is_said(out: Path) -> None:
    told = report.table(list(report.ratios(report.merged(out))))
    assert "yolo11n-FP16-b8-never-judged.plan (not judged)" in told
    assert "| bench-own | yolo11n | 8 | yolo11n-FP16-b8.plan | 7000.0 |  |  | 1.4 |" in told


def test_the_published_file_is_read_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: Path) -> None:
    monkeypatch.setattr("sys.argv", ["report", "--out", str(out), "--json", str(tmp_path / "all.json")])
    assert report.main() == 0
    told = json.loads((tmp_path / "all.json").read_text())
    published = json.loads((Path(__file__).parents[2] / "docs/benchmarks/h200.json").read_text())
    assert published.keys() - {"first_answer"} <= told.keys()

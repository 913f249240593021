"""An estimate is held against what was measured, each row left out in turn; and the planner takes it for what it is."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_repo_builder import command, estimate_command
from model_repo_builder.errors import Refused
from model_repo_builder.estimate import MEASURED, YOLO11N, fitted
from model_repo_builder.graph_work import UncountedError, work_of
from tests.model_repo_builder import small_yolo
from yolofleet.api.estimate import H200, LAW, UNSEEN, Place, Work, batch_ms, estimated_points

BENCHMARKS = Path(__file__).parents[2] / "docs" / "benchmarks" / "h200.json"
FITTED, ERROR = fitted(MEASURED)


def test_the_rows_are_those_that_were_published() -> None:
    told = json.loads(BENCHMARKS.read_text())
    rows = [row for row in told["rows"] if (row["path"], row["run"]) == ("engine", "early")]
    best = {row["batch"]: row["p50_ms"] for row in sorted(rows, key=lambda row: -row["p50_ms"])}
    assert {row.batch: row.p50_ms for row in MEASURED} == best
    # The rates are measured anew by every run of the benchmarks; those of the rows' own run are the law's.
    assert pytest.approx(told["rates"]["fp16_tflops"], rel=0.1) == H200.tflops
    assert pytest.approx(told["rates"]["copy_gb_s"], rel=0.1) == H200.gb_s
    assert told["sms"] == H200.sms


def test_every_published_engine_of_that_model_lies_within_the_band() -> None:
    """Also engines made for one batch, which nobody fitted to."""
    rows = json.loads(BENCHMARKS.read_text())["rows"]
    mine = [row for row in rows if (row["model"], row["path"], row["precision"]) == ("yolo11n", "engine", "FP16")]
    whole = [row for row in mine if row["sms"] == H200.sms and row["instances"] == 1]
    missed = [batch_ms(LAW, YOLO11N, row["batch"], H200) / row["p50_ms"] - 1 for row in whole]
    assert len({row["batch"] for row in whole}) >= 3
    assert max(map(abs, missed)) < float(UNSEEN)


def test_a_row_that_is_left_out_is_found_again() -> None:
    """Largest error of leave-one-out over the published rows: below one per cent, of one model on the whole GPU."""
    assert 0 < ERROR < 0.01
    assert LAW.times_floor == pytest.approx(FITTED.times_floor, rel=1e-3), "the law that is planned by is this fit"
    assert LAW.layer_ms == pytest.approx(FITTED.layer_ms, rel=1e-3)


def test_a_law_without_a_row_to_leave_out_is_none() -> None:
    with pytest.raises(ValueError, match="2 rows"):
        fitted(MEASURED[:2])


WORK = st.builds(
    Work,
    megaflops=st.integers(100, 500_000),
    activation_kilobytes=st.integers(1000, 2_000_000),
    weight_kilobytes=st.just(5000),
    layers=st.integers(20, 400),
)


@given(WORK, st.integers(1, 64), st.sampled_from([16, 32, 64]))
def test_more_to_do_with_less_takes_longer(work: Work, batch: int, sms: int) -> None:
    whole = batch_ms(LAW, work, batch, H200)
    assert batch_ms(LAW, work, batch + 1, H200) > whole
    assert batch_ms(LAW, work, batch, H200, sms) > whole
    twice = {"megaflops": work.megaflops * 2, "activation_kilobytes": work.activation_kilobytes * 2}
    larger = work.model_copy(update=twice)
    assert batch_ms(LAW, larger, batch, H200) > whole
    assert batch_ms(LAW, work, batch, H200) / batch > batch_ms(LAW, work, 2 * batch, H200) / (2 * batch)


def test_copies_from_the_host_are_in_it_and_a_slice_is_slower() -> None:
    """8 frames of 1.2 MB at 25 GB/s: 0.39 ms."""

    def took(sms: int, size: int) -> int:
        place = Place(rates=H200, sms=sms, endpoint="Frames", host_bytes=size)
        return estimated_points(YOLO11N, place, [8])[0].p50_microseconds

    assert took(132, 1_228_800) - took(132, 0) == pytest.approx(393, abs=2)
    assert took(16, 0) > 3 * took(132, 0)


def test_a_graph_is_counted() -> None:
    work = work_of(small_yolo.SmallYolo().model())
    assert work.layers == 15
    stem = 2 * 8 * 32 * 32 * 3 * 9
    assert stem < work.megaflops * 1e6 < 60 * stem


def test_a_graph_whose_shapes_nobody_knows_is_not_guessed_at() -> None:
    model = small_yolo.SmallYolo().model()
    del model.graph.initializer[:]
    with pytest.raises(UncountedError):
        work_of(model)


def test_the_command_writes_a_curve(tmp_path: Path) -> None:
    onnx.save(small_yolo.SmallYolo().model(), str(tmp_path / "model.onnx"))
    told = ["estimate", "--model", str(tmp_path / "model.onnx"), "--product", "NVIDIA-H200", "--profile", "1g.18gb"]
    asked = command.parse([*told, "--sm-count", "16", "--batch", "8", "--out", str(tmp_path / "curve.json")])
    estimate_command.run(asked)
    made = json.loads((tmp_path / "curve.json").read_text())
    assert (made["source"], made["smCount"], made["points"][0]["batch"]) == ("Estimated", 16, 8)
    assert made["error"] == "0.35"
    assert made["points"][0]["hostBytesPerFrame"] == 3 * small_yolo.SIZE**2 * 4


def test_a_gpu_without_rates_is_refused(tmp_path: Path) -> None:
    onnx.save(small_yolo.SmallYolo().model(), str(tmp_path / "model.onnx"))
    told = ["estimate", "--model", str(tmp_path / "model.onnx"), "--product", "NVIDIA-L4", "--profile", "gpu"]
    with pytest.raises(Refused, match="rates were never measured"):
        estimate_command.estimated(command.parse(told))
    given_rates = ["--tflops", "120", "--gb-s", "300", "--gpu-sms", "58"]
    assert estimate_command.estimated(command.parse([*told, *given_rates])).sm_count == 58


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    told = ["estimate", "--model", str(tmp_path / "none.onnx"), "--product", "NVIDIA-H200", "--profile", "gpu"]
    with pytest.raises(Refused, match="no ONNX file can be read there"):
        estimate_command.estimated(command.parse(told))

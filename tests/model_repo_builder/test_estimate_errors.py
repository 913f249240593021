"""The report on estimates counts what was measured: rows of engines, and MIG rows against a model's whole GPU."""

from __future__ import annotations

from pathlib import Path

import pytest

from model_repo_builder.estimate import YOLO11N
from tools.bench import estimates
from yolofleet.api.estimate import H200, LAW, batch_ms

HEAD = "Mig instance,Batch size,Workload Number,Throughput,Latency\n"


def profiles(folder: Path, slower: float) -> Path:
    """Write rows of 4 ms and 2 ms a frame on the whole GPU, and so many times the law's time on one slice of it."""
    lines = [f"7,{batch},1,{batch * 1e3 / (4 + 2 * batch)},0" for batch in (1, 2, 4, 8)]
    lines += [f"1,{batch},1,{batch * 1e3 / (4 + 14 * batch) / slower},0" for batch in (1, 2)]
    lines += ["1,1,2,5,0", "1,8,1,0,0"]  # two processes; no memory
    (folder / "net.csv").write_text(HEAD + "\n".join(lines))
    return folder


def test_slices_are_told_from_the_whole_gpu(tmp_path: Path) -> None:
    missed = list(estimates.of_slices(profiles(tmp_path, slower=1.25)))
    assert [(one.model, one.slices, one.batch) for one in missed] == [("net", 1, 1), ("net", 1, 2)]
    assert [one.error for one in missed] == pytest.approx([-0.2, -0.2], abs=1e-3)


@pytest.mark.parametrize(("slower", "count"), [(1.0, 0), (1.5, 0), (1.6, 2)])
def test_rows_slower_than_the_lower_edge_are_counted(slower: float, count: int, tmp_path: Path) -> None:
    """A band of 35 %: frames may come at 0.65 of the estimate, so a batch may take 1.54 times as long."""
    *_, last = estimates.table(list(estimates.of_slices(profiles(tmp_path, slower))), "slices")
    assert last.endswith(f"| {count} |")


def test_engines_of_models_that_were_not_counted_are_left_out() -> None:
    row = {"model": "yolo11n", "sms": 132, "batch": 8, "p50_ms": batch_ms(LAW, YOLO11N, 8, H200) / 2}
    row |= {"path": "engine", "instances": 1}
    others = [row | {"model": "yolo99z"}, row | {"path": "torch_eager"}, row | {"instances": 2}]
    (found,) = estimates.of_engines([row, *others])
    assert found.error == pytest.approx(1.0)


def test_the_command_prints_the_published_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    rows = Path(__file__).parents[2] / "docs/benchmarks/h200.json"
    assert estimates.main(["--rows", str(rows), "--profiles", str(profiles(tmp_path, slower=1.0)), "--each"]) == 0
    told = capsys.readouterr().out
    assert "| yolo11n | 132 |" in told
    assert "| net | 1 | 2 | +0%" in told

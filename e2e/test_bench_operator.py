"""Story: the operator's bench runs, and its counts hold at a size that takes seconds; no timing is judged here."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.e2e


def test_the_counts_of_a_small_fleet_hold(tmp_path: Path) -> None:
    out = tmp_path / "operator.json"
    size = ["--sizes", "150", "--engines", "20", "--rest", "2", "--counts-only", "--name", "bench-smoke"]
    command = [sys.executable, "-m", "e2e.bench.operator", *size, "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    (row,) = json.loads(out.read_text())["rows"]
    assert row["writes_cold"]["deployments"] == 150, "a bench that saw nothing shows nothing"
    assert (row["writes_restart"], row["writes_rest"]) == ({}, {})
    assert all(bar["holds"] for bar in row["bars"])

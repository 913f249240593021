"""A story that asks a cluster for what it cannot do is skipped with the cluster's words, and fails on the bare one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STORIES = """
import pytest
from e2e.clusters.protocol import UnsupportedError

@pytest.fixture
def refused():
    raise UnsupportedError("the GPUs are real")

@pytest.fixture
def undone():
    yield
    raise UnsupportedError("nothing to put back")

def test_call(undone):
    raise UnsupportedError("no way to the kubelet")

def test_fixture(refused):
    pass

@pytest.mark.only_on_bare("it has no uplink")
def test_bare():
    pass

def test_other():
    raise ValueError("not this one")
"""


@pytest.mark.parametrize(
    ("provider", "outcome"),
    [("kind", "1 failed, 3 skipped"), ("bare", "2 failed, 1 passed, 2 errors")],
)
def test_refusals_skip_everywhere_but_on_bare(tmp_path, provider, outcome):
    (tmp_path / "test_stories.py").write_text(STORIES)
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "e2e.conftest",
        "-p",
        "no:cacheprovider",
        "-rs",
        "-q",
        "test_stories.py",
    ]
    told = subprocess.run(
        [*command, "-c", str(ROOT / "pyproject.toml"), "--rootdir", str(tmp_path)],
        cwd=tmp_path,
        env=os.environ | {"YOLOFLEET_E2E_CLUSTER": provider, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    ).stdout
    assert outcome in told
    assert "not this one" in told
    if provider != "bare":
        assert f"{provider}: the GPUs are real" in told
        assert f"{provider}: no way to the kubelet" in told
        assert "only on the bare cluster: it has no uplink" in told

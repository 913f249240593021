"""What every story gets, tried on a cluster that only takes notes: refusals skip, and failures are dumped in time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
REFUSALS = """
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
FAILURES = """
import pathlib
import pytest

def note(*words):
    with pathlib.Path("notes").open("a") as notes:
        print(*words, file=notes)

class Notes:
    def kubectl(self, *told, **_):
        if "delete" in told and "namespace" in told:
            note("namespace deleted")
    def dump(self, namespaces, folder):
        note("dumped", namespaces[1])
        if "broken" in namespaces[0]:
            raise OSError("no space left")
    def recycle_volumes(self):
        pass

@pytest.fixture(scope="session")
def cluster():
    return Notes()

@pytest.fixture
def fleet(namespace):
    yield
    note("fleet gone")

@pytest.fixture
def half(fleet):
    raise ValueError("not made")

def test_fails(fleet):
    raise ValueError("not served")

def test_fails_in_its_fixtures(half):
    pass

def test_fails_broken(fleet):
    raise ValueError("not served")

def test_passes(fleet):
    pass
"""


def told(folder: Path, stories: str, *arguments: str, provider: str = "bare") -> str:
    """Run stories in a pytest of their own; return what it says."""
    (folder / "test_stories.py").write_text(stories)
    own = ["-p", "e2e.conftest", "-p", "no:cacheprovider", "-p", "no:randomly", "-c", str(ROOT / "pyproject.toml")]
    return subprocess.run(
        [sys.executable, "-m", "pytest", *own, "--rootdir", str(folder), "-q", *arguments, "test_stories.py"],
        cwd=folder,
        env=os.environ | {"YOLOFLEET_E2E_CLUSTER": provider, "PYTHONPATH": str(ROOT)},
        check=False,
        capture_output=True,
        text=True,
    ).stdout


@pytest.mark.parametrize(
    ("provider", "outcome"),
    [("kind", "1 failed, 3 skipped"), ("bare", "2 failed, 1 passed, 2 errors")],
)
def test_refusals_skip_everywhere_but_on_bare(tmp_path, provider, outcome):
    said = told(tmp_path, REFUSALS, "-rs", provider=provider)
    assert outcome in said
    assert "not this one" in said
    if provider != "bare":
        assert f"{provider}: the GPUs are real" in said
        assert f"{provider}: no way to the kubelet" in said
        assert "only on the bare cluster: it has no uplink" in said


def test_what_fails_is_dumped_before_its_fixtures_take_it_away_and_what_passes_is_not(tmp_path):
    said = told(tmp_path, FAILURES)
    passes = ["fleet gone", "namespace deleted"]
    fails = ["dumped yolofleet-system", *passes]
    assert "2 failed, 1 passed, 1 error" in said
    assert (tmp_path / "notes").read_text().splitlines() == [*fails * 3, *passes]
    assert "not served" in said
    assert "failed: OSError('no space left')" in said  # and the story's own failure is told all the same

"""The chart's own suites hold, by the real helm-unittest, and no template is without one."""

import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from e2e.clusters.bare.binaries import build_binaries
from tests.charts.rendering import CHART

SUITES = CHART / "tests"
TEMPLATES = sorted(path for path in (CHART / "templates").rglob("*.*") if path.suffix in (".yaml", ".txt"))


def _copy(folder: Path) -> Path:
    return Path(shutil.copytree(CHART, folder / "yolofleet"))  # the tool writes folders beside the suites


def _unittest(chart: Path) -> subprocess.CompletedProcess[str]:
    command = [build_binaries().path("helm-unittest"), "--strict", "--file", "tests/**/*_test.yaml", str(chart)]
    return subprocess.run(command, check=False, capture_output=True, text=True, timeout=120)


def test_all_suites_hold(tmp_path: Path) -> None:
    done = _unittest(_copy(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"Test Suites: {len(list(SUITES.rglob('*_test.yaml')))} passed" in done.stdout


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_every_template_has_a_suite(path: Path) -> None:
    inside = path.relative_to(CHART / "templates")
    suite = SUITES / inside.with_name(f"{path.stem}_test.yaml")
    remedy = f"{inside} has no suite: write charts/yolofleet/tests/{suite.relative_to(SUITES)} (its README says how)"
    assert suite.exists(), remedy
    document = yaml.safe_load(suite.read_text())
    assert {name.removeprefix("templates/") for name in document["templates"]} >= {str(inside)}
    assert all(test["asserts"] for test in document["tests"])


def test_no_suite_is_left_over() -> None:
    names = {path.relative_to(CHART / "templates").with_suffix("") for path in TEMPLATES}
    told = {path.relative_to(SUITES).parent / path.name.removesuffix("_test.yaml") for path in SUITES.rglob("*_test.*")}
    assert told == names


def test_a_template_that_breaks_its_suite_is_found(tmp_path: Path) -> None:
    chart = _copy(tmp_path)
    template = chart / "templates/serviceaccount.yaml"
    template.write_text(template.read_text().replace("automountServiceAccountToken: false", ""))
    done = _unittest(chart)
    assert done.returncode == 1
    assert "hands no token to anybody by accident" in done.stdout

"""Debian's real promtool, for the tests of rules and dashboards."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from e2e.prometheus_tools import prometheus_tools

Promtool = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session")
def promtool() -> Promtool:
    program = prometheus_tools().promtool

    def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
        command = [program, *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    return run


@pytest.fixture
def hold(promtool: Promtool, tmp_path: Path) -> Callable[..., None]:
    """Hand tests to `promtool test rules`; its words are in the error."""

    def check(rules: list[Path], tests: list[dict[str, object]]) -> None:
        document = {"rule_files": [str(path) for path in rules], "evaluation_interval": "1m", "tests": tests}
        path = tmp_path / "tests.yaml"
        path.write_text(yaml.safe_dump(document, sort_keys=False))
        done = promtool("test", "rules", path)
        assert done.returncode == 0, done.stdout + done.stderr

    return check

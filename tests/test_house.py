"""Rules of the house that no linter knows: where things may lie, how long they may be, what they may be called."""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LONGEST_FILE = 400
LONGEST_FUNCTION = 50
HOLLOW_NAMES = {"utils", "util", "helpers", "helper", "manager", "operations", "common", "misc"}


def tracked(*patterns: str) -> list[Path]:
    """Return the files that git knows, tracked or about to be, without ignored ones."""
    told = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "--", *patterns]
    names = subprocess.run(told, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()
    return [path for name in sorted(set(names)) if (path := ROOT / name).is_file()]


SOURCES = tracked("operator/*.py", "model_repo_builder/*.py")
every_source = pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))


def functions(path: Path) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def test_there_is_something_to_look_at() -> None:
    assert len(SOURCES) > 60
    assert {path.relative_to(ROOT).parts[0] for path in SOURCES} == {"operator", "model_repo_builder"}


def test_the_folder_operator_is_no_package_and_holds_no_tests() -> None:
    """A package would shadow the stdlib's `operator`; so does pytest when it collects anything below."""
    assert not (ROOT / "operator" / "__init__.py").exists()
    below = [path.name for path in (ROOT / "operator").rglob("*.py")]
    assert not [
        name for name in below if name == "conftest.py" or name.startswith("test_") or name.endswith("_test.py")
    ]


def test_from_the_root_operator_is_the_stdlibs() -> None:
    code = "import json, operator; print(operator.__file__, operator.add(1, 2), json.dumps(1))"
    bare = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    told = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=bare, check=True, capture_output=True, text=True)
    place, total, _ = told.stdout.split()
    assert total == "3"
    assert not Path(place).is_relative_to(ROOT / "operator")


def test_under_pytest_operator_is_the_stdlibs_too() -> None:
    assert not str(sys.modules["operator"].__file__).startswith(str(ROOT / "operator"))


@every_source
def test_a_file_fits_in_the_head(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= LONGEST_FILE


@every_source
def test_a_function_fits_on_a_screen(path: Path) -> None:
    long = {f.name: size for f in functions(path) if (size := (f.end_lineno or 0) - f.lineno + 1) > LONGEST_FUNCTION}
    assert long == {}


def test_most_functions_are_short() -> None:
    sizes = sorted((f.end_lineno or 0) - f.lineno + 1 for path in SOURCES for f in functions(path))
    assert sizes[len(sizes) // 2] <= 8
    assert sizes[len(sizes) * 9 // 10] <= 25


@every_source
def test_a_module_begins_with_one_sentence(path: Path) -> None:
    told = ast.get_docstring(ast.parse(path.read_text())) or ""
    first = " ".join(told.partition("\n\n")[0].split())
    assert first.endswith((".", "?")), first
    assert not re.search(r"[.?!] [A-Z]", first), first


@every_source
def test_a_file_is_named_after_what_the_domain_calls_it(path: Path) -> None:
    assert not HOLLOW_NAMES & set(re.split(r"[_\W]", path.stem))


def test_no_file_names_a_place_on_the_machine_where_it_was_written() -> None:
    places = "|".join(("wor" + "k", "roo" + "t"))
    pattern = re.compile(rf"(?<![\w.$)}}\]-])/({places})/[\w.]")
    assert all(pattern.search(line) for line in (f"cd /{places[:4]}/main", f'"/{places[5:]}/.cache"'))
    found = []
    for path in tracked():
        try:
            lines = path.read_text().splitlines()
        except UnicodeDecodeError:
            continue
        found += [
            f"{path.relative_to(ROOT)}:{n}: {line.strip()}" for n, line in enumerate(lines, 1) if pattern.search(line)
        ]
    assert found == []


def test_layers_hold() -> None:
    tool = Path(sys.executable).with_name("lint-imports")
    told = subprocess.run([tool, "--no-cache"], cwd=ROOT, check=False, capture_output=True, text=True)
    assert told.returncode == 0, told.stdout + told.stderr


def test_no_lock_names_a_download_host() -> None:
    assert not (ROOT / "uv.lock").exists()
    for path in tracked("locks/*.txt"):
        assert "://" not in path.read_text(), path.name

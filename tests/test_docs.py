"""What documents name is there: links, files, tests, modules, verbs, make's targets, the chart's values, reasons."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.test_house import ROOT, tracked
from yolofleet.api.conditions import Reason
from yolofleet.cli.__main__ import VERBS

PAGES = [path for path in tracked("*.md") if path.name != "CHANGELOG.md"]
"""A changelog tells of what was."""
NAMES = [str(path.relative_to(ROOT)) for path in tracked()]
LINK = re.compile(r"\]\((?!https?:)([^)\s]+)\)")
SPAN = re.compile(r"`([^`\n]+)`")
FENCE = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
CODE_FILE = re.compile(r"^[\w./-]+\.(?:py|tpl|toml|sh)$")
TEST = re.compile(r"^(test_\w+)?::([\w…]+)$")
VALUE = re.compile(r"^([a-z][A-Za-z0-9]*)((?:\.[a-z][A-Za-z0-9]*)+)(?:[=:].*)?$")
CONDITION = re.compile(r"^[A-Z]\w+=(?:True|False|Unknown)[/ ]+(\w+)$")
SHOWN = pytest.mark.parametrize("page", PAGES, ids=lambda path: str(path.relative_to(ROOT)))


def prose(page: Path) -> str:
    return FENCE.sub("", page.read_text())


def spans(page: Path) -> list[str]:
    return SPAN.findall(prose(page))


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).strip().replace(" ", "-") for title in titles}


def dead_links(page: Path) -> Iterator[str]:
    for target in LINK.findall(SPAN.sub("", prose(page))):
        name, _, anchor = target.partition("#")
        there = (page.parent / name).resolve() if name else page
        if not there.exists() or (anchor and anchor not in anchors(there)):
            yield target


@SHOWN
def test_links_lead_somewhere(page: Path) -> None:
    assert list(dead_links(page)) == []


@SHOWN
def test_files_of_code_that_are_named_are_there(page: Path) -> None:
    named = [span.removeprefix("./") for span in spans(page) if CODE_FILE.match(span) and len(Path(span).stem) > 1]
    assert [name for name in named if not any(f"/{there}".endswith(f"/{name}") for there in NAMES)] == []


def unknown_tests(page: Path) -> Iterator[str]:
    """A name may be cut with `…` at either end, and `::name` alone is of the file that was named before it."""
    file = ""
    for span in spans(page):
        if not (told := TEST.match(span)):
            continue
        file = told[1] or file
        sources = [ROOT / name for name in NAMES if name.endswith(f"/{file}.py")]
        written = "".join(source.read_text() for source in sources)
        begin, _, end = told[2].partition("…") if "…" in told[2] else (told[2], "", "(")
        if not re.search(rf"def test_{re.escape(begin)}\w*{re.escape(end)}", written):
            yield f"{file}::{told[2]}"


@SHOWN
def test_tests_that_are_named_are_there(page: Path) -> None:
    assert list(unknown_tests(page)) == []


@SHOWN
def test_modules_verbs_and_targets_that_are_named_are_there(page: Path) -> None:
    told = page.read_text()
    modules = set(re.findall(r"python3? -m ([a-z_]\w*(?:\.\w+)*)", told)) - {"pytest", "venv", "pip", "http.server"}
    roots = ("", "model_repo_builder/src/", "operator/src/")
    paths = {f"{root}{module.replace('.', '/')}": module for module in modules for root in roots}
    there = {module for path, module in paths.items() if {f"{path}.py", f"{path}/__main__.py"} & set(NAMES)}
    assert modules == there
    assert set(re.findall(r"kubectl yolofleet ([a-z]+)", told)) <= set(VERBS)
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    fenced = "\n".join(FENCE.findall(told))
    used = {line.split()[1] for line in fenced.splitlines() if re.match(r"make [a-z]", line)}
    assert used | {span.split()[1] for span in spans(page) if re.match(r"make [a-z]", span)} <= targets


def is_value(values: object, path: list[str]) -> bool:
    for key in path:
        if values in ({}, [], "", None):
            return True  # open: a user may write there what Kubernetes knows
        if not isinstance(values, dict) or key not in values:
            return False
        values = values[key]
    return True


@SHOWN
def test_values_of_the_chart_that_are_named_are_there(page: Path) -> None:
    """`store.kind` is a value, `serving.image` a field of a YoloDeployment; the chart has no section `status`."""
    fields = set(re.findall(r"^\| `([\w.]+)`", (ROOT / "docs/api.md").read_text(), re.MULTILINE))
    values = yaml.safe_load((ROOT / "charts/yolofleet/values.yaml").read_text())
    own = {"images", "store", "storeServer", "serving", "dcgm", "operator", "monitoring", "crds", "watchNamespaces"}
    found = [told for span in spans(page) if (told := VALUE.match(span)) and told[1] in own]
    named = {told[1] + told[2] for told in found} - fields
    assert [name for name in sorted(named) if not is_value(values, name.split("."))] == []


@SHOWN
def test_reasons_of_conditions_that_are_named_are_there(page: Path) -> None:
    told = [found[1] for span in spans(page) if (found := CONDITION.match(span))]
    assert set(told) <= {reason.value for reason in Reason}


def test_every_decision_has_a_number_of_its_own() -> None:
    files = sorted((ROOT / "docs/adr").glob("*.md"))
    numbers = [path.name.partition("-")[0] for path in files]
    assert len(set(numbers)) == len(numbers) > 0
    for path, number in zip(files, numbers, strict=True):
        assert path.read_text().startswith(f"# {int(number)}. "), path.name

"""Every document that the operator writes, under a golden file; UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from tests.render.cases import cases

GOLDEN = Path(__file__).parent / "golden"
CASES = cases()
REMEDY = "run UPDATE_GOLDEN=1 pytest tests/render, and read the diff"


class _Plain(yaml.SafeDumper):
    """YAML without anchors, so that a diff shows what changed where."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


@pytest.mark.parametrize("name", CASES)
def test_document_is_as_it_was(name: str) -> None:
    path = GOLDEN / f"{name}.yaml"
    text = yaml.dump(CASES[name], Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    assert path.exists(), f"{path.name} is missing: {REMEDY}"
    assert text == path.read_text(), f"the document has changed: {REMEDY}"


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*")} == CASES.keys()

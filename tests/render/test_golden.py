"""Every document that the operator writes, under a golden file; UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.golden import assert_golden
from tests.render.cases import cases

GOLDEN = Path(__file__).parent / "golden"
CASES = cases()


class _Plain(yaml.SafeDumper):
    """YAML without anchors, so that a diff shows what changed where."""

    def ignore_aliases(self, _data: object) -> bool:
        return True


@pytest.mark.parametrize("name", CASES)
def test_document_is_as_it_was(name: str) -> None:
    text = yaml.dump(CASES[name], Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
    assert_golden(GOLDEN / f"{name}.yaml", text)


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*")} == CASES.keys()

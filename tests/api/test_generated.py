"""What is generated from the models is what lies in the tree."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tools"))
from generate import from_the_api  # noqa: E402 - a script's folder is on the path only while it runs

MADE = from_the_api()


@pytest.mark.parametrize("path", MADE, ids=lambda path: str(path.relative_to(ROOT)))
def test_file_is_what_the_generator_makes(path: Path) -> None:
    assert path.read_text() == MADE[path], f"{path.relative_to(ROOT)} is stale: run `make generate`"


@pytest.mark.parametrize("folder", ["crds", "charts/yolofleet/templates/crds"])
def test_no_crd_is_left_over(folder: str) -> None:
    assert set((ROOT / folder).glob("*.yaml")) <= set(MADE)

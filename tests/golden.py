"""Whole documents compared with files that people have read; UPDATE_GOLDEN=1 writes them anew."""

from __future__ import annotations

import os
from pathlib import Path


def assert_golden(path: Path, text: str) -> None:
    """Compare, or write when UPDATE_GOLDEN is set."""
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    remedy = f"run UPDATE_GOLDEN=1 pytest {path.parents[1].relative_to(Path(__file__).parents[1])}, and read the diff"
    assert path.exists(), f"{path.name} is missing: {remedy}"
    assert text == path.read_text(encoding="utf-8"), f"{path.name} has changed: {remedy}"

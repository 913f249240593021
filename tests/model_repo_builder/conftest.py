from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import settings

from tests.model_repo_builder.making import Bench

if TYPE_CHECKING:
    from pathlib import Path

settings.register_profile("shared-machine", deadline=None)  # other work on the machine must not fail a law
settings.load_profile("shared-machine")


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)

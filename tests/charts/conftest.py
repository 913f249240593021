"""The real helm for the tests of the chart: the bench's own, or the one that YOLOFLEET_HELM names."""

import os
from pathlib import Path

import pytest

from e2e.clusters.bare.binaries import build_binaries
from tests.charts.rendering import Helm


@pytest.fixture(scope="session")
def helm(tmp_path_factory: pytest.TempPathFactory) -> Helm:
    given = os.environ.get("YOLOFLEET_HELM")
    return Helm(Path(given or build_binaries().path("helm")), tmp_path_factory.mktemp("helm"))

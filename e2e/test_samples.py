"""Story: every sample is what it says it is, a file that the API server takes as it stands."""

from __future__ import annotations

from pathlib import Path

import pytest

from e2e.api_samples import SAMPLES, documents
from e2e.api_server import ApiServer

pytestmark = pytest.mark.e2e
pytest_plugins = ("e2e.api_fixture",)


@pytest.mark.parametrize("path", sorted(SAMPLES.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_api_server_accepts_it(api: ApiServer, path: Path) -> None:
    for manifest in documents(path):
        answer = api.dry_run(manifest, kind=manifest["kind"])
        assert answer.accepted, answer.message

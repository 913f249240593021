"""Repeatable hypothesis; a fake API server and a connection to it, and a real S3 server."""

from collections.abc import AsyncIterator, Iterator

import hypothesis
import pytest
from kubernetes.aio.client import Configuration

from tests.fake_api_server import FakeApiServer, serve
from tests.s3_server import S3Server, s3_server
from yolofleet.kube import Kube

# The same examples in every run; a slow machine is no failure. `--hypothesis-profile=deep` searches on.
hypothesis.settings.register_profile("repeatable", derandomize=True, deadline=None, max_examples=50)
hypothesis.settings.register_profile("deep", deadline=None, max_examples=2000)
hypothesis.settings.load_profile("repeatable")


@pytest.fixture
async def server() -> AsyncIterator[FakeApiServer]:
    fake = FakeApiServer()
    running = await serve(fake)
    fake.url = str(running.make_url("")).rstrip("/")
    yield fake
    fake.end_watches()
    await running.close()


@pytest.fixture
async def kube(server: FakeApiServer) -> AsyncIterator[Kube]:
    connected = Kube(Configuration(host=server.url))
    yield connected
    await connected.close()


@pytest.fixture(scope="session")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server; tests keep apart by the prefixes of their objects."""
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running

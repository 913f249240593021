"""A fake API server and a connection to it, for the parts of the operator that speak HTTP."""

from collections.abc import AsyncIterator

import pytest
from kubernetes.aio.client import Configuration

from tests.fake_api_server import FakeApiServer, serve
from yolofleet.kube import Kube


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

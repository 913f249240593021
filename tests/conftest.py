"""Repeatable hypothesis; a fake API server and a connection to it, for the parts that speak HTTP."""

from collections.abc import AsyncIterator

import hypothesis
import pytest
from kubernetes.aio.client import Configuration

from tests.fake_api_server import FakeApiServer, serve
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

"""A fake API server for verbs that ask one."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.cli.fake_cluster import Cluster


@pytest.fixture
async def cluster() -> AsyncIterator[Cluster]:
    fake = Cluster()
    app = web.Application()
    app.router.add_route("*", "/{tail:.*}", fake.handle)
    async with TestServer(app) as server:
        fake.url = str(server.make_url("")).rstrip("/")
        yield fake

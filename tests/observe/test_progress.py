"""What a build says of itself: bounded, in the form agreed on, or nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from yolofleet.api.build import Progress
from yolofleet.observe import progress

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@pytest.fixture
async def session() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as made:
        yield made


@pytest.fixture
async def told(session, monkeypatch) -> AsyncIterator[Callable[[Answer], Awaitable[Progress | None]]]:
    """Ask a build pod that answers as given."""
    servers = []

    async def ask(answer: Answer, host: str = "127.0.0.1") -> Progress | None:
        app = web.Application()
        app.router.add_get("/progress", answer)
        server = TestServer(app, host=host)
        await server.start_server(shutdown_timeout=0.1)
        servers.append(server)
        monkeypatch.setattr(progress, "PROGRESS_PORT", server.port)
        return await progress.ask(session, host)

    yield ask
    for server in servers:
        await server.close()


def says(text: str, status: int = 200) -> Answer:
    async def answer(_request: web.Request) -> web.Response:
        return web.Response(text=text, status=status)

    return answer


async def test_progress(told):
    answer = says('{"stage":"Export","percent":40,"message":"tracing"}')
    assert await told(answer) == Progress(stage="Export", percent=40, message="tracing")


async def test_over_ipv6(told):
    assert await told(says('{"stage":"Fetch","percent":0}'), host="::1") == Progress(stage="Fetch", percent=0)


async def test_in_pieces(told):
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for piece in (b'{"stage":"Bu', b'ild","percent":', b"7}"):
            await response.write(piece)
            await asyncio.sleep(0.02)
        return response

    assert await told(answer) == Progress(stage="Build", percent=7)


async def test_the_longest_message_in_the_widest_letters(told):
    letters = "\\ud83d\\ude00" * 256
    found = await told(says('{"stage":"Build","percent":7,"message":"' + letters + '"}'))
    assert found is not None
    assert len(found.message) == 256


@pytest.mark.parametrize(
    "text",
    [
        "",
        "no JSON",
        "[]",
        '{"stage":"Dream","percent":7}',
        '{"stage":"Build","percent":700}',
        '{"stage":"Build","percent":"7"}',
        '{"stage":"Build","percent":-1}',
        '{"stage":"Build","percent":101}',
        '{"stage":"Build","percent":7.5}',
        '{"stage":"Build","percent":NaN}',
        '{"stage":"Build","percent":Infinity}',
        '{"stage":"Build","percent":1e999}',
        '{"stage":"Build","percent":true}',
        '{"stage":"Build"}',
        '{"stage":["Build"],"percent":7}',
        '{"percent":7,"stage":' + "[" * 3000,
        '{"stage":"Build","percent":7,"message":"' + "x" * 257 + '"}',
        '{"stage":"Build","percent":7,"more":"' + "x" * 5000 + '"}',
        "\x00\xff",
    ],
)
async def test_garbage_is_nothing(told, text):
    assert await told(says(text)) is None


async def test_words_that_would_draw_on_a_terminal_are_only_words(told):
    found = await told(says('{"stage":"Build","percent":7,"message":"a\\u001b[2Jb\\nc\\u202ed"}'))
    assert found is not None
    assert found.message == "a [2Jb c d"


async def test_no_redirect_is_followed(told):
    async def answer(_request: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    assert await told(answer) is None


async def test_silence_is_nothing(told, monkeypatch):
    monkeypatch.setattr(progress, "TIMEOUT_S", 0.05)

    async def answer(_request: web.Request) -> web.Response:
        await asyncio.sleep(0.5)
        return web.Response()

    assert await told(answer) is None


async def test_an_endless_answer_is_cut(told):
    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(200):
            await response.write(b"x" * 4096)
        return response

    assert await told(answer) is None


async def test_nobody_there_is_nothing(session, monkeypatch):
    monkeypatch.setattr(progress, "PROGRESS_PORT", 1)
    assert await progress.ask(session, "127.0.0.1") is None


@pytest.mark.parametrize("ip", ["", "no address", "1.2.3.4/evil?"])
async def test_an_odd_address_is_nothing(session, monkeypatch, ip):
    monkeypatch.setattr(progress, "TIMEOUT_S", 0.05)
    monkeypatch.setattr(progress, "PROGRESS_PORT", 1)
    assert await progress.ask(session, ip) is None

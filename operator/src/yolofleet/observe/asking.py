"""One bounded GET: what a pod answers, or the words for why there is nothing."""

from __future__ import annotations

import aiohttp

TIMEOUT_S = 1.5
MAX_BYTES = 512 * 1024
"""Of a metrics page."""
OK = 200


async def page(session: aiohttp.ClientSession, ip: str, port: int) -> bytes | str:
    """Return the metrics page of an address; a string says why not."""
    return await get(session, ip, port, "/metrics", timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES)


async def get(
    session: aiohttp.ClientSession, ip: str, port: int, path: str, *, timeout_s: float, max_bytes: int
) -> bytes | str:
    """Return what an address answers; a string says why not."""
    url = f"http://{f'[{ip}]' if ':' in ip else ip}:{port}{path}"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=timeout_s), allow_redirects=False) as response:
            if response.status != OK:
                return f"it answers {response.status}"
            told = await _bounded(response.content, max_bytes)
            return told if told is not None else f"its page is longer than {max_bytes // 1024} KiB"
    except TimeoutError:
        return f"no answer within {timeout_s} s"
    except (aiohttp.ClientError, OSError) as error:
        return f"it cannot be asked ({type(error).__name__})"


async def _bounded(content: aiohttp.StreamReader, max_bytes: int) -> bytes | None:
    told = bytearray()
    while piece := await content.read(65_536):
        told += piece
        if len(told) > max_bytes:
            return None
    return bytes(told)

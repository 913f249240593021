"""One bounded GET: a page, or the words for why there is none."""

from __future__ import annotations

import aiohttp

TIMEOUT_S = 1.5
MAX_BYTES = 512 * 1024
OK = 200


async def page(session: aiohttp.ClientSession, ip: str, port: int) -> bytes | str:
    """Return the metrics page of an address; a string says why not."""
    url = f"http://{f'[{ip}]' if ':' in ip else ip}:{port}/metrics"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), allow_redirects=False) as response:
            if response.status != OK:
                return f"it answers {response.status}"
            told = await _bounded(response.content)
            return told if told is not None else f"its page is longer than {MAX_BYTES // 1024} KiB"
    except TimeoutError:
        return f"no answer within {TIMEOUT_S} s"
    except (aiohttp.ClientError, OSError) as error:
        return f"it cannot be asked ({type(error).__name__})"


async def _bounded(content: aiohttp.StreamReader) -> bytes | None:
    told = bytearray()
    while piece := await content.read(65_536):
        told += piece
        if len(told) > MAX_BYTES:
            return None
    return bytes(told)

"""What running builds say of themselves: one small, bounded GET per build and second."""

from __future__ import annotations

import aiohttp
from pydantic import ValidationError

from yolofleet.api.build import PROGRESS_PORT, Progress

TIMEOUT_S = 1.0
MAX_BYTES = 4096


async def ask(session: aiohttp.ClientSession, ip: str) -> Progress | None:
    """Return a build's progress; None when it does not answer, or not in the form agreed on."""
    url = f"http://{f'[{ip}]' if ':' in ip else ip}:{PROGRESS_PORT}/progress"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), allow_redirects=False) as response:
            return Progress.model_validate_json(await _bounded(response.content))
    except (aiohttp.ClientError, TimeoutError, OSError, ValidationError):
        return None


async def _bounded(content: aiohttp.StreamReader) -> bytes:
    """Read to the end or to the bound; what is longer is cut, and no JSON any more."""
    told = b""
    while len(told) < MAX_BYTES and (piece := await content.read(MAX_BYTES - len(told))):
        told += piece
    return told

"""What running builds say of themselves: one small, bounded GET per build and second."""

from __future__ import annotations

import asyncio

import aiohttp
from pydantic import ValidationError

from yolofleet.api.build import PROGRESS_PORT, Progress

TIMEOUT_S = 1.0
MAX_BYTES = 1024


async def ask(session: aiohttp.ClientSession, ip: str) -> Progress | None:
    """Return a build's progress; None when it does not answer, or not in the form agreed on."""
    url = f"http://{ip}:{PROGRESS_PORT}/progress"
    try:
        async with session.get(url, timeout=aiohttp.ClientTimeout(total=TIMEOUT_S), allow_redirects=False) as response:
            return Progress.model_validate_json(await response.content.read(MAX_BYTES))
    except (aiohttp.ClientError, TimeoutError, OSError, ValidationError, asyncio.IncompleteReadError):
        return None

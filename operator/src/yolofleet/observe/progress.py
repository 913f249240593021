"""What running builds say of themselves: one small, bounded GET per build and second."""

from __future__ import annotations

import aiohttp
from pydantic import ValidationError

from yolofleet.api.build import PROGRESS_PORT, Progress
from yolofleet.observe import asking

TIMEOUT_S = 1.0
MAX_BYTES = 4096


async def ask(session: aiohttp.ClientSession, ip: str) -> Progress | None:
    """Return a build's progress; None when it does not answer, or not in the form agreed on."""
    told = await asking.get(session, ip, PROGRESS_PORT, "/progress", timeout_s=TIMEOUT_S, max_bytes=MAX_BYTES)
    try:
        return Progress.model_validate_json(told) if isinstance(told, bytes) else None
    except ValidationError:
        return None

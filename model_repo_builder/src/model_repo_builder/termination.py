"""The last words of a container: one JSON object where Kubernetes looks for it, within its 4096 bytes."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

from model_repo_builder.errors import clip
from yolofleet.api.build import EXIT_REFUSED, TERMINATION_LIMIT_BYTES, BuildResult, Failure

if TYPE_CHECKING:
    from pathlib import Path

    from yolofleet.api.base import ApiModel

EXIT_FAILED = 1
EXIT_CODE = {"Published": 0, "Cached": 0, "Refused": EXIT_REFUSED, "Failed": EXIT_FAILED}


def words(told: ApiModel) -> bytes:
    """Return a result or failure as JSON that fits; long texts lose their middle."""
    content = _encoded(told)
    limit = 512
    while len(content) > TERMINATION_LIMIT_BYTES and limit > 16:  # noqa: PLR2004 - nothing is left to shorten
        limit //= 2
        content = _encoded(_shortened(told, limit))
    return content


def leave(told: ApiModel, path: Path) -> None:
    """Write the last words, if there is a place for them: the kubelet makes the file, a person's machine has none."""
    if path.exists():
        with contextlib.suppress(OSError):  # the exit code and the log say it too
            path.write_bytes(words(told))


def _encoded(told: ApiModel) -> bytes:
    return told.model_dump_json(by_alias=True, exclude_none=True).encode()


def _shortened(told: ApiModel, limit: int) -> ApiModel:
    if isinstance(told, BuildResult) and told.failure is not None:
        return told.model_copy(update={"failure": _shortened(told.failure, limit)})
    if isinstance(told, Failure):
        return told.model_copy(update={name: clip(text, limit) for name, text in told if isinstance(text, str)})
    return told

"""The builder's two ways to end badly: `Refused` (never) and `Failed` (this time), and how a pod tells them."""

from __future__ import annotations

from dataclasses import dataclass

from yolofleet.api.build import Failure
from yolofleet.errors import Refused, YolofleetError


class Failed(YolofleetError):  # noqa: N818 - an outcome, the brother of Refused
    """Something broke that may work another time; it names the field, the value and the remedy."""

    def __init__(self, *, message: str, remedy: str, field: str = "", value: str = "") -> None:
        super().__init__(f"{message} (got {value!r}); {remedy}" if value else f"{message}; {remedy}")
        self.field = field
        self.value = value
        self.message = message
        self.remedy = remedy


class Damaged(Failed):
    """What lies in the store is not whole: it needs another build, whatever this pod does."""


class Interrupted(BaseException):
    """The pod was told to stop (SIGTERM); no `except Exception` may swallow that."""


@dataclass(frozen=True)
class Origin:
    """What the user wrote and where, so that whatever is wrong with it can point there."""

    field: str
    value: str

    def refused(self, message: str, remedy: str) -> Refused:
        """Refuse this value."""
        return Refused(field=self.field, value=self.value, message=message, remedy=remedy)


def failure_of(error: Refused | Failed) -> Failure:
    """Return what a condition shows, each text cut to what the API allows."""
    return Failure(
        field=clip(error.field, 256),
        value=clip(error.value, 512),
        message=clip(error.message, 1024),
        remedy=clip(error.remedy, 512),
    )


def clip(text: str, limit: int) -> str:
    """Return `text` as one printable line of at most `limit` characters, cut towards its end but not at it."""
    line = "".join(char if char.isprintable() else " " for char in text).strip()
    if len(line) <= limit:
        return line
    head = (limit - 1) * 2 // 3
    return f"{line[:head]}…{line[len(line) - (limit - 1 - head) :]}"


__all__ = ["Damaged", "Failed", "Interrupted", "Origin", "Refused", "clip", "failure_of"]

"""Every error that yolofleet raises on purpose, as one tree.

Three outcomes stand behind the tree: *never* (`Refused`: the input is wrong, retrying is useless),
*not yet* (`NotYet`: try again later), and *bug* (anything else; it is loud).
"""

from __future__ import annotations


class YolofleetError(Exception):
    """The root of the tree."""


class Refused(YolofleetError):  # noqa: N818 - an outcome, named as people say it
    """Input that can never work; it names the field, the value and the remedy."""

    def __init__(self, *, field: str, value: str, message: str, remedy: str) -> None:
        super().__init__(f"{field}: {message} (got {value!r}); {remedy}")
        self.field = field
        self.value = value
        self.message = message
        self.remedy = remedy


class NotYet(YolofleetError):  # noqa: N818 - an outcome
    """Something that has to happen first; retry after `delay_s` seconds."""

    def __init__(self, message: str, *, delay_s: float) -> None:
        super().__init__(message)
        self.delay_s = delay_s


class SettingsError(YolofleetError):
    """The operator's own settings are wrong; the message names the field and the remedy."""


class ApiServerError(YolofleetError):
    """The API server refused a request; `status` is the HTTP code, `reason` Kubernetes' own word for it."""

    def __init__(self, *, status: int, reason: str, message: str) -> None:
        super().__init__(f"{status} {reason}: {message}")
        self.status = status
        self.reason = reason
        self.message = message


class StoreError(YolofleetError):
    """The store of engines refused or did not answer; the message says what was asked, why not, and what to do."""


class CannotAskError(YolofleetError):
    """The plugin cannot ask the cluster; the message is one line, with the remedy."""


class NotLiveError(YolofleetError):
    """The operator cannot be asked for the fleet now; the message says why and what to do."""

    def __init__(self, message: str, *, status: int = 0) -> None:
        super().__init__(message)
        self.status = status

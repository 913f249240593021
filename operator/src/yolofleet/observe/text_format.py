"""Chosen series of a page in Prometheus' text format: a parser of the whole format takes milliseconds for each page."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

_TAIL = rb'\{((?:[^"}\n]|"(?:[^"\\\n]|\\.)*")*)\}[ \t]+([^\s]+)'
_LABEL = re.compile(rb'([A-Za-z_][A-Za-z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\\n]|\\.)*)"')


def chosen(prefix: str, *families: str) -> re.Pattern[bytes]:
    """Return what finds the series of these families, which all begin with the prefix."""
    return re.compile(f"^{prefix}({'|'.join(families)})".encode() + _TAIL, re.MULTILINE)


def series(page: bytes, wanted: re.Pattern[bytes]) -> Iterator[tuple[str, dict[bytes, bytes], bytes]]:
    """Return family without its prefix, labels and the value as it stands, in the order of the page."""
    for match in wanted.finditer(page):
        yield match[1].decode(), dict(_LABEL.findall(match[2])), match[3]


def number(told: bytes) -> float:
    """Return a value; NaN for what is none. Python would let `1_000` pass, Prometheus does not."""
    try:
        return float(told.replace(b"_", b"?"))
    except ValueError:
        return math.nan

"""How the plugin prints: colour only where somebody looks, nothing but printable characters, JSON on request."""

from __future__ import annotations

import json
import os
import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_WIDTH = 1000
"""A pipe has no edge: lines are for grep, not for a screen."""


def consoles() -> tuple[Console, Console]:
    """Return the consoles of what is asked for and of what is said beside it."""
    width = None if sys.stdout.isatty() or os.environ.get("COLUMNS") else PIPE_WIDTH
    plain = bool(os.environ.get("NO_COLOR"))  # as no-color.org has it: set and not empty
    out = Console(width=width, highlight=False, markup=False, emoji=False, no_color=plain or None)
    err = Console(stderr=True, highlight=False, markup=False, emoji=False, no_color=plain or None, soft_wrap=True)
    return out, err


def own_version() -> str:
    """Return the plugin's version; `unknown` where it runs from a folder that nobody installed."""
    try:
        return version("yolofleet")
    except PackageNotFoundError:
        return "unknown"


def printable(told: object) -> str:
    """Return text without control characters: an object's message must not steer a terminal."""
    return "".join(sign if sign.isprintable() else " " for sign in str(told))


def table(*headings: str) -> Table:
    """Return a table as kubectl draws it: headings in capitals, no lines."""
    made = Table(box=None, pad_edge=False, show_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for heading in headings:
        made.add_column(heading.upper(), overflow="fold")
    return made


def cell(told: object, style: str = "") -> Text:
    """Return a cell of a table, or a line."""
    return Text(printable(told), style=style)


def as_json(document: Any) -> str:
    """Return a document as it is printed with `-o json`."""
    return json.dumps(document, indent=2, ensure_ascii=False)

"""Print what `up` writes and runs, for people who would rather read it first, or run it by hand."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

import yaml

from e2e.cache import cache_root
from e2e.clusters.kind import steps
from e2e.clusters.kind.config import kind_config
from e2e.clusters.kind.host import Choice, choose, look
from e2e.clusters.kind.place import KindPlace
from e2e.clusters.kind.steps import Step
from e2e.clusters.programs import run_program

_EXAMPLE_TOOLKIT = "VERSION-OF-YOUR-TOOLKIT"


def shown_plan(name: str, *, gpus: str) -> str:
    """The plan for `real` or `fake` without looking at this machine; for `auto` with what is seen on it."""
    if gpus == "auto":
        choice = choose(look(run_program), gpus)
    else:
        choice = Choice(real=gpus == "real", reason="asked for", toolkit=_EXAMPLE_TOOLKIT)
    place = KindPlace(name, cache_root())
    config = yaml.safe_dump(kind_config(place, real=choice.real), sort_keys=False)
    return f"# {place.config}\n{config}\n{shown(steps.up(place, choice))}"


def shown(todo: Sequence[Step]) -> str:
    """Commands as a shell takes them, with what is fed to them."""
    return "\n".join(map(_shown_step, todo))


def _shown_step(one: Step) -> str:
    line = f"# {one.purpose}\n{shlex.join(one.command)}"
    return f"{line} <<'EOF'\n{one.stdin}\nEOF\n" if one.stdin else f"{line}\n"

"""`kubectl yolofleet status`: what is served and what is not; its exit code is a gate for CI."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Sequence
from http import HTTPStatus

from rich.console import Console

from yolofleet.cli.printing import as_json, cell, printable, table
from yolofleet.cli.session import Cluster, Session
from yolofleet.cli.standing import Standing, Told, standing
from yolofleet.errors import ApiServerError, CannotAskError
from yolofleet.observe.resources import YOLODEPLOYMENT

POLL_S = 1.0
NARROW = 90
"""Below so many columns the table leaves out what the story below it tells."""


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `status`."""
    parser.add_argument("name", nargs="?", metavar="NAME", help="one YoloDeployment; absent: all of the namespace")
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="look at all namespaces")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print (text)")
    parser.add_argument("--wait", action="store_true", help="wait until all is ready")
    parser.add_argument("--timeout", type=float, default=300.0, metavar="SECONDS", help="how long to wait (300)")
    parser.epilog = "Exit code: 0 all is ready (or suspended, as asked), 1 something is not, 2 could not ask."


async def run(told: argparse.Namespace, session: Session) -> int:
    """Print how all stands; 1 when something is not as it was asked for."""
    if told.name and told.all_namespaces:
        raise CannotAskError("-A: one NAME has one namespace; leave NAME out, or say -n NAMESPACE instead of -A")
    async with session.cluster() as cluster:
        rows = await _look(cluster, told.name)
        until = time.monotonic() + told.timeout
        while told.wait and not _well(rows, told.name) and time.monotonic() < until:
            await asyncio.sleep(POLL_S)
            rows = await _look(cluster, told.name)
        well = _well(rows, told.name)
        if told.wait and not well:
            session.err.print(f"waited {told.timeout:g} s")
        if told.output == "json":
            document = {"version": 1, "allReady": well, "deployments": [row.wire() for row in rows]}
            session.out.print(as_json(document), soft_wrap=True)
        elif rows:
            show(rows, session.out, namespaces=session.flags.all_namespaces)
        else:
            session.out.print(_none(told.name, cluster.namespace), soft_wrap=True)
    return 0 if well else 1


async def _look(cluster: Cluster, name: str | None) -> tuple[Standing, ...]:
    if name is None:
        found = await cluster.items(YOLODEPLOYMENT)
    else:
        try:
            found = [await cluster.kube.get(YOLODEPLOYMENT, namespace=cluster.namespace, name=name)]
        except ApiServerError as error:
            if error.status != HTTPStatus.NOT_FOUND or not error.message.startswith(YOLODEPLOYMENT.plural):
                raise
            found = []
    return tuple(sorted(map(standing, found), key=lambda row: (row.namespace, row.name)))


def _well(rows: Sequence[Standing], name: str | None) -> bool:
    return all(row.ok for row in rows) and (bool(rows) or name is None)


def _none(name: str | None, namespace: str | None) -> str:
    where = f"in namespace {namespace}" if namespace else "in any namespace"
    if name:
        return f"No YoloDeployment {name} {where}: `kubectl yolofleet status -A` shows all that you may see."
    return f"No YoloDeployments {where}."


def show(rows: Sequence[Standing], out: Console, *, namespaces: bool) -> None:
    """Print the table, and below it the words about each row that is not as it should be."""
    wide = out.width >= NARROW
    headings = ["namespace"] if namespaces else []
    headings += ["name", "ready", "fps", *(("slices", "engine") if wide else ()), "state"]
    made = table(*headings)
    for row in rows:
        first = [row.namespace] if namespaces else []
        more = [row.slices or "-", row.engine or "-"] if wide else []
        style = "green" if row.ok else "yellow" if row.ready else "red"
        cells = [*first, row.name, f"{row.ready}/{row.desired}", fps(row), *more]
        made.add_row(*map(cell, cells), cell(row.verdict, style))
    out.print(made)
    for row in rows:
        words(row, out)


def fps(row: Standing) -> str:
    """Write frames per second, served/demanded; `-` where nobody knows."""
    return f"{row.served_fps or '-'}/{row.demanded_fps or '-'}"


def words(row: Standing, out: Console) -> None:
    """Print what a person should hear of one row."""
    heard = [condition for condition in row.conditions if condition.needs_words]
    if row.verdict == "not seen yet":
        late = "the operator has not answered to this spec yet"
        heard = [Told("Operator", "Unknown", "NotSeen", late, "if it stays so: `kubectl yolofleet doctor`")]
    if not heard:
        return
    out.print()
    out.print(cell(f"{row.namespace}/{row.name}: {row.verdict}", "bold"), soft_wrap=True)
    for alike in by_reason(heard):
        kinds = ", ".join(f"{condition.type}={condition.status}" for condition in alike)
        fullest = max(alike, key=lambda condition: len(condition.message))
        out.print(cell(f"  {kinds} {fullest.reason}: {fullest.message}"))
        if fullest.to_do:
            out.print(cell(f"    → {printable(fullest.to_do).replace('NAME', row.name)}", "cyan"))


def by_reason(heard: Sequence[Told]) -> list[list[Told]]:
    """Return conditions that have one reason together: it is told once, in its fullest words."""
    found: dict[str, list[Told]] = {}
    for condition in heard:
        found.setdefault(condition.reason, []).append(condition)
    return list(found.values())

"""`kubectl yolofleet plan`: what would change, step by step, before anything does; its exit code is a gate for CI."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from yolofleet.api.snapshot import SnapshotFile
from yolofleet.cli.given import filename_argument, snapshot
from yolofleet.cli.printing import as_json, cell, table
from yolofleet.cli.session import Session
from yolofleet.cli.simulate import headline, notes, shorts, slack_argument, wire
from yolofleet.planning.layouts.transition import Move, Step
from yolofleet.planning.whatif.foretelling import Foretold, Replicas, cost_of, foretold
from yolofleet.planning.whatif.optimum import PoolOptimum, optima

CHANGES, SHORT = 3, 1
FREE = "free"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `plan`."""
    filename_argument(parser)
    parser.add_argument("-A", "--all-namespaces", action="store_true", help="plan all namespaces (the default)")
    parser.add_argument(
        "--layouts",
        choices=("keep", FREE),
        default="keep",
        help="keep: on the slices that exist, as the operator does; free: as GPUs should be cut, with the steps there",
    )
    slack_argument(parser)
    parser.add_argument(
        "-o", "--output", choices=("text", "json", "snapshot"), default="text", help="how to print (text); snapshot: "
        "what is planned from, as a file for -f"
    )  # fmt: skip
    parser.epilog = (
        "Exit code: 0 nothing would change, 3 something would, 1 not all can be served, 2 the input cannot be planned."
    )


async def run(told: argparse.Namespace, session: Session) -> int:
    """Print what would change; 3 when something would, 1 when not all can be served."""
    given = await snapshot(told.filename, session)
    if told.output == "snapshot":
        session.out.print(as_json(given.wire()), soft_wrap=True)
        return 0
    if told.layouts == FREE:
        return _free(given, session.out, json=told.output == "json", slack=told.slack)
    return _kept(given, session.out, json=told.output == "json")


def _kept(given: SnapshotFile, out: Console, *, json: bool) -> int:
    rows = foretold(given)
    steps = [step for row in rows for step in row.steps]
    short = [row for row in rows if row.short]
    code = SHORT if short else CHANGES if steps else 0
    bill = cost_of(given, rows)
    if json:
        document = {
            "version": 1,
            "layouts": "keep",
            "exitCode": code,
            "cost": {"now": bill.now, "then": bill.then, "unit": bill.unit},
            "deployments": [_wire(row) for row in rows],
            "steps": steps,
            "notes": list(given.unseen.values()),
        }
        out.print(as_json(document), soft_wrap=True)
        return code
    out.print(cell(f"{_where(given)}; slices stay as they are cut", "bold"), soft_wrap=True)
    out.print(_table(rows))
    out.print(cell(f"cost: {bill.now:g} now, then {bill.then:g} {bill.unit}"), soft_wrap=True)
    _steps(steps, out)
    for row in short:
        out.print(cell(f"{row.name} cannot be served: {row.short}", "red"), soft_wrap=True)
    notes((), (), given.unseen, out)
    return code


def _where(given: SnapshotFile) -> str:
    return f"{len(given.nodes)} nodes, {len(given.deployments)} deployments"


def _table(rows: Sequence[Foretold]) -> Table:
    made = table("deployment", "demand", "now", "then", "why")
    for row in rows:
        demand = "-" if row.demand_fps is None else f"{row.demand_fps:.0f}"
        style = "red" if row.short else "yellow" if row.changes else ""
        then = cell(_replicas(row.then), style)
        made.add_row(cell(row.name), cell(demand), cell(_replicas(row.now)), then, cell(row.why))
    return made


def _replicas(told: Replicas) -> str:
    return ", ".join(f"{n}× {profile}" for profile, n in told) or "-"


def _steps(steps: Sequence[str], out: Console) -> None:
    out.print()
    if not steps:
        out.print(cell("Nothing would change.", "green"))
    for at, step in enumerate(steps, 1):
        out.print(cell(f"{at:3}. {step}"), soft_wrap=True)


def _wire(row: Foretold) -> dict[str, Any]:
    return {
        "name": row.name,
        "demandFps": row.demand_fps,
        "now": [{"profile": profile, "replicas": n} for profile, n in row.now],
        "then": [{"profile": profile, "replicas": n} for profile, n in row.then],
        "changes": row.changes,
        "why": row.why,
        "short": row.short or None,
    }


def _free(given: SnapshotFile, out: Console, *, json: bool, slack: float) -> int:
    found, lost = optima(given, slack=slack)
    short = bool(lost) or any(one.plan.unserved for one in found)
    code = SHORT if short else CHANGES if any(one.transition.steps for one in found) else 0
    if json:
        document = {"version": 1, "layouts": FREE, "exitCode": code, "pools": [_pool(one) for one in found]}
        out.print(as_json(document | {"homeless": list(lost), "notes": list(given.unseen.values())}), soft_wrap=True)
        return code
    out.print(cell(f"{_where(given)}; GPUs may be cut anew (nothing in this version does that by itself)", "bold"))
    for one in found:
        sums = f"today {one.gpus_now} GPUs, cost {one.cost_now:g} an hour; then {headline(one.plan)}"
        out.print(cell(f"pool {one.survey.pool.name}: {sums}"), soft_wrap=True)
        _steps([in_words(step) for step in one.transition.steps], out)
        for words in one.transition.unreached:
            out.print(cell(f"not reached: {words}", "yellow"), soft_wrap=True)
        shorts(one.plan, out)
    notes(found, lost, given.unseen, out)
    return code


def in_words(step: Step) -> str:
    """Say one step of a transition."""
    at = f"{step.slice.profile} at {step.slice.start} of {step.gpu}"
    what = {
        Move.CREATE: f"create a {at}",
        Move.START: f"start {step.owner} on {at}",
        Move.DRAIN: f"drain {step.owner} from {at}",
        Move.DESTROY: f"destroy the {at}",
    }[step.move]
    return f"{what}: {step.why}"


def _pool(one: PoolOptimum) -> dict[str, Any]:
    return {
        "pool": one.survey.pool.name,
        "costNow": one.cost_now,
        "gpusNow": one.gpus_now,
        **wire(one.plan),
        "steps": [
            {
                "move": step.move.value,
                "gpu": step.gpu,
                "profile": step.slice.profile,
                "start": step.slice.start,
                "deployment": step.owner,
                "why": step.why,
            }
            for step in one.transition.steps
        ],
        "unreached": list(one.transition.unreached),
        "notes": list(one.notes),
    }

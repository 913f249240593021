"""`kubectl yolofleet check`: whether a plan's JSON holds for its input; recomputes the bound without a solver."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orjson
from pydantic import ValidationError

from yolofleet.api.fleet import Fleet
from yolofleet.api.outcome import PlanFile
from yolofleet.api.snapshot import SnapshotFile
from yolofleet.cli.files import read
from yolofleet.cli.printing import as_json, cell
from yolofleet.cli.session import Session
from yolofleet.errors import Refused
from yolofleet.planning.packing.proving import Case, Checked, checked
from yolofleet.planning.whatif.fleet import asked_of
from yolofleet.planning.whatif.survey import surveyed

WRITTEN = "write it with `simulate -f FILE -o json`, or `plan -f FILE --layouts free -o json`"


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `check`."""
    parser.add_argument("plan", metavar="PLAN", help="a plan as `simulate -o json` writes it; -: standard input")
    parser.add_argument("-f", "--filename", required=True, metavar="FILE", help="the fleet or snapshot that it answers")
    parser.add_argument("-o", "--output", choices=("text", "json"), default="text", help="how to print (text)")
    parser.epilog = "Exit code: 0 the plan holds, 1 it does not, 2 one of the files cannot be read."


async def run(told: argparse.Namespace, session: Session) -> int:
    """Print what holds and what does not; 1 when something does not."""
    cases = _cases(told.filename)
    rows = [(plan, checked(_case(cases, plan, told.plan), plan)) for plan in _plans(told.plan)]
    if told.output == "json":
        session.out.print(as_json({"version": 1, "plans": [_wire(*row) for row in rows]}), soft_wrap=True)
    else:
        for plan, found in rows:
            session.out.print(cell(_line(plan, found), "red" if found.faults else "green"), soft_wrap=True)
            for fault in found.faults:
                session.out.print(cell(f"  {fault}"), soft_wrap=True)
    return 1 if any(found.faults for _, found in rows) else 0


def _cases(name: str) -> dict[str, Case]:
    """Return the problems that a file holds, by pool; a fleet's has no name."""
    given = read(name)
    if isinstance(given, Fleet):
        stock, told, _ = asked_of(given)
        return {"": Case(stock, [one.need for one in told])}
    if isinstance(given, SnapshotFile):
        return {
            one.pool.name: Case(one.stock, [each.need for each in one.sized], one.lattices) for one in surveyed(given)
        }
    raise Refused(field="-f", value=name, message="holds manifests, and no GPUs", remedy="name a fleet or a snapshot")


def _case(cases: dict[str, Case], plan: PlanFile, name: str) -> Case:
    if plan.pool not in cases:
        told = f"it is for pool {plan.pool!r}" if plan.pool else "it is for a fleet"
        raise Refused(field="PLAN", value=name, message=f"{told}, of which -f says nothing", remedy=WRITTEN)
    return cases[plan.pool]


def _plans(name: str) -> Sequence[PlanFile]:
    try:
        given: Any = orjson.loads(sys.stdin.read() if name == "-" else Path(name).read_bytes())
    except OSError as error:
        raise Refused(field="PLAN", value=name, message=error.strerror or "unreadable", remedy="name a file") from error
    except orjson.JSONDecodeError as error:
        raise Refused(field="PLAN", value=name, message=f"no JSON: {error}", remedy=WRITTEN) from error
    parts = given.get("pools", [given]) if isinstance(given, dict) else [given]
    try:
        return [PlanFile.model_validate_json(orjson.dumps(one)) for one in parts]
    except ValidationError as error:
        first = error.errors()[0]
        words = f"{'.'.join(map(str, first['loc'])) or 'file'}: {first['msg']}"
        raise Refused(field="PLAN", value=name, message=words, remedy=WRITTEN) from error


def _line(plan: PlanFile, found: Checked) -> str:
    who = f"pool {plan.pool}: " if plan.pool else ""
    if found.faults:
        return f"{who}the plan does not hold:"
    proof = "no bound is claimed" if found.bound is None else f"no plan costs less than {found.bound:g}, by its prices"
    return f"{who}{len(plan.gpus)} GPUs are cut legally, {len(plan.deployments)} deployments get what it says; {proof}"


def _wire(plan: PlanFile, found: Checked) -> dict[str, Any]:
    claims = {"cost": plan.cost, "lowerBound": plan.lower_bound}
    return {"pool": plan.pool or None, **claims, "provedBound": found.bound, "faults": list(found.faults)}

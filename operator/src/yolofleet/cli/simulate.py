"""`kubectl yolofleet simulate`: plan a fleet from a file, without a cluster; its exit code is a gate for CI."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from rich.table import Table

from yolofleet.api.fleet import Fleet
from yolofleet.cli.drawing import svg, terminal
from yolofleet.cli.printing import as_json, cell, table
from yolofleet.cli.session import Session
from yolofleet.errors import Refused
from yolofleet.planning.fleet import FleetPlan, plan_fleet

SHOWN_ERRORS = 5


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `simulate`."""
    parser.add_argument("-f", "--filename", required=True, metavar="FILE", help="the fleet as JSON; -: standard input")
    parser.add_argument(
        "-o", "--output", choices=("text", "json", "svg"), default="text", help="how to print (text); svg: the layout"
    )
    parser.add_argument("--why", action="store_true", help="say why each deployment gets its slices")
    parser.epilog = "Exit code: 0 all is served, 1 the GPUs do not suffice, 2 the file cannot be planned."


async def run(told: argparse.Namespace, session: Session) -> int:
    """Print the plan; 1 when a deployment goes short."""
    plan = plan_fleet(read(told.filename))
    verdict = headline(plan)
    if told.output == "json":
        session.out.print(as_json(wire(plan)), soft_wrap=True)
    elif told.output == "svg":
        session.out.print(svg(plan.gpus, verdict), soft_wrap=True, end="")
    else:
        session.out.print(cell(verdict, "bold"), soft_wrap=True)
        session.out.print(_table(plan))
        session.out.print(terminal(plan.gpus), soft_wrap=True)
        for share in plan.shares if told.why else ():
            session.out.print(cell(f"{share.name}: {share.why}"), soft_wrap=True)
        for name, fps in sorted(plan.unserved.items()):
            session.out.print(cell(f"{name} goes short of {fps:.0f} fps: {_cause(plan, name)}", "red"), soft_wrap=True)
    return 1 if plan.unserved else 0


def read(name: str) -> Fleet:
    """Read a fleet; what is wrong is said with field and value."""
    try:
        return Fleet.model_validate_json(sys.stdin.read() if name == "-" else Path(name).read_text())
    except OSError as error:
        raise Refused(field="-f", value=name, message=error.strerror or "unreadable", remedy="name a file") from error
    except ValidationError as error:
        told = [f"{'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors()]
        raise Refused(
            field="-f",
            value=name,
            message="; ".join(told[:SHOWN_ERRORS]),
            remedy="see docs/placement.md for the fields",
        ) from error


def headline(plan: FleetPlan) -> str:
    """Say in one line what it takes, and what is proven."""
    counts = Counter(gpu.product for gpu in plan.gpus)
    gpus = " + ".join(f"{count} × {product}" for product, count in sorted(counts.items())) or "no GPU"
    if plan.bound is None:
        return f"{gpus}, cost {plan.cost:g} an hour; not all is served"
    proof = "proven least" if plan.proven else f"at least {plan.bound:g} is needed"
    return f"{gpus}, cost {plan.cost:g} an hour, {proof}"


def _table(plan: FleetPlan) -> Table:
    made = table("deployment", "demand", "served", "slices")
    for share in plan.shares:
        slices = ", ".join(f"{count}× {kind[1]} of {kind[0]}" for kind, count in share.slices)
        served = share.demand - plan.unserved[share.name] if share.name in plan.unserved else share.served
        made.add_row(cell(share.name), cell(f"{share.demand:.0f}"), cell(f"{served:.0f}"), cell(slices or "none"))
    return made


def _cause(plan: FleetPlan, name: str) -> str:
    if any(share.name == name for share in plan.shares):
        return "the GPUs there are do not suffice; add some, or lower a demand"
    reasons = sorted({f"{product} {profile}: {why}" for (product, profile), why in plan.out[name].items()})
    return "no slice serves it; " + "; ".join(reasons)


def wire(plan: FleetPlan) -> dict[str, Any]:
    """Return the plan as JSON has it: shares with reasons, GPUs with places, the proof with its prices."""
    return {
        "version": 1,
        "cost": plan.cost,
        "lowerBound": plan.bound,
        "proven": plan.proven,
        "deployments": [
            {
                "name": share.name,
                "demandFps": round(share.demand, 3),
                "unservedFps": round(plan.unserved.get(share.name, 0.0), 3),
                "slices": [{"product": kind[0], "profile": kind[1], "count": count} for kind, count in share.slices],
                "why": share.why,
            }
            for share in plan.shares
        ],
        "gpus": [
            {
                "product": gpu.product,
                "slices": [
                    {"profile": one.profile, "start": one.start, "deployment": owner} for one, owner in gpu.slices
                ],
            }
            for gpu in plan.gpus
        ],
        "proof": {
            "bound": plan.proof.bound,
            "slices": [
                {"product": product, "profile": profile, "worth": worth}
                for (product, profile), worth in sorted(plan.proof.slices.items())
            ],
            "rents": dict(sorted(plan.proof.rents.items())),
        },
    }

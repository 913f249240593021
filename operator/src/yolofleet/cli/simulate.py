"""`kubectl yolofleet simulate`: plan a fleet from a file, without a cluster; its exit code is a gate for CI."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from yolofleet.api.fleet import Fleet
from yolofleet.api.snapshot import SnapshotFile
from yolofleet.cli.drawing import numbered, shortened, svg, terminal
from yolofleet.cli.files import read
from yolofleet.cli.printing import as_json, cell, table
from yolofleet.cli.session import Session
from yolofleet.errors import Refused
from yolofleet.planning.layouts.geometry import Slice
from yolofleet.planning.layouts.movement import SLACK
from yolofleet.planning.layouts.overlay import FOREIGN, GpuState
from yolofleet.planning.packing import is_reserve
from yolofleet.planning.whatif.fleet import FleetPlan, plan_fleet
from yolofleet.planning.whatif.optimum import PoolOptimum, optima


def arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `simulate`."""
    parser.add_argument(
        "-f",
        "--filename",
        required=True,
        metavar="FILE",
        help="a fleet or a snapshot as JSON or YAML; -: standard input",
    )
    parser.add_argument(
        "-o", "--output", choices=("text", "json", "svg"), default="text", help="how to print (text); svg: the layout"
    )
    parser.add_argument("--why", action="store_true", help="say why each deployment gets its slices")
    slack_argument(parser)
    parser.epilog = "Exit code: 0 all is served, 1 the GPUs do not suffice, 2 the file cannot be planned."


def slack_argument(parser: argparse.ArgumentParser) -> None:
    """Add the argument that says what little movement may cost."""
    parser.add_argument(
        "--slack",
        type=percent,
        default=SLACK,
        metavar="PERCENT",
        help=f"what a plan may cost more than the least, so that less of what runs moves ({100 * SLACK:g})",
    )


def percent(told: str) -> float:
    """Read a percentage from 0 to 100 as a share."""
    try:
        value = float(told)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:  # noqa: PLR2004 - a percentage
        raise argparse.ArgumentTypeError(f"{told!r} is no percentage; give a number from 0 to 100")
    return value / 100


async def run(told: argparse.Namespace, session: Session) -> int:
    """Print the plan; 1 when a deployment goes short."""
    given = read(told.filename)
    if isinstance(given, SnapshotFile):
        return _snapshot(told, given, session.out)
    if not isinstance(given, Fleet):
        remedy = "name a fleet or a snapshot; `kubectl yolofleet plan -f` says what manifests would change"
        raise Refused(field="-f", value=told.filename, message="holds manifests, and no GPUs", remedy=remedy)
    plan = plan_fleet(given)
    if told.output == "json":
        session.out.print(as_json(wire(plan)), soft_wrap=True)
    elif told.output == "svg":
        session.out.print(svg(numbered(plan.gpus), headline(plan)), soft_wrap=True, end="")
    else:
        show(plan, numbered(plan.gpus), session.out, why=told.why)
    return 1 if plan.unserved else 0


def _snapshot(told: argparse.Namespace, given: SnapshotFile, out: Console) -> int:
    """Plan every pool of a snapshot; what was assumed is said below each."""
    found, lost = optima(given, slack=told.slack)
    rows = shortened([row for one in found for row in one.rows])
    if told.output == "json":
        pools = [{"pool": one.survey.pool.name, **wire(one.plan), "notes": list(one.notes)} for one in found]
        out.print(as_json({"version": 1, "pools": pools, "homeless": list(lost)}), soft_wrap=True)
    elif told.output == "svg":
        title = "; ".join(f"{one.survey.pool.name}: {headline(one.plan)}" for one in found)
        out.print(svg(rows, title), soft_wrap=True, end="")
    else:
        for one in found:
            out.print(cell(f"pool {one.survey.pool.name}", "bold"))
            show(one.plan, shortened(one.rows), out, why=told.why)
        notes(found, lost, given.unseen, out)
    return 1 if lost or any(one.plan.unserved for one in found) else 0


def notes(found: Sequence[PoolOptimum], lost: Sequence[str], unseen: Mapping[str, str], out: Console) -> None:
    """Print what was assumed, what nobody could see, and who has no pool."""
    for words in lost:
        out.print(cell(words, "red"), soft_wrap=True)
    for words in (*(note for one in found for note in one.notes), *unseen.values()):
        out.print(cell(f"note: {words}", "dim"), soft_wrap=True)


def show(plan: FleetPlan, rows: Sequence[GpuState], out: Console, *, why: bool) -> None:
    """Print a plan: the sum, the table, who sits where, and who goes short."""
    out.print(cell(headline(plan), "bold"), soft_wrap=True)
    out.print(_table(plan))
    out.print(terminal(rows), soft_wrap=True)
    for share in plan.shares if why else ():
        out.print(cell(f"{share.name}: {share.why}"), soft_wrap=True)
    shorts(plan, out)


def shorts(plan: FleetPlan, out: Console) -> None:
    """Print who goes short."""
    for name, missing in sorted(plan.unserved.items()):
        unit = "slices" if is_reserve(name) else "fps"
        out.print(cell(f"{name} goes short of {missing:.0f} {unit}: {cause(plan, name)}", "red"), soft_wrap=True)


def headline(plan: FleetPlan) -> str:
    """Say in one line what it takes, and what is proven."""
    counts = Counter(gpu.product for gpu in plan.gpus)
    gpus = " + ".join(f"{count} × {product}" for product, count in sorted(counts.items())) or "no GPU"
    shared = sum(any(owner == FOREIGN for _, owner in gpu.slices) for gpu in plan.gpus)
    gpus += f" ({shared} beside others' pods, at no cost)" if shared else ""
    if plan.bound is None:
        return f"{gpus}, cost {plan.cost:g} an hour; not all is served"
    proof = "proven least" if plan.proven else f"at least {plan.bound:g} is needed"
    return f"{gpus}, cost {plan.cost:g} an hour, {proof}"


def _table(plan: FleetPlan) -> Table:
    made = table("deployment", "demand", "served", "slices")
    for share in plan.shares:
        slices = ", ".join(f"{count}× {kind[1]} of {kind[0]}" for kind, count in share.slices)
        served = share.demand - plan.unserved[share.name] if share.name in plan.unserved else share.served
        unit = " slices" if is_reserve(share.name) else ""
        made.add_row(
            cell(share.name), cell(f"{share.demand:.0f}{unit}"), cell(f"{served:.0f}{unit}"), cell(slices or "none")
        )
    return made


def cause(plan: FleetPlan, name: str) -> str:
    """Say why a deployment goes short."""
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
            if not is_reserve(share.name)
        ]
        + [_nothing(plan, name) for name in sorted(plan.unserved.keys() - {share.name for share in plan.shares})],
        "reserved": [
            {
                "name": share.name,
                "count": round(share.demand),
                "unserved": round(plan.unserved.get(share.name, 0.0), 3),
                "slices": [{"product": kind[0], "profile": kind[1], "count": count} for kind, count in share.slices],
            }
            for share in plan.shares
            if is_reserve(share.name)
        ],
        "gpus": [
            {"product": gpu.product, "slices": [_slice(one, owner) for one, owner in gpu.slices]} for gpu in plan.gpus
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


def _slice(one: Slice, owner: str | None) -> dict[str, Any]:
    holder = (
        "free" if owner is None else "foreign" if owner == FOREIGN else "reserved" if is_reserve(owner) else "fleet"
    )
    who = owner if holder in ("fleet", "reserved") else None
    return {"profile": one.profile, "start": one.start, "owner": holder, "deployment": who}


def _nothing(plan: FleetPlan, name: str) -> dict[str, Any]:
    fps = round(plan.unserved[name], 3)
    return {"name": name, "demandFps": fps, "unservedFps": fps, "slices": [], "why": cause(plan, name)}
